//! Follows a running guest: reads its trace, shows it, checks it, and keeps the console moving.

use crate::{checker::Checker, console::Console, message::say, run::Event};
use machine::Memory;
use observe::{GuestMemory, Images, MAX_OPEN, ObserveError, Observer, OutsideMemory, Printer};
use std::{
    io::{self, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(1);

/// How often to look at a guest that does nothing: it may sleep, and shall cost next to nothing then.
const QUIET_INTERVAL: Duration = Duration::from_millis(8);

/// How often to look at a guest that may be waiting for it.
const CHECK_INTERVAL: Duration = Duration::from_micros(50);

/// The guest's RAM as the observer wants it.
#[derive(Clone, Debug)]
pub struct Ram(pub Memory);

impl GuestMemory for Ram {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        self.0.read(address, bytes).map_err(|_| outside)
    }
}

/// What there is to see of a guest.
pub struct Trace<W> {
    /// The guest's RAM.
    pub ram: Ram,
    /// Where the kernel's introspection header is.
    pub header: u64,
    /// Symbols of everything that runs.
    pub images: Images,
    /// Rate of the guest's time stamps.
    pub ticks_per_second: u64,
    /// Where it is shown.
    pub printer: Printer<W>,
}

/// A thread that follows the guest until it is told that the guest has ended.
pub struct Follower {
    ended: Sender<Option<Instant>>,
    thread: JoinHandle<Option<Checker>>,
}

impl Follower {
    /// Starts to follow. Whatever cannot be written, and a check that fails, is reported through
    /// `events`.
    pub fn start<C, W>(
        trace: Option<Trace<W>>,
        mut checker: Option<Checker>,
        console: Console<C>,
        events: Sender<Event>,
    ) -> io::Result<Self>
    where
        C: Write + Send + 'static,
        W: Write + Send + 'static,
    {
        let (ended, told) = mpsc::channel();
        let body = move || {
            // Without a receiver the run is over, and nobody wants to know.
            let report = |event| drop(events.send(event));
            let output_failed = |error| report(Event::OutputFailed(error));
            let mut view = trace.map(View::new);
            let (interval, longest) = match checker {
                Some(_) => (CHECK_INTERVAL, CHECK_INTERVAL),
                None => (INTERVAL, QUIET_INTERVAL),
            };
            let mut quiet = interval;
            loop {
                console.settle().unwrap_or_else(output_failed);
                let has_more = view.as_mut().is_some_and(|view| {
                    view.update().unwrap_or_else(|error| {
                        output_failed(error);
                        false
                    })
                });
                if checker.as_mut().is_some_and(Checker::update) {
                    report(Event::CheckFailed);
                }
                let is_news = view.as_mut().is_some_and(View::take_news);
                quiet = if is_news { interval } else { (2 * quiet).min(longest) };
                let pause = if has_more { Duration::ZERO } else { quiet };
                let limit = match told.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => None,
                    Ok(limit) => limit,
                };
                console.settle().unwrap_or_else(output_failed);
                if let Some(view) = &mut view {
                    view.finish(limit).unwrap_or_else(output_failed);
                }
                return checker;
            }
        };
        let thread = thread::Builder::new().name("follower".to_owned()).spawn(body)?;
        Ok(Self { ended, thread })
    }

    /// Shows the rest, as much of it as there is time for until `limit`. The guest must have stopped.
    pub fn finish(self, limit: Option<Instant>) -> Option<Checker> {
        // Without a receiver the thread has panicked, which has been printed already.
        let _ = self.ended.send(limit);
        self.thread.join().ok().flatten()
    }
}

/// Takes the events of the trace.
type Sink<'a> = &'a mut dyn FnMut(&observe::Event);

/// The trace on its way to the reader, until one of them cannot go on.
struct View<W> {
    observer: Observer<Ram>,
    printer: Printer<W>,
    /// Whether the trace can be read.
    is_readable: bool,
    /// Whether the reader takes it.
    is_writable: bool,
    /// Whether there was something to show since somebody asked.
    is_news: bool,
}

impl<W: Write> View<W> {
    fn new(trace: Trace<W>) -> Self {
        let Trace { ram, header, images, ticks_per_second, printer } = trace;
        let observer = Observer::new(ram, header, images, ticks_per_second);
        Self { observer, printer, is_readable: true, is_writable: true, is_news: false }
    }

    /// Whether there was something to show since the last time.
    fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Shows some of what is new, and says whether there is more.
    fn update(&mut self) -> io::Result<bool> {
        if !(self.is_readable && self.is_writable) {
            return Ok(false);
        }
        self.show(Observer::poll)
    }

    /// Shows the rest, and the end also of a trace that cannot be read on. What there is no time for
    /// counts as lost.
    fn finish(&mut self, limit: Option<Instant>) -> io::Result<()> {
        if !self.is_writable {
            return Ok(());
        }
        let mut has_time = || limit.is_none_or(|limit| Instant::now() < limit);
        self.show(|observer, sink| observer.finish(&mut has_time, sink))?;
        let given_up = self.observer.given_up();
        if given_up > 0 {
            say(format_args!(
                "{given_up} faults have no ends: more than {MAX_OPEN} were open at once"
            ));
        }
        self.printer.finish(self.observer.lost())
    }

    /// Prints the events that `read` passes on.
    fn show<T: Default>(
        &mut self,
        read: impl FnOnce(&mut Observer<Ram>, Sink<'_>) -> Result<T, ObserveError>,
    ) -> io::Result<T> {
        let Self { observer, printer, is_readable, is_writable, is_news } = self;
        let mut written = Ok(());
        let read = read(observer, &mut |event| {
            *is_news = true;
            if written.is_ok() {
                written = printer.event(event);
            }
        });
        if let Err(error) = &read
            && *is_readable
        {
            say(format_args!("there is no trace from here on: {error}"));
        }
        (*is_readable, *is_writable) = (read.is_ok(), written.is_ok());
        written.map(|()| read.unwrap_or_default())
    }
}
