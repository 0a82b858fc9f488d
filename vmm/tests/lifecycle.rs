//! How machines end: by themselves, by a deadline, by a signal, by a crash.

mod common;

use common::{Code, Target, file, finish, on_every_target};
use object::{Object, ObjectSection, ObjectSymbol};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;

/// `mov dx, 0xf4; mov al, STATUS; out dx, al; hlt`
#[test]
fn a_kernel_of_ones_own_can_end_the_machine() {
    let ran = Code::new(&[0x66, 0xba, 0xf4, 0, 0xb0, 42, 0xee, 0xf4]).run(&[]).expect_status(42);
    assert!(ran.stderr.contains("no trace"), "{}", ran.stderr);
}

/// The same where of the kernel's first segment nothing is loaded.
#[test]
fn a_kernel_whose_first_segment_is_empty_ends_with_its_status_under_qemu_too() {
    for on in [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU] {
        let code = Code::new(&[0x66, 0xba, 0xf4, 0, 0xb0, 42, 0xee, 0xf4]).behind_nothing();
        code.run_on(on, &["--quiet"]).expect_status(42);
    }
}

/// `jmp .`: glass has something to say before the guest starts and after its end.
#[test]
fn words_of_glass_that_nobody_reads_change_nothing() {
    let kernel = Code::new(&[0xeb, 0xfe]).kernel();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    common::require_kvm();
    let status = common::glass()
        .args(["run", "--timeout", "100ms", "--kernel"])
        .arg(kernel.path())
        .stderr(writer)
        .status()
        .expect("glass can be started");
    assert_eq!(status.code(), Some(124));
}

/// `lidt [0]` of an empty table, then `ud2`
#[test]
fn a_triple_fault_is_reported_with_registers_if_kvm_keeps_them() {
    let ran =
        Code::new(&[0x0f, 0x01, 0x1d, 0, 0, 0, 0, 0x0f, 0x0b]).run(&["--quiet"]).expect_status(1);
    let said = ran.stderr.to_lowercase();
    let parts = match has_svm() {
        true => ["triple fault", "kvm on amd's processors then resets", "its place are lost"],
        false => ["triple fault", "100007", "cr0"],
    };
    for part in parts {
        assert!(said.contains(part), "no '{part}' in:\n{}", ran.stderr);
    }
    assert!(!said.contains("fff0"), "a place where it never was: {}", ran.stderr);
}

/// Whether KVM here stands on AMD's virtualisation.
fn has_svm() -> bool {
    let report = common::run_without_kvm(&["doctor", "--json"]).stdout;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    report["backend"]["kind"] == "svm"
}

/// Where registers are lost, memory has what happened last: here the kernel itself is broken, at what it
/// does for a program that prints.
fn a_triple_fault_without_registers_is_reported_from_memory(on: Target) {
    // push 0; push 0; lidt [stack]; ud2: no interrupt table any more, then an exception
    const END: [u8; 10] = [0x6a, 0, 0x6a, 0, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b];
    let kernel = file(&changed_at(&on, "console_operation", &END));
    let path = kernel.path().to_str().expect("a plain name");
    let ran = on.run(&["words", "--quiet", "--kernel", path]).expect_status(1);
    let said = &ran.stderr;
    if said.contains("rip ") {
        assert!(said.contains("triple fault") && said.contains("console_operation"), "{said}");
        return;
    }
    assert!(said.contains("triple fault"), "{said}");
    assert!(said.contains("\n  ran   words, or the kernel in its address space\n"), "{said}");
    let events: Vec<_> = said.lines().skip_while(|line| *line != "  last events").skip(1).collect();
    assert_eq!(events.len(), 5, "{said}");
    assert!(events[4].contains("words") && events[4].contains("via root map"), "{said}");
}

