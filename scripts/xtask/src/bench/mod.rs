//! `xtask bench`: what the kernel's main operations cost, in instructions and in microseconds.

pub mod budget;
pub mod exact;
mod guest_report;
mod header;
mod report;
mod timed;

use crate::{host, workspace::Workspace};
use anyhow::{Result, bail};

/// Counts, times, and prints a table or, with `--json`, one JSON object a line and architecture.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let json = match arguments {
        [] => false,
        [flag] if flag == "--json" => true,
        _ => bail!("usage: ./scripts/bench [--json]"),
    };
    host::build(workspace)?;
    let counts = exact::Counts::measure(workspace)?;
    let times = timed::Times::measure(workspace)?;
    if json {
        println!("{}", report::json(&counts, times.as_ref()));
    } else {
        print!("{}", report::table(&counts, times.as_ref()));
    }
    Ok(())
}
