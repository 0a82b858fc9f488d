//! QEMU: the guest's processor is emulated in software, so that any host runs any architecture.
//!
//! | module | what |
//! |---|---|
//! | this one | whether the QEMU that is installed will do |
//! | [`command`] | what it is told |
//! | [`process`] | its life: it never outlives us, and leaves no file behind |
//! | [`question`] | what it says of itself, if it does |
//! | [`clock`] | the rate of the guest's time stamps |

mod clock;
mod command;
mod process;
mod question;

use command::SANDBOX;
pub use process::{Machine, Running};
use question::ask;

use crate::memory::human;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

/// The Debian package that has the program.
const PACKAGE: &str = "qemu-system-x86";

/// The first version whose machines take their RAM from an object that is a file.
const OLDEST: Version = Version { major: 5, minor: 0 };

/// All RAM lies in one piece at the same offsets as in its file, if there is less than this:
/// microvm puts a part of larger RAM above 4 GiB.
const RAM_END: u64 = 0xB000_0000;

/// The most RAM that people can ask for: RAM in one piece, in whole MiB.
pub(crate) const RAM_MAX: u64 = RAM_END - (1 << 20);

/// Why there is no machine of QEMU's.
#[derive(Debug, Error)]
pub enum QemuError {
    /// No such program.
    #[error(
        "{} is not installed: run `sudo apt-get install {PACKAGE}` (Debian, Ubuntu), \
         or say where it is with --qemu PATH", .0.display()
    )]
    Missing(PathBuf),
    /// The program does not start.
    #[error("cannot start {}: {error}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// It neither says what it is asked nor ends.
    #[error("{} does not answer: asked {question}, it has not ended within {within:?}", .program.display())]
    Silent {
        /// The program.
        program: PathBuf,
        /// What it was asked.
        question: String,
        /// How long it had.
        within: Duration,
    },
    /// Some other program.
    #[error("{} is no QEMU: it does not answer --version with one", .0.display())]
    NotQemu(PathBuf),
    /// A QEMU of another age.
    #[error(
        "{} is QEMU {version}, at least {OLDEST} is needed: update the package {PACKAGE}",
        .program.display()
    )]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
    },
    /// A QEMU without PCs.
    #[error(
        "{} has neither the machine microvm nor pc: install the package {PACKAGE}, \
         or name another one with --qemu PATH", .0.display()
    )]
    NoMachine(PathBuf),
    /// RAM that would be in two pieces.
    #[error(
        "{} of memory is too much for QEMU's machines: the most is {} MiB; \
         give less with --memory, or use --engine kvm", human(*.0), RAM_MAX >> 20
    )]
    TooMuchRam(u64),
    /// No memfd for the kernel or the bundle.
    #[error("cannot hand the guest to QEMU (memfd): {0}")]
    Files(io::Error),
}

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// QEMU's machines that will do, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Board {
    /// Made for kernels like ours, with few devices.
    Microvm,
    /// A PC of 1996.
    Pc,
}

impl Board {
    const ALL: [Self; 2] = [Self::Microvm, Self::Pc];

    fn name(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Pc => "pc",
        }
    }
}

/// A QEMU that will do.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    version: Version,
    board: Board,
    /// Whether it was built with its sandbox, and the host's kernel has what that needs.
    has_sandbox: bool,
}

impl Qemu {
    /// Asks a program what it is. Without a `/` in its name it is looked for in `PATH`.
    pub fn find(program: &Path) -> Result<Self, QemuError> {
        let version = read_version(&ask(program, &["--version"])?)
            .ok_or_else(|| QemuError::NotQemu(program.to_owned()))?;
        if version < OLDEST {
            return Err(QemuError::TooOld { program: program.to_owned(), version });
        }
        let in_sandbox = read_board(&ask(program, &["-sandbox", SANDBOX, "-machine", "help"])?);
        let board = match in_sandbox {
            Some(board) => board,
            None => read_board(&ask(program, &["-machine", "help"])?)
                .ok_or_else(|| QemuError::NoMachine(program.to_owned()))?,
        };
        let has_sandbox = in_sandbox.is_some();
        Ok(Self { program: program.to_owned(), version, board, has_sandbox })
    }

    /// Whether a machine can have so many bytes of RAM.
    pub fn can_have(&self, ram: u64) -> Result<(), QemuError> {
        if ram > RAM_MAX { Err(QemuError::TooMuchRam(ram)) } else { Ok(()) }
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The machine that guests get.
    pub fn machine(&self) -> &'static str {
        self.board.name()
    }