/// A kernel that meets an exception of its own panics: here it is broken at what it does for a program that
/// prints. No task can bring that about.
fn a_kernel_panic_is_reported(on: Target) {
    // ud2
    let kernel = file(&changed_at(&on, "console_operation", &[0x0f, 0x0b]));
    let path = kernel.path().to_str().expect("a plain name");
    let ran = on.run(&["words", "--quiet", "--kernel", path]).expect_status(127);
    assert!(ran.stdout.contains("kernel: "), "{}", ran.stdout);
    let said = &ran.stderr;
    assert!(said.contains("the kernel has panicked"), "{said}");
    let message = said_by_kernel(&ran);
    assert!(message.starts_with("trap 6 (error 0x0, "), "{message}");
    assert!(ran.stdout.contains(&format!("kernel: {message}\n")), "{}", ran.stdout);
    let [innermost, callers @ ..] = &backtrace(said)[..] else { panic!("{said}") };
    assert!(innermost.contains("console_operation+0x0 (guest-kernel/core/src/objects/"), "{said}");
    let mut callers = callers.iter();
    for (function, place) in [
        ("send_to_slot+", " (guest-kernel/core/src/"),
        ("general_system_call+", " (guest-kernel/core/src/entry/system_call.rs:"),
        ("entry::handle_system_call+", " (guest-kernel/core/src/entry/system_call.rs:"),
        ("kernel`system_call_", "+"),
    ] {
        let is_it = |line: &&str| line.contains(function) && line.contains(place);
        assert!(callers.any(is_it), "no {function}{place} behind the others in\n{said}");
    }
    assert_eq!(callers.next(), None, "{said}");
    assert!(said.contains("\n  ran   words, or the kernel in its address space\n"), "{said}");
    let events: Vec<_> = said.lines().skip_while(|line| *line != "  last events").skip(1).collect();
    assert_eq!(events.len(), 32, "{said}");
    assert!(events[31].contains("words") && events[31].contains("via root map"), "{said}");
}

/// A kernel that gives up by itself, here since nobody says where the machine's memory is: the report begins with the
/// panic handler.
fn a_kernel_that_gives_up_at_boot_is_reported(on: Target) {
    // xor ebx, ebx
    let kernel = file(&changed_at(&on, "pvh_start", &[0x31, 0xdb]));
    let path = kernel.path().to_str().expect("a plain name");
    let ran = on.run(&["words", "--quiet", "--kernel", path]).expect_status(127);
    let message = said_by_kernel(&ran);
    let expected = "no PVH start info at 0x0 (guest-kernel/src/boot.rs:";
    assert!(message.starts_with(expected), "{message}");
    let functions = ["rust_begin_unwind+", "core::panicking::panic_fmt+", "kernel`kernel_main+"];
    let places = backtrace(&ran.stderr);
    assert!(places.len() >= functions.len(), "{places:?}");
    for (place, function) in places.iter().zip(functions) {
        assert!(place.contains(function), "no {function} in {place}");
    }
    let line = message.rsplit_once(' ').expect("a place").1;
    assert!(places[2].ends_with(line), "{} {line}", places[2]);
}

/// The message in the report on a kernel that has panicked.
fn said_by_kernel(ran: &common::Ran) -> &str {
    let message = ran.stderr.lines().find_map(|line| line.strip_prefix("  said  "));
    message.unwrap_or_else(|| panic!("no message in\n{}", ran.stderr))
}

/// Where it was, and who had called that.
fn backtrace(said: &str) -> Vec<&str> {
    let place = |line: &'_ str| line.starts_with("  at    ") || line.starts_with("  from  ");
    said.lines().filter(|line| place(line)).collect()
}

/// A kernel whose function calls itself without end: below its stack there is nothing that it could overwrite.
fn a_kernel_whose_stack_is_full_is_reported(on: Target) {
    // call .
    let kernel = file(&changed_at(&on, "console_operation", &[0xe8, 0xfb, 0xff, 0xff, 0xff]));
    let path = kernel.path().to_str().expect("a plain name");
    let ran = on.run(&["words", "--quiet", "--kernel", path]).expect_status(127);
    let message = said_by_kernel(&ran);
    let parts = message.starts_with("double fault at 0x");
    assert!(parts && message.contains(": the kernel's stack is full"), "{message}");
    let [innermost, caller, ..] = &backtrace(&ran.stderr)[..] else { panic!("{}", ran.stderr) };
    assert!(innermost.contains("console_operation+0x0 "), "{innermost}");
    assert!(caller.contains("console_operation+0x5 "), "{caller}");
    assert!(ran.stderr.contains("\n  ran   words, or the kernel"), "{}", ran.stderr);
}

on_every_target! {
    a_triple_fault_without_registers_is_reported_from_memory,
    a_kernel_panic_is_reported,
    a_kernel_that_gives_up_at_boot_is_reported,
    a_kernel_whose_stack_is_full_is_reported,
}

