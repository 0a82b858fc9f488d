//! Running other programs.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::{env, path::Path, process::Command};

/// Says on standard error what happens next.
pub fn say(what: &str) {
    eprintln!("{what}");
}

/// `cargo` of the chosen toolchain, in the workspace's root.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace.root()).env("CARGO_TARGET_DIR", workspace.target());
    // These are set for a program that cargo runs, and would tell the next cargo lies.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command
}

/// Runs `command`, which reports its own errors, to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

/// The program's name and its first argument.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args().take(1));
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::process::Command;

    #[test]
    fn failures_name_the_command() {
        run(&mut Command::new("true")).expect("it succeeds");
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).expect_err("it fails");
        assert_eq!(error.to_string(), "`sh -c` failed (exit status: 3)");
        let error = run(&mut Command::new("/no/such-program")).expect_err("it does not start");
        assert_eq!(error.to_string(), "cannot start `such-program`");
    }
}
