//! `glass run --check`: the kernel waits while its tables are checked.

mod common;

use common::{Code, Target, on_every_target};
use protocol::introspection::{Checkpoints, HEADER_MAGIC, Header};
use serde_json::Value;
use std::{
    mem::offset_of,
    time::{Duration, Instant},
};

/// The maps and unmaps in a trace, those that answered faults included.
fn operations(events: &[Value]) -> usize {
    let items = |event: &Value, key: &str| event[key].as_array().map_or(0, Vec::len);
    let own = |event: &Value| usize::from(event["k"] == "map" || event["k"] == "unmap");
    events.iter().map(|event| own(event) + items(event, "maps") + items(event, "unmaps")).sum()
}

fn every_mapping_operation_leaves_the_kernel_sound(on: Target) {
    for scenario in ["words", "squares"] {
        let ran = on.run(&[scenario, "--json", "--check"]).expect_status(0);
        let operations = operations(&ran.events());
        assert!(operations > 30, "{operations}");
        assert_eq!(ran.checks(), operations + 1, "each once, and at the end");
    }
}

fn every_nth_operation_is_every_nth(on: Target) {
    let ran = on.run(&["words", "--json", "--check=7"]).expect_status(0);
    assert_eq!(ran.checks(), operations(&ran.events()) / 7 + 1);
}

fn without_a_trace_to_show_it_is_checked_all_the_same(on: Target) {
    let ran = on.run(&["words", "--quiet", "--check=5"]).expect_status(0);
    assert!(ran.checks() > 5, "{}", ran.stderr);
}

fn the_guests_own_status_comes_through(on: Target) {
    let arguments = ["--quiet", "--check", "--module", &on.assist("exit 3")];
    assert!(on.run(&arguments).expect_status(3).checks() > 20);
}

/// Nothing waits for ever if the trace cannot be written.
#[test]
fn a_trace_that_nobody_reads_ends_the_run() {
    common::require_kvm();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = common::glass()
        .args(["run", "words", "--check", "--timeout", "60s"])
        .stdout(std::process::Stdio::null())
        .stderr(writer)
        .status()
        .expect("glass can be started");
    assert_eq!(status.code(), Some(141), "as a program that SIGPIPE killed");
}

/// A kernel that waits at its first checkpoint, with a header that makes no sense.
fn broken_kernel() -> Vec<u8> {
    const HEADER: usize = 0x100;
    let mut code = vec![0; HEADER + size_of::<Header>()];
    // jmp $
    code[..2].copy_from_slice(&[0xeb, 0xfe]);
    let checkpoints = HEADER + offset_of!(Header, checkpoints);
    for (at, word) in [
        (HEADER + offset_of!(Header, magic), HEADER_MAGIC),
        (checkpoints + offset_of!(Checkpoints, interval), 5),
        (checkpoints + offset_of!(Checkpoints, reached), 1),
    ] {
        code[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    code
}

#[test]
fn a_kernel_that_cannot_be_checked_ends_the_run_and_is_no_violation() {
    let code = broken_kernel();
    let kernel = Code::new(&code).with_header(u64::from(Code::ENTRY) + 0x100);
    let ran = kernel.run(&["--quiet", "--check=5"]).expect_status(1);
    let said: Vec<&str> = ran.stderr.lines().collect();
    let [failure, summary] = said[..] else { panic!("two lines: {said:?}") };
    let expected =
        "glass: cannot check at the start: the kernel's introspection header has version 0";
    assert!(failure.starts_with(expected), "{failure}");
    assert_eq!(summary, "glass: 0 checks, 0 violations");
}

/// Who reads the trace learns that it is over.
#[test]
fn a_trace_that_cannot_be_read_has_an_end_all_the_same() {
    let mut code = broken_kernel();
    // mov dx, 0xf4; mov al, 42; out dx, al; hlt
    code[..8].copy_from_slice(&[0x66, 0xba, 0xf4, 0, 0xb0, 42, 0xee, 0xf4]);
    let kernel = Code::new(&code).with_header(u64::from(Code::ENTRY) + 0x100);
    let ran = kernel.run(&["--json"]);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("glass: ")).collect();
    let [failure] = said[..] else { panic!("one line: {said:?}") };
    let expected =
        "glass: there is no trace from here on: the kernel's introspection header has version 0";
    assert!(failure.starts_with(expected), "{failure}");
    assert_eq!(ran.events().last().expect("an end")["k"], "end");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (options, part) in [
        (["--cmdline", "check=3", "--quiet"], "write --check=N instead of check=N"),
        (["--cmdline", "trace=off", "--check"], "leave out trace=off"),
    ] {
        let ran = common::run_without_kvm(&[&["run", "words"], &options[..]].concat());
        let ran = ran.expect_status(1);
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let ran = Code::new(&[0xeb, 0xfe]).run(&["--check"]).expect_status(1);
    assert!(ran.stderr.contains("no note of it"), "{}", ran.stderr);
}

/// Nobody waits there to be let go on.
#[test]
fn a_header_at_the_end_of_all_addresses_cannot_be_checked() {
    for header in [u64::MAX, u64::MAX - 0xff] {
        let kernel = Code::new(&[0x66, 0xba, 0xf4, 0, 0xb0, 42, 0xee, 0xf4]).with_header(header);
        let ran = kernel.run(&["--quiet", "--check"]).expect_status(1);
        assert!(ran.stderr.contains("cannot check at the end: the kernel"), "{}", ran.stderr);
        assert!(ran.stderr.contains("header is not in memory"), "{}", ran.stderr);
    }
}

/// Most of the time, this guest waits to be checked.
#[test]
fn a_guest_that_waits_meets_its_deadline() {
    common::require_kvm();
    let module = Target::AMD64_ON_KVM.assist("heap 200");
    let arguments = ["run", "--quiet", "--check", "--timeout", "1s", "--memory", "512M"];
    let began = Instant::now();
    let ran = common::run_without_kvm(&[&arguments[..], &["--module", &module]].concat());
    assert_eq!(ran.status, Some(124), "{ran:?}");
    ran.checks();
    assert!(began.elapsed() < Duration::from_secs(60), "{ran:?}");
}

on_every_target! {
    every_mapping_operation_leaves_the_kernel_sound,
    every_nth_operation_is_every_nth,
    without_a_trace_to_show_it_is_checked_all_the_same,
    the_guests_own_status_comes_through,
}
