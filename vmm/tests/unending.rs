//! Guests and readers that keep a run from ending: it ends nevertheless.

mod common;

use common::{Code, Target, glass, require_kvm, within};
use protocol::introspection::{HEADER_MAGIC, HEADER_VERSION, record::Kind};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
};
use std::{
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::{NamedTempFile, TempDir};

/// Far more than the two seconds that an end takes, and far less than what it took for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes `x` to the serial port for ever.
const CHATTER: [u8; 12] = [
    0x66, 0xba, 0xf8, 3, // mov dx, 0x3f8
    0xb0, b'x', 0xee, // mov al, 'x'; out dx, al
    0xb0, b'\n', 0xee, // mov al, '\n'; out dx, al
    0xeb, 0xf8, // jmp to the first out
];

/// A kernel that writes records as fast as it can.
struct Flood {
    /// So many threads fault, one after the other.
    faults: u32,
    /// What follows are unmaps for the last fault. After so many records in all the guest ends.
    records: u32,
}

impl Flood {
    const HEADER: u32 = Code::ENTRY + 0x800;
    const WRITTEN: u32 = Self::HEADER + 48;
    /// Far from all that is loaded: fresh RAM is zero.
    const RING: u32 = 0x400_0000;
    const CAPACITY: u32 = 1 << 16;

    fn kernel(&self) -> NamedTempFile {
        let mut image = self.code();
        image.resize(0x800, 0);
        image.extend(HEADER_MAGIC.to_le_bytes());
        image.extend([HEADER_VERSION, 62].iter().flat_map(|half| half.to_le_bytes()));
        let ring = [Self::RING, Self::CAPACITY].map(u64::from);
        image.extend([0, 0, ring[0], ring[1], 0].iter().flat_map(|word| word.to_le_bytes()));
        // The rest of the header is zero: there are no tables.
        image.resize(0x1000, 0);
        Code::new(&image).with_header(Self::HEADER.into()).kernel()
    }

    fn code(&self) -> Vec<u8> {
        let [mask, ring, written] = [Self::CAPACITY - 1, Self::RING, Self::WRITTEN];
        let [fault, unmap] = [Kind::Fault as u32, Kind::Unmap as u32];
        let parts: [(&[u8], u32); 9] = [
            (&[0x31, 0xc9, 0x89, 0xcf, 0x81, 0xe7], mask), // xor ecx, ecx; next: mov edi, ecx; and edi, mask
            (&[0xc1, 0xe7, 0x06, 0x81, 0xc7], ring),       // shl edi, 6; add edi, ring
            (&[0x41, 0xb8], fault),                        // inc ecx; mov eax, fault
            (&[0x89, 0xca, 0x81, 0xf9], self.faults),      // mov edx, ecx; cmp ecx, faults
            (&[0x76, 0x0a, 0xba], self.faults),            // jbe write; mov edx, faults
            (&[0xb8], unmap),                              // mov eax, unmap
            (
                // write: mov [edi+16], eax; mov [edi+22], cx; mov [edi+48], edx; mov [edi], ecx
                &[
                    0x89, 0x47, 0x10, 0x66, 0x89, 0x4f, 0x16, 0x89, 0x57, 0x30, 0x89, 0x0f, 0x89,
                    0x0d,
                ],
                written, // mov [written], ecx
            ),
            (&[0x81, 0xf9], self.records), // cmp ecx, records
            (&[0x72, 0xbb, 0xb0, 42, 0xe6, 0xf4, 0xf4], 0), // jb next; mov al, 42; out 0xf4, al; hlt
        ];
        let bytes = |(code, operand): (&[u8], u32)| [code, &operand.to_le_bytes()].concat();
        parts.into_iter().flat_map(bytes).collect()
    }
}

/// A pipe that nobody reads and that is full.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("the size of a pipe");
    writer.write_all(&vec![b'.'; size]).expect("room in a pipe");
    (reader, writer)
}

/// A terminal that nobody looks at, as one that was stopped with Ctrl-S.
fn stopped_terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    unlockpt(&ours).expect("a terminal of ours");
    let path = ptsname(&ours, Vec::new()).expect("its name");
    let theirs = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    (ours, theirs.expect("the other side of the terminal"))
}

fn command(on: Target, kernel: &Path, options: &[&str]) -> Command {
    require_kvm();
    let mut command = glass();
    command.args(["run", "words", "--kernel"]).arg(kernel).args(on.options()).args(options);
    command
}

/// The status of a run that ends.
#[track_caller]
fn status(mut child: Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child that runs");
    child.wait().expect("a child that ends");
    panic!("it does not end");
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill can be started").success());
}

#[test]
fn a_console_that_nobody_reads_does_not_outlast_the_deadline() {
    let kernel = Code::new(&CHATTER).kernel();
    for on in [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU] {
        let (_reader, writer) = full_pipe();
        let mut command = command(on, kernel.path(), &["--timeout", "1s"]);
        let mut child =
            command.stdout(writer).stderr(Stdio::piped()).spawn().expect("glass can be started");
        let mut stderr = child.stderr.take().expect("a pipe");
        assert_eq!(status(child), Some(124));
        let mut said = String::new();
        stderr.read_to_string(&mut said).expect("text");
        assert!(said.contains("(--timeout); the end took too long"), "{said}");
    }
}

