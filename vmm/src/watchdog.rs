//! Ends a run that is to end, whatever its guest, the terminal or a pipe do.
//!
//! A run ends by itself once its time is up or a signal has come: it stops the guest and shows the
//! rest. Each of these steps may wait for ever, for a reader of standard output, say. So a thread that
//! waits for none of them ends the process if that takes too long.

use crate::{
    message::say,
    run::{Event, KILLED_BY, TIMED_OUT},
    standard_input,
};
use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a run that is to end may show what is left to be shown.
pub const GRACE: Duration = Duration::from_secs(1);

/// How long it may take to end in all.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_millis(200);

/// The least time that a set-up has: it takes a part of a second, unless something else is wrong.
const SET_UP: Duration = Duration::from_secs(20);

/// Ends a set-up that does not end, until this is dropped. A signal ends one by itself.
#[derive(Debug)]
pub struct SetUp {
    /// Closed when the machine is set up.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SetUp {
    /// Of a run that has `timeout`, if it has any: its set-up has as much, but at least [`SET_UP`].
    pub fn watch(timeout: Option<Duration>) -> Result<Self> {
        let Some(timeout) = timeout else { return Ok(Self { done: None, thread: None }) };
        let (done, is_done) = mpsc::channel::<()>();
        let last_word = LastWord::start().context("cannot start a thread for the last word")?;
        let watch = move || {
            if is_done.recv_timeout(timeout.max(SET_UP)) == Err(RecvTimeoutError::Timeout) {
                last_word
                    .say("time is up (--timeout), and the guest has not been started".to_owned());
                standard_input::restore();
                low_level::exit(TIMED_OUT.into());
            }
        };
        let thread = spawn("set-up", watch).context("cannot start a thread for the set-up")?;
        Ok(Self { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for SetUp {
    fn drop(&mut self) {
        drop(self.done.take());
        // An error means that the thread panicked, which has been printed already.
        self.thread.take().map(JoinHandle::join);
    }
}

/// The signals that end a run. SIGHUP does not where whoever has started the run ignores it, as `nohup`
/// does. The host tells that in a file, so it must be asked before files are closed to this process.
pub fn signals() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ends = |signal: &i32| *signal != SIGHUP || !is_ignored(&status, *signal);
    [SIGHUP, SIGINT, SIGTERM].into_iter().filter(ends).collect()
}

/// Whether a process with this status ignores a signal.
fn is_ignored(status: &str, signal: i32) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set >> (signal - 1) & 1 == 1)
}

/// Listens for `signals`: the first one goes to `events`, a second one ends the process at once. From the
/// first one or the deadline on, the process has [`PATIENCE`] left. Whenever it ends, the file of
/// `socket` is removed.
pub fn start(
    signals: &[i32],
    events: Sender<Event>,
    deadline: Option<Instant>,
    socket: Option<&Path>,
) -> Result<()> {
    let (sender, statuses) = mpsc::channel();
    let mut signals = Signals::new(signals).context("cannot listen for signals")?;
    let end = End { socket: socket.map(Path::to_owned) };
    let its_end = end.clone();
    let listen = move || {
        for (count, signal) in signals.forever().enumerate() {
            let status = KILLED_BY.wrapping_add(signal as u8);
            // Without a receiver its thread is about to end the process already.
            let _ = sender.send(status);
            if count > 0 || events.send(Event::Signal(signal)).is_err() {
                its_end.now(status);
            }
        }
    };
    spawn("signals", listen).context("cannot start a thread for signals")?;
    let last_word = LastWord::start().context("cannot start a thread for the last word")?;
    spawn("watchdog", move || watch(&statuses, deadline, &last_word, &end))
        .context("cannot start a thread for the end")?;
    Ok(())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// The end of the process, there and then.
#[derive(Clone, Debug)]
struct End {
    socket: Option<PathBuf>,
}

impl End {
    fn now(&self, status: u8) -> ! {
        // Who has removed it already has done what is wanted.
        self.socket.iter().for_each(|socket| drop(fs::remove_file(socket)));
        standard_input::restore();
        low_level::exit(status.into())
    }
}

/// Waits for a signal's status or the deadline, and then for the end.
fn watch(statuses: &Receiver<u8>, deadline: Option<Instant>, last_word: &LastWord, end: &End) {
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
    end.now(status);
}

/// A thread that says one thing, which may take for ever.
struct LastWord {
    text: Sender<String>,
    said: Receiver<()>,
}

impl LastWord {
    /// A run that is confined starts no thread any more, so it is there from the beginning.
    fn start() -> io::Result<Self> {
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
