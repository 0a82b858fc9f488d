//! Follows a running guest: reads its trace, shows it, checks it, and keeps the console moving.

use crate::{checker::Checker, console::Console, message::say, run::Event};
use machine::Memory;
use observe::{GuestMemory, Images, Observer, OutsideMemory, Printer};
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(1);

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
    ended: Arc<AtomicBool>,
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
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let body = move || {
            // Without a receiver the run is over, and nobody wants to know.
            let report = |event| drop(events.send(event));
            let output_failed = |error| report(Event::OutputFailed(error));
            let mut view = trace.map(View::new);
            let interval = if checker.is_some() { CHECK_INTERVAL } else { INTERVAL };
            loop {
                let last = told.load(Ordering::Acquire);
                console.settle().unwrap_or_else(output_failed);
                if let Some(view) = &mut view {
                    view.update(last).unwrap_or_else(output_failed);
                }
                if last {
                    return checker;
                }
                if checker.as_mut().is_some_and(Checker::update) {
                    report(Event::CheckFailed);
                }
                thread::park_timeout(interval);
            }
        };
        let thread = thread::Builder::new().name("follower".to_owned()).spawn(body)?;
        Ok(Self { ended, thread })
    }

    /// Shows the rest. The guest must have stopped.
    pub fn finish(self) -> Option<Checker> {
        self.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // An error means that the thread panicked, which has been printed already.
        self.thread.join().ok().flatten()
    }
}

/// The trace on its way to the reader, until one of them cannot go on.
struct View<W> {
    observer: Observer<Ram>,
    printer: Printer<W>,
    open: bool,
}

impl<W: Write> View<W> {
    fn new(trace: Trace<W>) -> Self {
        let Trace { ram, header, images, ticks_per_second, printer } = trace;
        let observer = Observer::new(ram, header, images, ticks_per_second);
        Self { observer, printer, open: true }
    }

    fn update(&mut self, last: bool) -> io::Result<()> {
        if !self.open {
            return Ok(());
        }
        let Self { observer, printer, .. } = self;
        let mut written = Ok(());
        let mut show = |event: &observe::event::Event| {
            if written.is_ok() {
                written = printer.event(event);
            }
        };
        let read = if last { observer.finish(&mut show) } else { observer.poll(&mut show) };
        if last && written.is_ok() {
            written = printer.finish(observer.lost());
        }
        self.open = written.is_ok() && read.is_ok();
        if let Err(error) = read {
            say(format_args!("there is no trace from here on: {error}"));
        }
        written
    }
}
