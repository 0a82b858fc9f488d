//! `glass ls`: the machines of this user.

use super::ListArgs;
use crate::{
    attach::{
        Introduction,
        viewer::{self, Machines},
    },
    message::say,
    screen,
};
use anyhow::Result;
use machine::human;
use std::io::Write;

/// Lists them, one a line.
pub fn ls(args: &ListArgs) -> Result<u8> {
    let mut out = screen::output();
    let Machines { answered, silent } = viewer::all()?;
    for pid in silent {
        say(format_args!("machine {pid} does not answer: it may be stopped or still start"));
    }
    if args.json {
        for machine in &answered {
            writeln!(out, "{}", serde_json::to_string(&machine.introduction)?)?;
        }
        return Ok(0);
    }
    writeln!(out, "{:<8} {:<12} {:<6} {:<10} scenario", "PID", "architecture", "engine", "RAM")?;
    for machine in &answered {
        let Introduction { pid, architecture, engine, scenario, ram, .. } = &machine.introduction;
        let (ram, scenario) = (human(*ram), scenario.as_deref().unwrap_or("(own modules)"));
        writeln!(out, "{pid:<8} {architecture:<12} {engine:<6} {ram:<10} {scenario}")?;
    }
    Ok(0)
}
