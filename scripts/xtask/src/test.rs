//! `xtask test`: format, lints, and all tests, those included that boot machines.

use crate::{
    command::{self, cargo, say},
    guest, host, svm,
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
const NARROW_CRATES: [&str; 5] =
    ["images", "kernel-core", "memory-functions", "policy", "protocol"];

/// What leaves out the tests under emulated hardware virtualisation.
const WITHOUT_SVM: [&str; 2] = ["--without", "svm"];

/// Runs every check and every test, or only `cargo test` with `arguments` if there are some others than
/// [`WITHOUT_SVM`].
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_without_svm = arguments == WITHOUT_SVM;
    let arguments = if is_without_svm { &[] } else { arguments };
    if arguments.is_empty() {
        lint(workspace)?;
    }
    // Tests boot the guest and start the finished command.
    host::build(workspace)?;
    say("test: what this host can run the guests on");
    report_engines(workspace)?;
    let mut total = Tally::default();
    let mut tests = cargo_test(workspace);
    tests.args(arguments);
    let mut is_success = run_tests("cargo test", &mut tests, &mut total)?;
    if arguments.is_empty() {
        if let Some(mut tests) = narrow_tests(workspace)? {
            let what = "what the guest is made of, with 32-bit words";
            is_success &= run_tests(what, &mut tests, &mut total)?;
        }
        match is_without_svm {
            true => say("test: nothing under emulated SVM (--without svm)"),
            false => is_success &= test_svm(workspace, &mut total),
        }
    }
    conclude(&total, is_success)
}

/// Runs the tests under emulated hardware virtualisation alone.
pub fn only_svm(workspace: &Workspace) -> Result<()> {
    host::build(workspace)?;
    let mut total = Tally::default();
    let is_success = test_svm(workspace, &mut total);
    conclude(&total, is_success)
}

/// What cannot be run counts as failed.
fn test_svm(workspace: &Workspace, total: &mut Tally) -> bool {
    say("test: under emulated SVM");
    svm::test(workspace, total).unwrap_or_else(|error| {
        say(&format!("svm: {error:#}"));
        total.add_test(false);
        false
    })
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
fn narrow_tests(workspace: &Workspace) -> Result<Option<Command>> {
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
    Ok(Some(command))
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

/// Closes with one line for all tests.
fn conclude(total: &Tally, is_success: bool) -> Result<()> {
    println!("\n{} passed, {} failed", total.passed, total.failed);
    match is_success {
        true if total.passed == 0 => bail!("no test ran"),
        true => Ok(()),
        false => bail!("tests failed"),
    }
}

/// Runs one `cargo test`, passes on what it prints, and says whether it succeeded.
fn run_tests(what: &str, command: &mut Command, total: &mut Tally) -> Result<bool> {
    say(&format!("test: {what}"));
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
pub struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Adds what a whole test program printed, and says whether it has run tests and passed. One that
    /// has not, and none of whose tests failed, counts as one that failed.
    pub fn add_program(&mut self, output: &str, is_success: bool) -> bool {
        let mut own = Self::default();
        output.lines().for_each(|line| own.add(line));
        let is_success = is_success && own.passed > 0 && own.failed == 0;
        if !is_success && own.failed == 0 {
            own.failed = 1;
        }
        self.passed += own.passed;
        self.failed += own.failed;
        is_success
    }

    /// Adds one test.
    pub fn add_test(&mut self, is_success: bool) {
        match is_success {
            true => self.passed += 1,
            false => self.failed += 1,
        }
    }

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

    #[test]
    fn a_program_without_a_result_has_failed() {
        let result = "test result: ok. 3 passed; 0 failed; 0 ignored";
        let nothing = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";
        for (output, is_success, passed, failed) in [
            (result, true, 3, 0),
            (result, false, 3, 1),
            ("running 3 tests\nkilled", false, 0, 1),
            ("running 3 tests", true, 0, 1),
            (nothing, true, 0, 1),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", false, 1, 2),
        ] {
            let mut total = Tally::default();
            assert_eq!(total.add_program(output, is_success), failed == 0, "{output}");
            assert_eq!(total, Tally { passed, failed }, "{output}");
        }
    }
}