#[test]
fn a_stopped_terminal_does_not_outlast_the_deadline() {
    let kernel = Flood { faults: u32::MAX, records: u32::MAX }.kernel();
    let (_ours, theirs) = stopped_terminal();
    let mut command = command(Target::AMD64_ON_KVM, kernel.path(), &["--timeout", "2s"]);
    let child = command.stderr(theirs).spawn().expect("glass can be started");
    assert_eq!(status(child), Some(124));
}

#[test]
fn a_trace_that_nobody_reads_does_not_outlast_the_deadline() {
    let kernel = Flood { faults: u32::MAX, records: u32::MAX }.kernel();
    for on in [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU] {
        let (_reader, writer) = full_pipe();
        let mut command = command(on, kernel.path(), &["--timeout", "1s"]);
        let child = command.stderr(writer).spawn().expect("glass can be started");
        assert_eq!(status(child), Some(124));
    }
}

/// Words of glass that come before there is a guest, that nobody can view it, say. Set-up has at least twenty seconds.
#[test]
fn a_set_up_that_nobody_listens_to_does_not_outlast_the_deadline() {
    let kernel = Code::new(&CHATTER).kernel();
    let (_reader, writer) = full_pipe();
    let mut command = command(Target::AMD64_ON_KVM, kernel.path(), &["--timeout", "1s"]);
    // It says that nobody can view this run.
    command.env("XDG_RUNTIME_DIR", "/no/such/folder");
    let child = command.stdout(Stdio::null()).stderr(writer).spawn().expect("glass can be started");
    assert_eq!(status(child), Some(124));
}

/// A program that answers as QEMU does, and then never runs a guest. Nothing of the run remains.
#[test]
fn a_qemu_that_runs_nothing_does_not_outlast_the_deadline() {
    let script = common::file(
        b"#!/bin/sh\ncase \"$*\" in --version) echo 'QEMU emulator version 7.2.0';; \
          *help) echo 'microvm of a kind';; *) exec sleep 1000;; esac\n",
    );
    let script = script.into_temp_path();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("ours");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = within(&folder);
    command.args(["run", "words", "--quiet", "--timeout", "1s", "--qemu"]).arg(&script);
    let child = command.spawn().expect("glass can be started");
    assert_eq!(status(child), Some(124));
    let sockets = std::fs::read_dir(folder.path().join("glass")).expect("the runs' folder");
    assert_eq!(sockets.count(), 0);
}

/// A run with this kernel, the first line of whose trace was read, and no more.
fn started(kernel: &Path, folder: &TempDir) -> (Child, BufReader<ChildStderr>) {
    require_kvm();
    let mut command = within(folder);
    command.args(["run", "words", "--engine", "kvm", "--flat", "--kernel"]).arg(kernel);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("glass can be started");
    let mut trace = BufReader::new(child.stderr.take().expect("a pipe"));
    trace.read_line(&mut String::new()).expect("a line");
    (child, trace)
}

/// Waits until no viewer can attach any more: the guest has ended.
fn wait_for_the_guest(child: &Child, folder: &TempDir) {
    let socket = folder.path().join(format!("glass/{}.socket", child.id()));
    let deadline = Instant::now() + PATIENCE;
    while socket.exists() {
        assert!(Instant::now() < deadline, "the guest does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_ends_a_run_whose_trace_nobody_reads() {
    let kernel = Flood { faults: u32::MAX, records: u32::MAX }.kernel();
    for (signal, expected) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (child, _trace) = started(kernel.path(), &folder);
        send(signal, &child);
        assert_eq!(status(child), Some(expected), "{signal}");
    }
}

/// More lines than a pipe has room for, and less than are too many.
const ENDING: Flood = Flood { faults: 4000, records: 4000 };

#[test]
fn a_reader_that_is_slow_gets_the_whole_trace() {
    let (kernel, folder) = (ENDING.kernel(), tempfile::tempdir().expect("a folder"));
    let (child, trace) = started(kernel.path(), &folder);
    wait_for_the_guest(&child, &folder);
    let lines: Vec<_> = trace.lines().map(|line| line.expect("text")).collect();
    let faults = lines.iter().filter(|line| line.contains("fault")).count();
    assert_eq!((1 + lines.len(), status(child)), (4000, Some(42)), "{faults} {:?}", lines.last());
}

#[test]
fn a_signal_ends_a_run_that_waits_for_its_reader_only() {
    let (kernel, folder) = (ENDING.kernel(), tempfile::tempdir().expect("a folder"));
    let (child, _trace) = started(kernel.path(), &folder);
    wait_for_the_guest(&child, &folder);
    send("-TERM", &child);
    assert_eq!(status(child), Some(143));
}

/// Every thread that there can be faults, and nobody lets them go on; then come unmaps without end.
#[test]
fn a_kernel_with_open_faults_without_number_meets_its_deadline() {
    let kernel = Flood { faults: 65_000, records: u32::MAX }.kernel();
    let mut command = command(Target::AMD64_ON_KVM, kernel.path(), &["--timeout", "4s", "-c"]);
    let child = command.stderr(Stdio::null()).spawn().expect("glass can be started");
    assert_eq!(status(child), Some(124));
}

#[test]
fn faults_that_were_given_up_are_counted() {
    let kernel = Flood { faults: 5000, records: 5000 }.kernel();
    let mut command = command(Target::AMD64_ON_KVM, kernel.path(), &["-c"]);
    let ran = common::finish(command.output().expect("glass can be started")).expect_status(42);
    let sentence = "glass: 904 faults have no ends: more than 4096 were open at once\n";
    assert!(ran.stderr.contains(sentence), "{}", ran.stderr);
    assert!(ran.stderr.contains("lost 0\n"), "{}", ran.stderr);
}
