//! Exact instruction counts: the guest under QEMU's software emulation with `-icount shift=0`,
//! where the time stamp counter advances by one with each instruction.

use super::{guest_report::GuestReport, header};
use crate::{Architecture, command::say, qemu::Machine, workspace::Workspace};
use anyhow::{Context, Result, ensure};
use protocol::introspection::Header;

/// One million rounds of two instructions, two moves before them and the reading of the counter.
const KNOWN_LOOP: u64 = 2_000_003;

/// Scenarios that map and unmap in every way.
const STRETCHING: [&str; 3] = ["stress", "superpage", "revoke-tree"];

/// Mebibytes of a small machine.
pub const SMALL: u32 = 128;

/// Instructions, user stubs included.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// On which processor.
    pub architecture: &'static Architecture,
    /// The operations with the trace on.
    pub traced: GuestReport,
    /// The same with the trace off.
    pub untraced: GuestReport,
    /// From the kernel's entry to the first user instruction, with 128 MiB of memory.
    pub boot: u64,
    /// The same with [`Architecture::large_memory`].
    pub boot_large: u64,
    /// The longest stretch of a map or unmap between two preemption points, in the scenario `bench` and
    /// in [`STRETCHING`].
    pub longest_stretch: u64,
}

impl Counts {
    /// Boots the scenario `bench` three times, and others, and counts.
    pub fn measure(workspace: &Workspace, architecture: &'static Architecture) -> Result<Self> {
        say(&format!("bench: counting instructions of {} under QEMU", architecture.name));
        let run = |command_line, mebibytes| {
            run(workspace, Machine { architecture, scenario: "bench", command_line, mebibytes })
        };
        let (traced, header) = run("", SMALL)?;
        let (untraced, _) = run("trace=off", SMALL)?;
        let (_, large) = run("", architecture.large_memory)?;
        let mut longest_stretch = header.longest_stretch;
        for scenario in STRETCHING {
            let machine = Machine { architecture, scenario, command_line: "", mebibytes: SMALL };
            let finished = machine.count(workspace)?;
            let header = header::read(&finished.kernel(), &finished.memory())?;
            longest_stretch = longest_stretch.max(header.longest_stretch);
        }
        Ok(Self {
            architecture,
            traced,
            untraced,
            boot: boot_time(&header)?,
            boot_large: boot_time(&large)?,
            longest_stretch,
        })
    }
}

/// What the guest program `bench` reports of itself.
pub fn report(
    workspace: &Workspace,
    architecture: &'static Architecture,
    command_line: &str,
) -> Result<GuestReport> {
    let machine = Machine { architecture, scenario: "bench", command_line, mebibytes: SMALL };
    Ok(run(workspace, machine)?.0)
}

fn run(workspace: &Workspace, machine: Machine) -> Result<(GuestReport, Header)> {
    let finished = machine.count(workspace)?;
    let report = GuestReport::find(&finished.console)?;
    ensure!(
        report.known_loop == KNOWN_LOOP,
        "a loop of {KNOWN_LOOP} instructions counts as {}: this QEMU does not count instructions, \
         so nothing is reported",
        report.known_loop
    );
    Ok((report, header::read(&finished.kernel(), &finished.memory())?))
}

fn boot_time(header: &Header) -> Result<u64> {
    let boot = header.time_at_first_user.checked_sub(header.time_at_entry);
    let boot = boot.filter(|_| header.time_at_entry != 0 && header.time_at_first_user != 0);
    boot.context("the kernel's header lacks its boot times")
}
