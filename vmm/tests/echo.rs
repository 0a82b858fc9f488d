//! What comes in by standard input reaches the program that reads the serial line, from pipes and terminals.

mod common;

use common::{Target, glass, on_every_target, require_kvm};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, tcgetattr},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{PipeWriter, Read, Write, pipe},
    os::unix::ffi::OsStrExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes here, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn echo(on: Target) -> Command {
    require_kvm();
    let mut command = glass();
    command.args(["run", "echo", "--quiet", "--timeout", "600s"]).args(on.options());
    command
}

/// What comes back of what `write` writes, and the status.
fn echoed(on: Target, write: impl FnOnce(PipeWriter) + Send + 'static) -> (Vec<u8>, Option<i32>) {
    let (reader, writer) = pipe().expect("a pipe");
    let mut command = echo(on);
    let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("glass can be started");
    // The command holds an end of the pipe.
    drop(command);
    let writing = thread::spawn(move || write(writer));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("all is written");
    // But for the reason why it runs where it does.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().all(|line| line.starts_with("glass: this runs ")), "{said}");
    (output.stdout, output.status.code())
}

/// Bytes of all kinds, in no order: those that mean something on the line are among them.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn what_comes_in_comes_back_whatever_it_is(on: Target) {
    let all = bytes(70_000);
    let written = all.clone();
    let (back, status) = echoed(on, move |mut pipe| pipe.write_all(&written).expect("a reader"));
    assert_eq!((back.len(), status), (all.len(), Some(0)));
    assert!(back == all, "something else comes back");
}

fn an_input_that_has_ended_ends_the_run(on: Target) {
    assert_eq!(echoed(on, drop), (Vec::new(), Some(0)));
}

fn two_who_write_slowly_are_both_heard(on: Target) {
    const ROUNDS: usize = 12;
    let (back, status) = echoed(on, |pipe| {
        let other = pipe.try_clone().expect("another end");
        let write = |mut pipe: PipeWriter, name: char, pause| {
            for round in 0..ROUNDS {
                pipe.write_all(format!("{name}{round};").as_bytes()).expect("a reader");
                thread::sleep(Duration::from_millis(pause));
            }
        };
        let second = thread::spawn(move || write(other, 'b', 31));
        write(pipe, 'a', 23);
        second.join().expect("all is written");
    });
    assert_eq!(status, Some(0));
    let text = String::from_utf8(back).expect("text");
    for name in ['a', 'b'] {
        let own: Vec<_> =
            text.split_terminator(';').filter(|word| word.starts_with(name)).collect();
        let expected: Vec<_> = (0..ROUNDS).map(|round| format!("{name}{round}")).collect();
        assert_eq!(own, expected, "{text}");
    }
    assert_eq!(text.split_terminator(';').count(), 2 * ROUNDS);
}

fn the_trace_says_who_was_told_and_the_tables_are_sound(on: Target) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let mut command = glass();
    command.args(["run", "echo", "--json", "--check=64", "--timeout", "600s"]).args(on.options());
    let mut child = command
        .stdin(reader)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("glass can be started");
    drop(command);
    let mut output = child.stdout.take().expect("it was asked for");
    let mut back = [0];
    // More and more slowly, until the program must have begun to wait for the next one.
    for (byte, pause) in b"abcdef".iter().zip((0..).step_by(100)) {
        thread::sleep(Duration::from_millis(pause));
        writer.write_all(&[*byte]).expect("a reader");
        output.read_exact(&mut back).expect("it comes back");
        assert_eq!(back[0], *byte);
    }
    drop(writer);
    let ran = common::finish(child.wait_with_output().expect("it ends")).expect_status(0);
    let trace: String =
        ran.trace().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n");
    let told = trace.lines().filter(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["k"] == "interrupt" && event["task"] == "echo" && event["number"] == 4
    });
    assert!(told.count() >= 1, "{}", ran.stderr);
    assert!(ran.checks() > 0, "{}", ran.stderr);
}

on_every_target!(
    what_comes_in_comes_back_whatever_it_is,
    an_input_that_has_ended_ends_the_run,
    two_who_write_slowly_are_both_heard,
    the_trace_says_who_was_told_and_the_tables_are_sound,
);

const ENGINES: [Target; 2] = [Target::AMD64_ON_KVM, Target::AMD64_ON_QEMU];

/// Input that never ends keeps no run from its end.
#[test]
fn a_run_that_nobody_looks_at_ends_whatever_still_comes_in() {
    for on in ENGINES {
        let (reader, mut writer) = pipe().expect("a pipe");
        let mut command = echo(on);
        let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("glass can be started");
        drop(command);
        let writing = thread::spawn(move || while writer.write_all(b"y\n").is_ok() {});
        let mut first = [0; 2];
        let mut output = child.stdout.take().expect("it was asked for");
        output.read_exact(&mut first).expect("it comes back");
        drop(output);
        assert_eq!((first, status(&mut child)), (*b"y\n", Some(141)));
        writing.join().expect("nobody reads it any more");
    }
}

