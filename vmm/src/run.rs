//! `glass run`.

use crate::{
    attach::{Introduction, server},
    checker::{self, Checker},
    cli::{Colour, RunArgs},
    confinement,
    console::Console,
    engine,
    follow::{Follower, Ram, Trace},
    guest::Guest,
    message::{say, say_lines},
    report::{self, Locator},
    screen::{self, Screen},
    source_lines::SourceLines,
    standard_input::StandardInput,
    watchdog,
};
use anyhow::{Context, Result};
use machine::{Config, CpuState, Crash, Engine, Machine, Outcome};
use observe::{Images, Printer, Style};
use std::{
    convert::Infallible,
    env, io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::Instant,
};

/// What a run waits for.
#[derive(Debug)]
pub enum Event {
    /// The guest has ended.
    Ended(Outcome),
    /// The user wants to end it.
    Signal(i32),
    /// Standard output or standard error cannot be written.
    OutputFailed(io::Error),
    /// Something is wrong in the guest: its kernel waits.
    CheckFailed,
}

/// Why a run is over.
enum End {
    Guest(Outcome),
    Signal(i32),
    Output(io::Error),
    Check,
    /// Where the guest was when its time was up.
    Timeout(Option<Box<CpuState>>),
}

impl End {
    /// Until when the rest may be shown: who does not want to wait for the guest does not want to wait
    /// for its output either.
    fn limit(&self) -> Option<Instant> {
        match self {
            Self::Signal(_) | Self::Timeout(_) => Some(Instant::now() + watchdog::GRACE),
            Self::Guest(_) | Self::Output(_) | Self::Check => None,
        }
    }
}

/// The status of a run whose time is up, as `timeout` has it.
pub const TIMED_OUT: u8 = 124;

/// The status of a program that a signal ended, without the signal's number, as shells have it.
pub const KILLED_BY: u8 = 128;

/// The status where the guest's kernel does not keep its promises.
const CHECK_FAILED: u8 = 1;

/// The status where nobody reads the output any more: that of a program that SIGPIPE killed.
pub const BROKEN_PIPE: u8 = KILLED_BY + 13;

/// Runs a guest and shows what it does. Gives the exit status.
pub fn run(args: &RunArgs) -> Result<u8> {
    let guard = watchdog::SetUp::watch(args.timeout)?;
    let signals = watchdog::signals();
    let guest = Guest::new(&args.guest)?;
    let kernel = guest.kernel()?;
    let header = kernel.introspection_header();
    let command_line = checker::command_line(&args.cmdline, args.check)?;
    let config = Config {
        ram: args.memory,
        kernel: &kernel,
        bundle: &guest.bundle()?,
        command_line: &command_line,
    };
    let engine = engine::choose(&args.engine, guest.architecture, args.memory)?;
    let mut machine = Machine::new(&engine, &config)?;
    let source_lines = Arc::new(SourceLines::start(&guest));
    confinement::files(args.confinement, &engine);
    let listener = listen(&guest, &engine, &machine, header);
    let checker = args.check.map(|_| Checker::new(machine.memory(), header)).transpose()?;
    let locator = Locator {
        guest: &guest,
        source_lines: source_lines.clone(),
        memory: machine.memory(),
        header,
        ticks_per_second: machine.ticks_per_second(),
    };

    let (sender, events) = mpsc::channel();
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let socket = listener.as_ref().map(server::Listener::socket);
    watchdog::start(&signals, sender.clone(), deadline, socket)?;
    drop(guard);
    let input = guest.reads_the_line().then(StandardInput::take).transpose()?;
    if let Some(input) = &input {
        machine.connect(input.input());
    }
    let console = Console::new(screen::console(args.raw));
    let images = guest.images(source_lines);
    let trace = trace(args, images, &machine, header);
    let follower = Follower::start(trace, checker, console.clone(), sender.clone())
        .context("cannot start a thread for the trace")?;
    let (set_up, is_set_up) = mpsc::channel::<Infallible>();
    let (confined, its_engine) = (args.confinement, engine.clone());
    let ready = move || {
        // Nothing is ever sent: it is set up when the other end is gone.
        let _ = is_set_up.recv();
        confinement::processor(confined, &its_engine);
    };
    let running = machine.start(console, ready, move |outcome| {
        // Without a receiver the run is over, and nobody wants to know.
        let _ = sender.send(Event::Ended(outcome));
    })?;
    // From here on no file is opened, no thread and no process started.
    let has_terminal = input.as_ref().is_some_and(StandardInput::is_terminal);
    confinement::run(args.confinement, &engine, &running, has_terminal);
    drop(set_up);
    let mut end = wait(&events, deadline);
    let limit = end.limit();
    // The guest may stop in the middle of something: viewers are to know that it has ended.
    drop(listener);
    running.stop();
    if let End::Timeout(place) = &mut end {
        *place = stopped_at(&events);
    }
    let checker = follower.finish(limit);
    let has_ended = matches!(end, End::Guest(Outcome::Exit(_)));
    let status = conclude(end, &events, &locator);
    let is_clean = checker.is_none_or(|checker| checker.conclude(has_ended));
    Ok(if is_clean { status } else { CHECK_FAILED })
}

