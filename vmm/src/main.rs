//! `glass`: boots a microkernel in a virtual machine and shows its page faults.
//!
//! | module | what |
//! |---|---|
//! | [`cli`], [`units`], [`module_spec`] | what the user said |
//! | [`scenario`], [`embedded`], [`guest`] | what that means: a kernel and its boot modules |
//! | [`engine`] | whether KVM or QEMU runs it |
//! | [`run`] | a guest from its start to its exit status |
//! | [`confinement`] | what a run and a viewer give up before they meet a guest |
//! | [`checker`] | looks into it whenever its kernel waits for that |
//! | [`console`], [`follow`], [`report`], [`message`] | what the user sees of it |
//! | [`attach`], [`views`] | looking into a guest that another process runs |
//! | [`bundle`], [`doctor`], [`trial`] | the other verbs |
//!
//! The rooms `machine` (knows KVM and QEMU), `observe` (knows the trace) and `confine` (knows what a host can
//! take from a process) meet only here.
#![forbid(unsafe_code)]

mod attach;
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
mod message;
mod module_spec;
mod report;
mod run;
mod scenario;
mod trial;
mod units;
mod views;

use clap::Parser;
use cli::{Cli, Command};
use message::say;
use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    match execute(&Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        // A reader that has had enough, as `head` does, is no error worth a word.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(run::BROKEN_PIPE),
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
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
    }
}

/// `glass list`: each scenario with its sentence.
fn list() -> anyhow::Result<u8> {
    let scenarios = scenario::embedded()?;
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    for scenario in scenarios {
        writeln!(io::stdout(), "{:width$}  {}", scenario.name, scenario.summary)?;
    }
    Ok(0)
}