/// A guest that reads no line leaves standard input to others.
#[test]
fn what_no_program_reads_is_still_there() {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(b"for others").expect("room");
    drop(writer);
    for on in ENGINES {
        let mut command = glass();
        command.args(["run", "words", "--quiet"]).args(on.options());
        let stdin = reader.try_clone().expect("the same");
        let output = command.stdin(stdin).output().expect("glass can be started");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert_eq!(text, "for others");
}

/// A run on a terminal of its own, which is its controlling one.
struct Session {
    control: File,
    /// Keeps the terminal there when the run has ended.
    terminal: File,
    before: Termios,
    child: Child,
    told: mpsc::Receiver<u8>,
}

/// A test that fails leaves no run behind.
impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    /// Runs a command of a shell's, in which `$0` is `glass`.
    fn new(on: Target, script: &str) -> Self {
        require_kvm();
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&control).and_then(|()| unlockpt(&control)).expect("a terminal of our own");
        let name = ptsname(&control, Vec::new()).expect("it has a name");
        let path = OsStr::from_bytes(name.as_bytes());
        let open = || {
            let mut options = File::options();
            without_control(&mut options);
            options.open(path).expect("it can be opened")
        };
        let terminal = open();
        let before = tcgetattr(&terminal).expect("its settings");
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script, env!("CARGO_BIN_EXE_glass")]);
        command.args(on.options());
        command.stdin(open()).stdout(open()).stderr(open());
        let child = command.spawn().expect("setsid can be started");
        let control = File::from(control);
        let mut reading = control.try_clone().expect("the same");
        let (sender, told) = mpsc::channel();
        thread::spawn(move || {
            let mut byte = [0];
            while matches!(reading.read(&mut byte), Ok(1)) && sender.send(byte[0]).is_ok() {}
        });
        Self { control, terminal, before, child, told }
    }

    /// One that has set its terminal up.
    fn echo(on: Target) -> Self {
        Self::set_up(on, r#"exec "$0" run echo --quiet --timeout 600s "$@""#)
    }

    /// The same of a command of a shell's.
    fn set_up(on: Target, script: &str) -> Self {
        let session = Self::new(on, script);
        let deadline = Instant::now() + PATIENCE;
        while session.settings().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO) {
            assert!(Instant::now() < deadline, "it never takes its terminal");
            thread::sleep(Duration::from_millis(20));
        }
        session
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.terminal).expect("its settings")
    }

    fn is_as_before(&self) -> bool {
        // They have no comparison of their own.
        format!("{:?}", self.settings()) == format!("{:?}", self.before)
    }

    fn type_in(&mut self, keys: &[u8]) {
        self.control.write_all(keys).expect("somebody reads");
    }

    #[track_caller]
    fn expect(&self, text: &str) {
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).ends_with(text) {
            let byte = self.told.recv_timeout(PATIENCE);
            told.push(byte.unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&told))));
        }
        assert_eq!(String::from_utf8_lossy(&told), text);
    }

    /// The status, once the terminal is as it was.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        let status = status(&mut self.child);
        assert!(self.is_as_before(), "{:?}\n{:?}", self.before, self.settings());
        status
    }
}

/// Opens without making it the controlling terminal of this test.
fn without_control(options: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.read(true).write(true).custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32);
}

#[track_caller]
fn status(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child that runs");
    panic!("it does not end");
}

#[test]
fn what_is_typed_comes_at_once_and_control_d_ends_it() {
    for on in ENGINES {
        let mut session = Session::echo(on);
        session.type_in(b"a");
        // Once, and before the line ends: neither echo nor lines are the terminal's.
        session.expect("a");
        session.type_in(b"b\x16\x04");
        // The console shows it.
        session.expect("b\\u0004");
        session.type_in(b"\x04");
        assert_eq!(session.end(), Some(0));
    }
}

#[test]
fn control_c_and_signals_end_it_and_the_terminal_is_as_it_was() {
    for on in ENGINES {
        let mut session = Session::echo(on);
        session.type_in(b"a");
        session.expect("a");
        session.type_in(b"\x03");
        assert_eq!(session.end(), Some(130));
        for (signal, expected) in [("-TERM", 143), ("-HUP", 129)] {
            let mut session = Session::echo(on);
            session.type_in(b"a");
            session.expect("a");
            // `setsid` has become the shell, and that `glass`.
            let glass = session.child.id().to_string();
            let sent = Command::new("kill").args([signal, &glass]).status();
            assert!(sent.expect("kill can be started").success());
            assert_eq!(session.end(), Some(expected), "{signal}");
        }
    }
}

#[test]
fn a_run_whose_time_is_up_gives_the_terminal_back() {
    let script = r#"exec "$0" run echo --quiet --timeout 2s "$@""#;
    let session = Session::new(Target::AMD64_ON_QEMU, script);
    assert_eq!(session.end(), Some(124));
}

/// Whoever has the terminal when the run ends has set it as it is, and keeps it.
#[test]
fn a_run_that_was_put_into_the_background_leaves_the_terminal_as_it_is() {
    let script = r#"set -m; "$0" run echo --quiet --timeout 600s "$@"
        stty sane -echo; bg %1; kill -TERM %1; wait %1; exit $?"#;
    let mut session = Session::set_up(Target::AMD64_ON_QEMU, script);
    let shell = session.child.id().to_string();
    let stopped = Command::new("pkill").args(["-STOP", "-P", &shell]).status();
    assert!(stopped.expect("pkill can be started").success());
    assert_eq!(status(&mut session.child), Some(143));
    let modes = session.settings().local_modes;
    assert!(modes.contains(LocalModes::ICANON) && !modes.contains(LocalModes::ECHO), "{modes:?}");
}

/// In the background it neither stops nor touches the terminal.
#[test]
fn a_run_in_the_background_goes_on() {
    let script = r#"set -m; "$0" run echo --quiet --timeout 2s "$@" & wait $!; exit $?"#;
    let session = Session::new(Target::AMD64_ON_QEMU, script);
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        assert!(session.is_as_before(), "it has set a terminal that is not its own");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(session.end(), Some(124));
}
