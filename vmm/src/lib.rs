//! `glass`: boots a microkernel in a virtual machine and shows its page faults.
//!
//! | module | what |
//! |---|---|
//! | [`cli`], [`units`], [`module_spec`] | what the user said |
//! | [`scenario`], [`embedded`], [`guest`] | what that means: a kernel and its boot modules |
//! | [`input`] | the files that it names |
//! | [`engine`] | whether KVM or QEMU runs it |
//! | [`run`] | a guest from its start to its exit status |
//! | [`standard_input`] | what comes in for it, and the terminal that it comes from |
//! | [`watchdog`] | ends it if it does not end |
//! | [`source_lines`] | what line an instruction belongs to: asked of a process that may be lost |
//! | [`confinement`] | what a run and a viewer give up before they meet a guest |
//! | [`checker`] | looks into it whenever its kernel waits for that |
//! | [`console`], [`follow`], [`report`], [`message`] | what the user sees of it |
//! | [`screen`] | the way out for all that: what others wrote is shown, not obeyed |
//! | [`attach`], [`views`] | looking into a guest that another process runs |
//! | [`bundle`], [`doctor`], [`trial`] | the other verbs |
//!
//! The rooms `machine` (knows KVM and QEMU), `observe` (knows the trace) and `confine` (knows what a host can
//! take from a process) meet only here.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod attach;
mod bundle;
mod checker;
mod cli;
mod confinement;
mod console;
mod doctor;
mod embedded;
mod engine;
mod follow;
mod guest;
mod input;
mod message;
pub mod module_spec;
mod report;
mod run;
pub mod scenario;
mod screen;
mod source_lines;
mod standard_input;
mod trial;
pub mod units;
mod views;
mod watchdog;

use clap::error::ErrorKind;
use cli::{Cli, Command};
use message::say;
use observe::text;
use signal_hook::{consts::SIGXFSZ, flag};
use std::{
    env,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    process::ExitCode,
    sync::Arc,
};

/// What the command does, and with which status it ends.
pub fn main() -> ExitCode {
    // Who writes more than the limit on the size of files allows gets an error instead.
    let _ = flag::register(SIGXFSZ, Arc::default());
    let cli = Cli::of_command_line(env::args_os()).unwrap_or_else(|error| refuse(error));
    match execute(&cli) {
        Ok(status) => ExitCode::from(status),
        // A reader that has had enough, as `head` does, is no error worth a word.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(run::BROKEN_PIPE),
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends with help, or with what is wrong with the command line.
fn refuse(error: clap::Error) -> ! {
    let (help, version) = (ErrorKind::DisplayHelp, ErrorKind::DisplayVersion);
    let no_words = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if [help, version, no_words].contains(&error.kind()) {
        error.exit();
    }
    // The message repeats words of the command line: they must do nothing to a terminal.
    let words = env::args_os().map(|word| text::shown_bytes(word.as_bytes()));
    let error = Cli::of_command_line(words).err().unwrap_or(error);
    let _ = screen::errors().write_all(error.render().to_string().as_bytes());
    std::process::exit(error.exit_code())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

fn execute(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Run(args) if args.list => list(),
        Command::Run(args) => run::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Ls(args) => views::ls(args),
        Command::Tasks(args) => views::tasks(args),
        Command::Map(args) => views::map(args),
        Command::Frame(args) => views::frame(args),
        Command::Who(args) => views::who(args),
        Command::Walk(args) => views::walk(args),
        Command::Check(args) => views::check(args),
        Command::List => list(),
        Command::Bundle(args) => bundle::write(args),
        Command::SourceLines(args) => source_lines::serve(args),
    }
}

/// `glass list`: each scenario with its sentence.
fn list() -> anyhow::Result<u8> {
    let scenarios = scenario::embedded()?;
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for scenario in scenarios {
        writeln!(screen::output(), "{:width$}  {}", scenario.name, scenario.summary)?;
    }
    Ok(0)
}