/// The kernel with other code at the beginning of a function.
fn changed_at(target: &Target, function: &str, code: &[u8]) -> Vec<u8> {
    let mut image = std::fs::read(target.image("kernel")).expect("the kernel");
    let elf = object::File::parse(&image[..]).expect("an ELF file");
    let is_it =
        |symbol: &object::Symbol<'_, '_>| symbol.name().is_ok_and(|name| name.contains(function));
    let symbol = elf.symbols().find(is_it).expect("the function has a symbol");
    let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
    let section = section.expect("it is in a section");
    let (start, _) = section.file_range().expect("with contents");
    let at = (start + symbol.address() - section.address()) as usize;
    image[at..at + code.len()].copy_from_slice(code);
    image
}

const KVM_FOR_A_SECOND: [&str; 6] = ["run", "words", "--engine", "kvm", "--timeout", "1s"];

/// `cli; hlt`: nothing can ever wake it.
#[test]
fn a_halted_machine_meets_its_deadline() {
    let began = Instant::now();
    let kernel = Code::new(&[0xfa, 0xf4]).kernel();
    let path = kernel.path().to_str().expect("a plain name");
    let ran = common::run_without_kvm(&[&KVM_FOR_A_SECOND[..], &["--kernel", path]].concat());
    assert_eq!(ran.status, Some(124), "{ran:?}");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

/// `jmp $`
#[test]
fn an_endless_loop_meets_its_deadline() {
    let kernel = Code::new(&[0xeb, 0xfe]).kernel();
    let path = kernel.path().to_str().expect("a plain name");
    let ran = common::run_without_kvm(&[&KVM_FOR_A_SECOND[..], &["--kernel", path]].concat());
    assert_eq!(ran.status, Some(124), "{ran:?}");
    assert!(ran.stderr.contains("--timeout"), "{}", ran.stderr);
}

/// Writes to ports and memory where nothing is, then ends.
#[test]
fn accesses_to_nothing_do_no_harm() {
    let code = [
        0x66, 0xba, 0x34, 0x12, // mov dx, 0x1234
        0xee, 0xec, 0xef, 0xed, // out dx, al; in al, dx; out dx, eax; in eax, dx
        0xa1, 0, 0, 0, 0xd0, // mov eax, [0xd0000000]
        0xa3, 0, 0, 0, 0xd0, // mov [0xd0000000], eax
        0x66, 0xba, 0xf4, 0, 0xb0, 7, 0xee, 0xf4, // end with 7
    ];
    Code::new(&code).run(&["--quiet"]).expect_status(7);
}

/// A kernel that never ends, but says when it runs: it writes "x" to the serial port.
const SAYS_X: [u8; 12] = [0x66, 0xba, 0xf8, 3, 0xb0, b'x', 0xee, 0xb0, b'\n', 0xee, 0xeb, 0xfe];

/// `nohup` has SIGHUP ignored: its run goes on until its time is up.
#[test]
fn a_signal_that_is_ignored_ends_nothing() {
    common::require_kvm();
    let kernel = Code::new(&SAYS_X).kernel();
    let mut child = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_glass"))
        .args(["run", "words", "--engine", "kvm", "--quiet", "--timeout", "3s", "--kernel"])
        .arg(kernel.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("nohup can be started");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    let kill = Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
    assert!(kill.expect("kill can be started").success());
    assert_eq!(child.wait().expect("glass ends").code(), Some(124));
}

/// The processor is stopped by a signal, which whoever starts a run may have blocked.
#[test]
fn a_run_whose_signals_were_blocked_stops_its_guest() {
    common::require_kvm();
    let kernel = Code::new(&[0xeb, 0xfe]).kernel();
    let output = Command::new("env")
        .args(["--block-signal=RTMIN", env!("CARGO_BIN_EXE_glass")])
        .args(["run", "words", "--engine", "kvm", "--timeout", "1s", "--kernel"])
        .arg(kernel.path())
        .output()
        .expect("env can be started");
    let ran = finish(output).expect_status(124);
    assert!(ran.stderr.contains("it was at 0x100000"), "{}", ran.stderr);
}

fn signalled(signal: &str) -> common::Ran {
    let kernel = Code::new(&SAYS_X).kernel();
    let path = kernel.path().to_str().expect("a plain name");
    let mut child = Target::AMD64_ON_KVM.start(&["words", "--kernel", path]);
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "x\n");
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(kill.expect("kill can be started").success());
    finish(child.wait_with_output().expect("glass ends"))
}

#[test]
fn interrupt_and_termination_end_cleanly() {
    assert_eq!(signalled("-INT").status, Some(130));
    assert_eq!(signalled("-TERM").status, Some(143));
}

/// A pager that nobody asks for anything: the kernel idles, whatever it has done before.
#[test]
fn a_guest_that_waits_meets_its_deadline() {
    common::require_kvm();
    let pager = Target::AMD64_ON_KVM.image("lazy-squares").display().to_string();
    let arguments = ["run", "--engine", "kvm", "--timeout", "2s", "--module", &pager];
    let ran = common::run_without_kvm(&arguments);
    assert_eq!(ran.status, Some(124), "{ran:?}");
    assert!(ran.stderr.contains("--timeout"), "{}", ran.stderr);
}

#[test]
fn many_machines_can_run_at_once() {
    let children: Vec<_> = (0..4)
        .map(|number| {
            Target::AMD64_ON_KVM.start(&[
                "--quiet",
                "--module",
                &Target::AMD64_ON_KVM.assist(&format!("exit {number}")),
            ])
        })
        .collect();
    for (number, child) in (0..).zip(children) {
        let ran = finish(child.wait_with_output().expect("glass ends"));
        assert_eq!(ran.status, Some(number), "{ran:?}");
    }
}

#[test]
fn the_terminal_is_left_as_it_was() {
    common::require_kvm();
    // `script` gives the command a terminal of its own; stty prints that terminal's settings.
    let glass = env!("CARGO_BIN_EXE_glass");
    let line = format!("stty -g; {glass} run words --quiet --timeout 60s; stty -g");
    let log = NamedTempFile::new().expect("a temporary file");
    let status = Command::new("script")
        .args(["-qec", &line])
        .arg(log.path())
        .stdout(File::create("/dev/null").expect("/dev/null"))
        .status()
        .expect("script can be started");
    assert_eq!(status.code(), Some(0), "{:?}", status.signal());
    let mut text = String::new();
    File::open(log.path()).expect("the log").read_to_string(&mut text).expect("text");
    // Numbers in hexadecimal with colons between them.
    let is_setting = |letter: char| letter == ':' || letter.is_ascii_hexdigit();
    let settings: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.len() > 40 && line.chars().all(is_setting))
        .collect();
    assert_eq!(settings.len(), 2, "{text}");
    assert_eq!(settings[0], settings[1]);
}

