//! `xtask test`: format, lints, and all tests, those included that boot machines.

use crate::{
    command::{self, cargo, say},
    guest, host,
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// A target with 32-bit words whose programs run on the host.
const NARROW_TARGET: &str = "i686-unknown-linux-musl";

/// The crates that the guest is made of and that can be tested on the host.
const NARROW_CRATES: [&str; 4] = ["kernel-core", "memory-functions", "policy", "protocol"];

/// Runs every check and every test, or only `cargo test` with `arguments` if there are some.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if arguments.is_empty() {
        lint(workspace)?;
    }
    // Tests boot the guest and start the finished command.
    host::build(workspace)?;
    say("test: what this host can run the guests on");
    report_engines(workspace)?;
    let mut tests = cargo_test(workspace);
    tests.args(arguments);
    let mut runs = vec![("cargo test", tests)];
    if arguments.is_empty() {
        runs.extend(narrow_tests(workspace)?);
    }
    test(runs)
}

/// Prints what runs which architecture here: tests of ia32 take KVM where it can page that, else QEMU.
fn report_engines(workspace: &Workspace) -> Result<()> {
    let output = Command::new(workspace.glass()).arg("doctor").output();
    let output = output.context("cannot start glass doctor")?;
    let report = String::from_utf8_lossy(&output.stdout);
    for line in report.lines().filter(|line| line.contains(" guests  ")) {
        println!("  {line}");
    }
    Ok(())
}

fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = cargo(workspace);
    command.args(["test", "--no-fail-fast"]);
    command
}

/// The tests of what the guest is made of once more, on 32-bit words, where the toolchain can.
fn narrow_tests(workspace: &Workspace) -> Result<Option<(&'static str, Command)>> {
    if !is_installed(NARROW_TARGET)? {
        say(&format!("test: nothing with 32-bit words, {NARROW_TARGET} is not installed"));
        return Ok(None);
    }
    let mut command = cargo_test(workspace);
    command.args(["--target", NARROW_TARGET]);
    command.args(NARROW_CRATES.iter().flat_map(|name| ["--package", name]));
    // The target brings a C library; no other one and no compiler for it is needed.
    let flags = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld", "-Clink-self-contained=yes"];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(Some(("what the guest is made of, with 32-bit words", command)))
}

fn is_installed(target: &str) -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .context("cannot start rustc")?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(libraries.trim()).is_dir())
}

/// Format and lints. Building the guest checks the layouts of `protocol` on both word sizes, which
/// are asserted at compile time.
pub fn lint(workspace: &Workspace) -> Result<()> {
    say("check: format");
    run_cargo(workspace, &["fmt", "--all", "--check"])?;
    // The host's build embeds it.
    guest::build(workspace)?;
    say("check: lints, host");
    run_cargo(
        workspace,
        &["clippy", "--all-targets", "--features", "fuzz/programs", "--", "-D", "warnings"],
    )?;
    say("check: lints, guest");
    guest::lint(workspace)
}

fn run_cargo(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    command::run(cargo(workspace).args(arguments))
}

/// Runs `cargo test` as often as is wanted, and closes with one line for all.
fn test(runs: Vec<(&str, Command)>) -> Result<()> {
    let mut total = Tally::default();
    let mut is_success = true;
    for (what, mut command) in runs {
        say(&format!("test: {what}"));
        is_success &= run_tests(&mut command, &mut total)?;
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    match is_success {
        true if total.passed == 0 => bail!("no test ran"),
        true => Ok(()),
        false => bail!("tests failed"),
    }
}

/// Runs one `cargo test`, passes on what it prints, and says whether it succeeded.
fn run_tests(command: &mut Command, total: &mut Tally) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has an output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        println!("{line}");
        total.add(&line);
    }
    Ok(child.wait().context("cannot wait for cargo test")?.success())
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