    /// Whether it filters its own system calls.
    pub fn has_sandbox(&self) -> bool {
        self.has_sandbox
    }
}

fn start_error(program: &Path, error: io::Error) -> QemuError {
    let program = program.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => QemuError::Missing(program),
        _ => QemuError::Start { program, error },
    }
}

/// `QEMU emulator version 7.2.22 (Debian ...)`
fn read_version(text: &str) -> Option<Version> {
    let (_, rest) = text.lines().next()?.split_once("QEMU emulator version ")?;
    let mut numbers = rest.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some(Version { major: number()?, minor: number()? })
}

/// Lines of a machine's name and description.
fn read_board(text: &str) -> Option<Board> {
    let has = |name: &str| text.lines().any(|line| line.split_whitespace().next() == Some(name));
    Board::ALL.into_iter().find(|board| has(board.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, os::unix::fs::PermissionsExt, process};

    /// A program that prints one thing, whatever it is asked. Removed at the end.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, script: &str) -> Self {
            let path = env::temp_dir().join(format!("glass-qemu-{name}-{}", process::id()));
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn refusal(name: &str, script: &str) -> QemuError {
        let fake = Fake::new(name, script);
        Qemu::find(&fake.0).expect_err("a program that is no usable QEMU was accepted")
    }

    #[test]
    fn versions_are_read_from_what_distributions_print() {
        let version = |major, minor| Some(Version { major, minor });
        for (text, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopy", version(7, 2)),
            ("QEMU emulator version 8.1.3 (qemu-8.1.3-1.fc39)", version(8, 1)),
            ("QEMU emulator version 10.0.50 (v10.0.0-1-g1)", version(10, 0)),
            ("QEMU emulator version 9", None),
            ("bash, version 5.2", None),
            ("", None),
        ] {
            assert_eq!(read_version(text), expected, "{text}");
        }
        assert!(version(4, 2) < Some(OLDEST) && version(10, 0) > version(5, 2));
    }

    #[test]
    fn the_small_machine_is_taken_where_it_is_there() {
        let all = "Supported machines are:\nmicrovm              microvm (i386)\n\
                   pc                   Standard PC (alias of pc-i440fx-7.2)\n";
        assert_eq!(read_board(all), Some(Board::Microvm));
        assert_eq!(read_board("pc     Standard PC\nnone  empty machine"), Some(Board::Pc));
        assert_eq!(read_board("pc-i440fx-7.2  Standard PC\nq35  microvm"), None);
    }

    #[test]
    fn each_way_to_have_no_qemu_says_what_to_do() {
        let missing = Qemu::find(Path::new("no-such-qemu")).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no-such-qemu is not installed: run `sudo apt-get install qemu-system-x86` \
             (Debian, Ubuntu), or say where it is with --qemu PATH"
        );
        let folder = Qemu::find(Path::new("/")).unwrap_err().to_string();
        assert!(folder.starts_with("cannot start /: "), "{folder}");
        let other = refusal("other", "echo hello");
        assert!(matches!(other, QemuError::NotQemu(_)), "{other}");
        let old = refusal("old", "echo QEMU emulator version 4.2.1").to_string();
        assert!(
            old.ends_with(
                "is QEMU 4.2, at least 5.0 is needed: update the package qemu-system-x86"
            )
        );
        let bare = refusal("bare", "echo QEMU emulator version 7.2.0");
        assert!(matches!(bare, QemuError::NoMachine(_)), "{bare}");
    }

    #[test]
    fn a_program_that_was_built_without_its_sandbox_runs_without() {
        let script = |on_sandbox| {
            format!(
                "case $1 in --version) echo QEMU emulator version 7.2.0;; -sandbox) {on_sandbox};; \
                 *) echo pc x;; esac"
            )
        };
        for (name, on_sandbox, has_sandbox) in
            [("without", "echo not enabled >&2; exit 1", false), ("with", "echo pc x", true)]
        {
            let fake = Fake::new(name, &script(on_sandbox));
            assert_eq!(Qemu::find(&fake.0).unwrap().has_sandbox(), has_sandbox);
        }
    }

    #[test]
    fn the_installed_one_is_found() {
        let qemu = Qemu::find(Path::new(crate::QEMU_PROGRAM))
            .unwrap_or_else(|error| panic!("this test needs QEMU: {error}"));
        assert!(qemu.version() >= OLDEST);
        assert!(["microvm", "pc"].contains(&qemu.machine()));
    }
}
