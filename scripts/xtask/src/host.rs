//! `xtask build` and `xtask run`: the guest, then the host command that embeds it.

use crate::{
    command::{cargo, run, say},
    guest,
    workspace::Workspace,
};
use anyhow::{Context, Result};
use std::{convert::Infallible, os::unix::process::CommandExt, process::Command};

/// Builds guest and host; leaves the command at `target/release/glass`.
pub fn build(workspace: &Workspace) -> Result<()> {
    guest::build(workspace)?;
    say("build: glass");
    run(cargo(workspace).args(["build", "--release", "--package", "glass"]))?;
    let built = workspace.target().join("release/glass");
    if built == workspace.glass() { Ok(()) } else { guest::install(&built, &workspace.glass()) }
}

/// Builds everything, then becomes `glass run` with `arguments`.
pub fn build_and_run(workspace: &Workspace, arguments: &[String]) -> Result<Infallible> {
    build(workspace)?;
    say(&format!("run: target/release/glass run {}", arguments.join(" ")));
    let error = Command::new(workspace.glass()).arg("run").args(arguments).exec();
    Err(error).context("cannot start target/release/glass")
}
