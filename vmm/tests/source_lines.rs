//! Source lines, and debug information that was made to harm whoever reads it.

mod common;

use common::{DebugInformation, Ran, Target};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::Command,
    thread,
    time::{Duration, Instant},
};

const ON: Target = Target::AMD64_ON_KVM;

/// A program with this debug information runs as well without source lines.
#[track_caller]
fn check(debug_information: DebugInformation, said: &str) -> Ran {
    let image = debug_information.in_image(&ON.image("test-assist"));
    let module = format!("{},name=made,recurse 10", image.path().display());
    let ran = ON.run(&["--flat", "--module", &module]).expect_status(0);
    let sentence = format!("glass: no source lines of made: {said}");
    assert_eq!(ran.stderr.lines().filter(|line| *line == sentence).count(), 1, "{}", ran.stderr);
    // Functions are known from the symbol table.
    let own: Vec<_> = ran.trace().filter(|line| line.contains(" made ")).collect();
    assert!(own.iter().any(|line| line.contains("+0x")), "{own:?}");
    assert!(!own.iter().any(|line| line.contains(" at ")), "{own:?}");
    // The other images have their source lines.
    assert!(ran.trace().any(|line| line.contains(" at guest-pagers/root-task/")), "{}", ran.stderr);
    ran
}

#[test]
fn functions_that_are_inlined_without_end_cost_no_more_than_source_lines() {
    check(DebugInformation::Nested(300_000), "its debug information is too deep");
}

/// 16 GB of them, from a file of half a megabyte.
#[test]
fn ranges_without_number_cost_no_more_than_source_lines() {
    let ranges = DebugInformation::Ranges { functions: 20_000, ranges: 20_000, bytes: 1 };
    check(ranges, "its debug information is too large");
}

/// Empty ranges need no memory, but time.
#[test]
fn endless_reading_costs_no_more_than_source_lines() {
    let ranges = DebugInformation::Ranges { functions: 100_000, ranges: 100_000, bytes: 0 };
    check(ranges, "reading its debug information took too long");
}

#[test]
fn debug_information_of_a_kernel_is_not_trusted_either() {
    let kernel = DebugInformation::Nested(300_000).in_image(&ON.image("kernel"));
    let kernel = kernel.path().to_str().expect("a plain name");
    let pager = ON.image("lazy-squares").display().to_string();
    let arguments = ["run", "--engine", "kvm", "--quiet", "--timeout", "2s"];
    let images = ["--kernel", kernel, "--module", &pager];
    common::require_kvm();
    let ran = common::run_without_kvm(&[&arguments[..], &images].concat()).expect_status(124);
    assert!(ran.stderr.contains("the kernel: its debug information is too deep"), "{}", ran.stderr);
    assert!(ran.stderr.contains("it was at 0x"), "{}", ran.stderr);
}

/// Process numbers of those that a process has started.
fn children_of(process: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &process.to_string()]).output();
    let text = String::from_utf8_lossy(&output.expect("ps can be started").stdout).into_owned();
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// Whether it is one that looks source lines up.
fn looks_up(process: u32) -> bool {
    // A zombie's is empty.
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains("source-lines")
}

#[test]
fn who_looks_source_lines_up_never_outlives_the_run() {
    let pager = ON.image("lazy-squares").display().to_string();
    for signal in ["-KILL", "-TERM"] {
        let mut child = ON.start(&["--flat", "--module", &pager]);
        let mut trace = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains(" at ") {
            line.clear();
            assert!(trace.read_line(&mut line).expect("a line") > 0, "no source line");
        }
        let clerks: Vec<_> =
            children_of(child.id()).into_iter().filter(|child| looks_up(*child)).collect();
        let [clerk] = clerks[..] else { panic!("one clerk: {clerks:?}") };
        let workers = children_of(clerk);
        assert!(!workers.is_empty());
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill can be started").success());
        child.wait().expect("glass ends");
        let deadline = Instant::now() + Duration::from_secs(20);
        while workers.iter().chain([&clerk]).any(|process| looks_up(*process)) {
            assert!(Instant::now() < deadline, "{clerk} or {workers:?} is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