/// Processes of this user whose parent or command line has to do with process `glass`.
fn children_of(glass: u32) -> Vec<String> {
    let output =
        Command::new("ps").args(["-o", "pid=,comm=", "--ppid", &glass.to_string()]).output();
    let text = String::from_utf8_lossy(&output.expect("ps can be started").stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn is_alive(process: &str) -> bool {
    // A zombie has no memory any more, and /proc/PID/cmdline is empty.
    std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// However glass ends, QEMU ends with it.
#[test]
fn qemu_never_outlives_glass() {
    let code = [0x66, 0xba, 0xf8, 3, 0xb0, b'x', 0xee, 0xb0, b'\n', 0xee, 0xeb, 0xfe];
    let kernel = Code::new(&code).kernel();
    let path = kernel.path().to_str().expect("a plain name");
    for (signal, status) in [("-KILL", None), ("-TERM", Some(143)), ("-INT", Some(130))] {
        let mut child = Target::AMD64_ON_QEMU.start(&["words", "--kernel", path]);
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        assert_eq!(line, "x\n");
        let children = children_of(child.id());
        let qemu = children.iter().find(|child| child.contains("qemu"));
        let qemu = qemu.unwrap_or_else(|| panic!("no QEMU among {children:?}"));
        let process = qemu.split_whitespace().next().expect("a number").to_owned();
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("kill can be started").success());
        assert_eq!(child.wait().expect("glass ends").code(), status, "{signal}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_alive(&process) {
            assert!(Instant::now() < deadline, "QEMU is still there after {signal}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_deadline_ends_qemu_too() {
    let kernel = Code::new(&[0xeb, 0xfe]).kernel();
    let path = kernel.path().to_str().expect("a plain name");
    let options = ["run", "words", "--engine", "qemu", "--kernel", path, "--timeout", "1s"];
    let ran = common::run_without_kvm(&options);
    assert_eq!(ran.status, Some(124), "{ran:?}");
}
