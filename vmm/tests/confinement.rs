//! What runs, viewers and QEMU may still do once they are set up, as the host's kernel tells it of the
//! processes themselves. What the filters forbid is tested where they are, in `confine`.
//!
//! These tests need a host that has seccomp filters.

mod common;

use common::{Machine, Target, finish, on_every_target, within};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than a process needs to confine itself, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the host's kernel says of the confinement of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Confined {
    no_new_privileges: bool,
    filters: u32,
}

/// The threads of a process by their names.
fn threads(process: u32) -> BTreeMap<String, Confined> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return BTreeMap::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .map(|status| {
            let field = |name: &str| {
                let lines = status.lines().filter_map(|line| line.split_once(":\t"));
                let found = lines.into_iter().find(|(key, _)| *key == name);
                found.unwrap_or_else(|| panic!("no {name} in {status}")).1.trim().to_owned()
            };
            let filters = field("Seccomp_filters").parse().expect("a number");
            let confined = Confined { no_new_privileges: field("NoNewPrivs") == "1", filters };
            (field("Name"), confined)
        })
        .collect()
}

/// Waits until all threads of a process are confined.
#[track_caller]
fn confined(process: u32) -> BTreeMap<String, Confined> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let threads = threads(process);
        let is_confined = |thread: &Confined| thread.no_new_privileges && thread.filters > 0;
        if !threads.is_empty() && threads.values().all(is_confined) {
            return threads;
        }
        assert!(Instant::now() < deadline, "{threads:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The process that a run has started with this among its arguments.
fn child_of(run: u32, argument: &str) -> u32 {
    let threads = fs::read_dir(format!("/proc/{run}/task")).expect("the run").flatten();
    let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let children: Vec<String> = children.map(|text| text.expect("a list of children")).collect();
    let mut numbers = children.iter().flat_map(|text| text.split_whitespace());
    let child = numbers.find(|number| {
        let line = fs::read_to_string(format!("/proc/{number}/cmdline"));
        line.is_ok_and(|line| line.contains(argument))
    });
    child.expect("one of the children").parse().expect("a number")
}

#[test]
fn each_thread_of_a_run_is_confined_and_that_of_the_processor_most() {
    let machine = Machine::start(Target::AMD64_ON_KVM);
    let threads = confined(machine.child.id());
    // Besides, KVM may have a thread of its own in the process, which the processor's has started.
    for name in ["glass", "viewers", "signals", "follower"] {
        assert!(threads[name].filters < threads["vcpu0"].filters, "{threads:?}");
    }
}

#[test]
fn qemu_is_confined_by_itself_and_cannot_write_files() {
    let machine = Machine::start(Target::AMD64_ON_QEMU);
    let threads = confined(machine.child.id());
    assert!(threads.contains_key("qemu"), "{threads:?}");
    let qemu = child_of(machine.child.id(), "-machine");
    confined(qemu);
    let arguments = fs::read_to_string(format!("/proc/{qemu}/cmdline")).unwrap();
    assert!(arguments.contains("spawn=deny"), "{arguments}");
}

/// It takes questions of the run, which may have fallen, and starts programs.
#[test]
fn who_starts_readers_of_debug_information_gains_no_privileges() {
    let machine = Machine::start(Target::AMD64_ON_KVM);
    let clerk = child_of(machine.child.id(), "source-lines");
    let deadline = Instant::now() + PATIENCE;
    while !threads(clerk).values().all(|thread| thread.no_new_privileges) {
        assert!(Instant::now() < deadline, "{:?}", threads(clerk));
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!threads(clerk).is_empty(), "it is still there");
}

#[test]
fn who_asks_for_it_is_not_confined() {
    let machine = Machine::run(Target::AMD64_ON_KVM, &["stress", "--unconfined"]);
    let deadline = Instant::now() + PATIENCE;
    while !threads(machine.child.id()).contains_key("vcpu0") {
        assert!(Instant::now() < deadline, "the guest does not start");
        thread::sleep(Duration::from_millis(10));
    }
    let threads = threads(machine.child.id());
    let free = Confined { no_new_privileges: false, filters: 0 };
    assert!(threads.values().all(|thread| *thread == free), "{threads:?}");
}

/// Each view, caught while it waits for somebody to read what it shows.
fn views_are_confined(target: Target) {
    let machine = Machine::start(target);
    for arguments in [
        &["ls"][..],
        &["tasks"],
        &["map", "first"],
        &["who", "first:0x400000"],
        &["frame", "0x200"],
        &["walk", "first:0x400000"],
        &["check"],
    ] {
        let (child, mut output) = blocked(&machine, arguments);
        confined(child.id());
        // It ends as if nothing had happened.
        let mut shown = String::new();
        output.read_to_string(&mut shown).expect("text");
        let ran = finish(child.wait_with_output().expect("glass ends"));
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(shown.trim_start_matches(FILLER).contains('\n'), "{arguments:?}: {shown}");
    }
}

/// What fills a pipe.
const FILLER: char = '.';

/// Starts a view whose output nobody reads yet: that is a pipe which is full.
fn blocked(machine: &Machine, arguments: &[&str]) -> (Child, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("its flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("its flags can be changed");
    let mut writer = File::from(writer);
    let full = loop {
        if let Err(error) = writer.write(&[FILLER as u8; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&writer, flags).expect("its flags can be changed");
    let mut command: Command = within(&machine.folder);
    command.args(arguments).stdout(writer).stderr(Stdio::piped());
    (command.spawn().expect("glass can be started"), reader.into())
}

on_every_target!(views_are_confined);
