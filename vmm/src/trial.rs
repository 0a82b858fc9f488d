//! Whether an engine runs the guest: tried, not guessed.

use crate::{cli::GuestArgs, guest::Guest};
use anyhow::{Context, Result, bail};
use machine::{Architecture, Config, Engine, Machine, Outcome, RamSize};
use std::{io, sync::mpsc, time::Duration};

/// How long a guest may take that needs a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Enough for the default scenario.
const RAM: u64 = 64 << 20;

/// Runs the default scenario to its end, unseen.
pub fn run(engine: &Engine, architecture: Architecture) -> Result<()> {
    let guest = Guest::new(&GuestArgs { arch: architecture, ..GuestArgs::default() })?;
    let config = Config {
        ram: RamSize::new(RAM)?,
        kernel: &guest.kernel()?,
        bundle: &guest.bundle()?,
        command_line: "trace=off",
    };
    let machine = Machine::new(engine, &config)?;
    let (sender, ended) = mpsc::channel();
    let running = machine.start(
        io::sink(),
        || {},
        move |outcome| {
            // Without a receiver its time was up.
            let _ = sender.send(outcome);
        },
    )?;
    let outcome = ended.recv_timeout(PATIENCE);
    running.stop();
    match outcome.with_context(|| format!("the guest did not end within {PATIENCE:?}"))? {
        Outcome::Exit(0) => Ok(()),
        Outcome::Exit(status) => bail!("the guest ended with status {status}"),
        Outcome::Crash(crash) => bail!("the guest could not go on: {}", crash.cause),
        Outcome::Stopped(_) => bail!("the guest was stopped"),
    }
}