/// Lets viewers attach. A guest runs as well without them.
fn listen(
    guest: &Guest,
    engine: &Engine,
    machine: &Machine,
    header: Option<u64>,
) -> Option<server::Listener> {
    let introduction = Introduction::new(guest, engine, machine, header);
    server::listen(&introduction, machine)
        .inspect_err(|error| say(format_args!("nobody can view this run: {error:#}")))
        .ok()
}

/// What is shown while the guest runs, if anything.
fn trace(
    args: &RunArgs,
    images: Images,
    machine: &Machine,
    header: Option<u64>,
) -> Option<Trace<Screen<io::Stderr>>> {
    let style = style(args);
    if style == Style::Quiet {
        return None;
    }
    let Some(header) = header else {
        say("there is no trace: the kernel has no note that names its introspection header");
        return None;
    };
    Some(Trace {
        ram: Ram(machine.memory()),
        header,
        images,
        ticks_per_second: machine.ticks_per_second(),
        printer: Printer::new(style, use_colour(args.color), screen::trace()),
    })
}

fn style(args: &RunArgs) -> Style {
    match args {
        RunArgs { flat: true, .. } => Style::Flat,
        RunArgs { json: true, .. } => Style::Json,
        RunArgs { count: true, .. } => Style::Summary,
        RunArgs { quiet: true, .. } => Style::Quiet,
        _ => Style::Blocks,
    }
}

fn use_colour(colour: Colour) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            screen::errors_are_on_a_terminal() && !unwanted
        }
    }
}

/// Waits for the first event or the deadline.
fn wait(events: &Receiver<Event>, deadline: Option<Instant>) -> End {
    let event = match deadline {
        None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    match event {
        Ok(Event::Ended(outcome)) => End::Guest(outcome),
        Ok(Event::Signal(signal)) => End::Signal(signal),
        Ok(Event::OutputFailed(error)) => End::Output(error),
        Ok(Event::CheckFailed) => End::Check,
        Err(_) => End::Timeout(None),
    }
}

/// Where the guest was when it was stopped.
fn stopped_at(events: &Receiver<Event>) -> Option<Box<CpuState>> {
    events.try_iter().find_map(|event| match event {
        Event::Ended(Outcome::Stopped(cpu)) => cpu,
        _ => None,
    })
}

/// Says how it ended, where that is not plain, and gives the exit status.
fn conclude(end: End, events: &Receiver<Event>, locator: &Locator<'_>) -> u8 {
    match end {
        End::Signal(signal) => KILLED_BY.wrapping_add(signal as u8),
        End::Output(error) => output_failed(&error),
        End::Check => CHECK_FAILED,
        End::Timeout(place) => {
            let place = place.map(|cpu| format!("; it was at {}", locator.place(&cpu)));
            say(format_args!("the guest's time is up (--timeout){}", place.unwrap_or_default()));
            TIMED_OUT
        }
        End::Guest(Outcome::Crash(crash)) => crashed(&crash, locator),
        // Only a run that is over for another reason stops its guest.
        End::Guest(Outcome::Stopped(_)) => 1,
        End::Guest(Outcome::Exit(status)) => {
            if let Some(lines) = report::panic(locator) {
                say_lines(&lines);
            }
            late_failure(events).unwrap_or(status)
        }
    }
}

/// What the guest printed last may have been lost.
fn late_failure(events: &Receiver<Event>) -> Option<u8> {
    events.try_iter().find_map(|event| match event {
        Event::OutputFailed(error) => Some(output_failed(&error)),
        _ => None,
    })
}

fn crashed(crash: &Crash, locator: &Locator<'_>) -> u8 {
    say_lines(&report::crash(crash, locator));
    1
}

/// A closed pipe is no error worth a word; anything else is.
fn output_failed(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return BROKEN_PIPE;
    }
    say(format_args!("cannot write the output: {error}"));
    1
}
