//! `xtask bench`: what the kernel's main operations cost, in instructions and in microseconds.

pub mod budget;
pub mod exact;
pub mod guest_report;
mod header;
pub mod others;
mod report;
mod timed;

use crate::{Architecture, architecture::ALL, host, workspace::Workspace};
use anyhow::{Result, bail};

/// Counts, times, and prints a table or, with `--json`, one JSON object a line and architecture.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let json = match arguments {
        [] => false,
        [flag] if flag == "--json" => true,
        _ => bail!("usage: ./scripts/bench [--json]"),
    };
    host::build(workspace)?;
    for architecture in ALL {
        report(workspace, architecture, json)?;
    }
    if !json {
        print!("{}", report::NOTES);
    }
    Ok(())
}

fn report(workspace: &Workspace, architecture: &'static Architecture, json: bool) -> Result<()> {
    let counts = exact::Counts::measure(workspace, architecture)?;
    let times = timed::Times::measure(workspace, architecture)?;
    if json {
        println!("{}", report::json(&counts, times.as_ref()));
    } else {
        println!("{}", report::table(&counts, times.as_ref()));
    }
    Ok(())
}
