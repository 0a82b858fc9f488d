//! Runs the real `glass` on real machines.
//!
//! A test that boots one under KVM needs `/dev/kvm`: where it cannot be opened, the test fails and
//! says why.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test file uses its own part of this module"
)]

mod code;
mod debug_information;
mod machine;
mod peer;
mod program;

pub use code::Code;
pub use debug_information::DebugInformation;
pub use machine::{Machine, lines, named, tree, within};
pub use peer::{attach, introduce, listen, runtime_folder};
pub use program::{Program, Segment};

use serde_json::Value;
use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::NamedTempFile;

/// Longer than any test's guest runs, even on a busy machine whose processor is emulated.
const TIMEOUT: &str = "900s";

/// The same for what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// What a run of `glass` left behind.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The command under test.
pub fn glass() -> Command {
    Command::new(env!("CARGO_BIN_EXE_glass"))
}

/// Runs `glass` with these arguments, which boot nothing.
pub fn run_without_kvm<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    finish(glass().args(arguments).output().expect("glass can be started"))
}

/// What a guest runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub arch: &'static str,
    engine: &'static str,
}

impl Target {
    pub const AMD64_ON_KVM: Self = Self { arch: "amd64", engine: "kvm" };
    pub const AMD64_ON_QEMU: Self = Self { arch: "amd64", engine: "qemu" };
    /// On KVM where it can page ia32, else on QEMU.
    pub const IA32: Self = Self { arch: "ia32", engine: "auto" };
    pub const IA32_ON_QEMU: Self = Self { arch: "ia32", engine: "qemu" };

    /// The options that choose it.
    pub fn options(self) -> [&'static str; 4] {
        ["--arch", self.arch, "--engine", self.engine]
    }

    /// Runs `glass run` with these arguments and a time limit, if they have none.
    pub fn run<S: AsRef<OsStr>>(self, arguments: &[S]) -> Ran {
        finish(self.command(arguments).output().expect("glass can be started"))
    }

    /// As [`Target::run`]; besides, the kernel's promises are checked every now and then and at the
    /// end. Fails if one is broken.
    #[track_caller]
    pub fn checked<S: AsRef<OsStr>>(self, arguments: &[S]) -> Ran {
        let mut all = vec![OsStr::new("--check=64")];
        all.extend(arguments.iter().map(AsRef::as_ref));
        let ran = self.run(&all);
        assert!(ran.checks() > 0, "the end is checked: {}", ran.stderr);
        ran
    }

    /// Starts `glass run` and leaves it running.
    pub fn start<S: AsRef<OsStr>>(self, arguments: &[S]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("glass can be started")
    }

    fn command<S: AsRef<OsStr>>(self, arguments: &[S]) -> Command {
        if self.engine == "kvm" {
            require_kvm();
        }
        let mut command = glass();
        command.arg("run").args(self.options()).args(arguments);
        if arguments.iter().all(|argument| argument.as_ref() != "--timeout") {
            command.args(["--timeout", TIMEOUT]);
        }
        command
    }

    /// The most that `--memory` can be: ia32 maps no more, and QEMU's machines have devices above.
    pub fn most_memory(self) -> &'static str {
        match (self.arch, self.engine) {
            ("ia32", _) => "960M",
            (_, "kvm") => "3G",
            _ => "2500M",
        }
    }

    /// Whether its time stamp counter never runs backwards. Under KVM it is the host's business.
    pub fn has_steady_clock(self) -> bool {
        self.engine == "qemu"
    }

    /// An image of the guest, from where the build left it.
    pub fn image(self, name: &str) -> PathBuf {
        let folder = std::env::var_os("GLASS_GUEST_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guest"),
            PathBuf::from,
        );
        let path = folder.join(self.arch).join(name);
        let there = fs::exists(&path).unwrap_or(false);
        assert!(there, "{} is missing: cargo xtask guest", path.display());
        path
    }

    /// `--module` for test-assist, which does what its arguments say.
    pub fn assist(self, what: &str) -> String {
        format!("{},{what}", self.image("test-assist").display())
    }
}

/// Makes a test for each target out of each named function.
macro_rules! on_every_target {
    ($($name:ident),* $(,)?) => {
        on_every_target!(@ amd64_on_kvm, AMD64_ON_KVM, $($name)*);
        on_every_target!(@ amd64_on_qemu, AMD64_ON_QEMU, $($name)*);
        on_every_target!(@ ia32, IA32, $($name)*);
        on_every_target!(@ ia32_on_qemu, IA32_ON_QEMU, $($name)*);
    };
    (@ $module:ident, $target:ident, $($name:ident)*) => {
        mod $module {$(
            #[test]
            fn $name() {
                super::$name(super::common::Target::$target);
            }
        )*}
    };
}
pub(crate) use on_every_target;

pub fn finish(output: Output) -> Ran {
    Ran {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Fails the test where no machine can be booted.
pub fn require_kvm() {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        panic!("this test boots a machine and cannot open /dev/kvm: {error}; see `glass doctor`");
    }
}

impl Ran {
    /// The events of a run with `--json`; every line must be an object of version 1, except words
    /// of glass itself.
    pub fn events(&self) -> Vec<Value> {
        let events: Vec<Value> = self.trace().map(parse).collect();
        for event in &events {
            assert_eq!(event["v"], 1, "{event}");
        }
        events
    }

    /// Standard error without what glass itself says to people.
    pub fn trace(&self) -> impl Iterator<Item = &str> {
        self.stderr.lines().filter(|line| !line.starts_with("glass: "))
    }

    /// How many checks there were, all without a violation.
    #[track_caller]
    pub fn checks(&self) -> usize {
        let summary = self.stderr.lines().find_map(|line| line.strip_suffix(" 0 violations"));
        let number = summary.and_then(|line| line.split_whitespace().nth(1));
        let stderr = &self.stderr;
        let number = number.unwrap_or_else(|| panic!("no checks without violations in:\n{stderr}"));
        number.parse().unwrap_or_else(|_| panic!("no number of checks in:\n{stderr}"))
    }

    /// The events of one kind.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["k"] == kind).collect()
    }

    /// Fails unless the guest ended with `status`; shows what it printed.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        assert_eq!(self.status, Some(status), "stdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"))
}

/// A number that JSON carries as a string in hexadecimal.
#[track_caller]
pub fn hex(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("not a string: {value}"));
    let digits = text.strip_prefix("0x").unwrap_or_else(|| panic!("no 0x: {text}"));
    u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A temporary file with these contents.
pub fn file(contents: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(contents).expect("room for a temporary file");
    file
}
