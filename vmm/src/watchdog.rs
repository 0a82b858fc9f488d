//! Ends a run that is to end, whatever its guest, the terminal or a pipe do.
//!
//! A run ends by itself once its time is up or a signal has come: it stops the guest and shows the
//! rest. Each of these steps may wait for ever, for a reader of standard output, say. So a thread that
//! waits for none of them ends the process if that takes too long.

use crate::{
    message::say,
    run::{Event, KILLED_BY, TIMED_OUT},
};
use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};
use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// How long a run that is to end may show what is left to be shown.
pub const GRACE: Duration = Duration::from_secs(1);

/// How long it may take to end in all.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Listens for signals: the first one goes to `events`, a second one ends the process at once. From the
/// first one or the deadline on, the process has [`PATIENCE`] left.
pub fn start(events: Sender<Event>, deadline: Option<Instant>) -> Result<()> {
    let (sender, statuses) = mpsc::channel();
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot listen for signals")?;
    let listen = move || {
        for (count, signal) in signals.forever().enumerate() {
            let status = KILLED_BY.wrapping_add(signal as u8);
            // Without a receiver its thread is about to end the process already.
            let _ = sender.send(status);
            if count > 0 || events.send(Event::Signal(signal)).is_err() {
                low_level::exit(status.into());
            }
        }
    };
    spawn("signals", listen).context("cannot start a thread for signals")?;
    let last_word = LastWord::start().context("cannot start a thread for the last word")?;
    spawn("watchdog", move || watch(&statuses, deadline, &last_word))
        .context("cannot start a thread for the end")
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Waits for a signal's status or the deadline, and then for the end.
fn watch(statuses: &Receiver<u8>, deadline: Option<Instant>, last_word: &LastWord) {
    let status = match deadline {
        None => statuses.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => statuses.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    let status = match status {
        Ok(status) => status,
        Err(RecvTimeoutError::Timeout) => TIMED_OUT,
        Err(RecvTimeoutError::Disconnected) => return,
    };
    thread::sleep(PATIENCE);
    let why = if status == TIMED_OUT { "the guest's time is up (--timeout); " } else { "" };
    last_word.say(format!("{why}the end took too long: the rest of the output is dropped"));
    low_level::exit(status.into());
}

/// A thread that says one thing, which may take for ever.
struct LastWord {
    text: Sender<String>,
    said: Receiver<()>,
}

impl LastWord {
    /// A run that is confined starts no thread any more, so it is there from the beginning.
    fn start() -> std::io::Result<Self> {
        let (text, texts) = mpsc::channel::<String>();
        let (sender, said) = mpsc::channel();
        let speak = move || {
            if let Ok(text) = texts.recv() {
                say(text);
                // Without a receiver it came too late.
                let _ = sender.send(());
            }
        };
        spawn("last word", speak)?;
        Ok(Self { text, said })
    }

    /// Says it, unless standard error cannot be written either.
    fn say(&self, text: String) {
        if self.text.send(text).is_ok() {
            let _ = self.said.recv_timeout(LAST_WORD);
        }
    }
}
