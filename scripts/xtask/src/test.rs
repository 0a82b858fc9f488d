//! `xtask test`: format, lints, and all tests, those included that boot machines.

use crate::{
    command::{self, cargo, say},
    guest, host,
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Runs every check and every test, or only `cargo test` with `arguments` if there are some.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if arguments.is_empty() {
        lint(workspace)?;
    }
    // Tests boot the guest and start the finished command.
    host::build(workspace)?;
    say("test: cargo test");
    test(cargo(workspace).args(["test", "--no-fail-fast"]).args(arguments))
}

/// Format and lints. Building the guest checks the layouts of `protocol` on both word sizes, which
/// are asserted at compile time.
pub fn lint(workspace: &Workspace) -> Result<()> {
    say("check: format");
    run_cargo(workspace, &["fmt", "--all", "--check"])?;
    // The host's build embeds it.
    guest::build(workspace)?;
    say("check: lints, host");
    run_cargo(workspace, &["clippy", "--all-targets", "--", "-D", "warnings"])?;
    say("check: lints, guest");
    guest::lint(workspace)
}

fn run_cargo(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    command::run(cargo(workspace).args(arguments))
}

/// Runs `cargo test`, passes on what it prints, and closes with one line for all of its parts.
fn test(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has an output")?;
    let mut total = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        println!("{line}");
        total.add(&line);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    println!("\n{} passed, {} failed", total.passed, total.failed);
    match status.success() {
        true if total.passed == 0 => bail!("no test ran"),
        true => Ok(()),
        false => bail!("tests failed"),
    }
}

/// How many tests passed and failed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Adds what a line like `test result: ok. 5 passed; 0 failed; 0 ignored; ...` says.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn results_of_all_parts_are_added_up() {
        let mut total = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            total.add(line);
        }
        assert_eq!(total, Tally { passed: 4, failed: 2 });
    }
}
