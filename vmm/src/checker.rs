//! `glass run --check`: looks into the machine each time that its kernel waits for that, and at the
//! end.
//!
//! With `check=N` on its command line the kernel stops after every `N`th mapping operation until the
//! host lets it go on ([`Checkpoints`]). So nothing changes while the host looks.

use crate::{follow::Ram, message::say};
use machine::Memory;
use observe::inspect::{Guest, check::Report};
use protocol::introspection::{Checkpoints, HEADER_MAGIC, HEADER_VERSION, Header};
use std::mem::offset_of;
use thiserror::Error;

/// Where [`Checkpoints::released`] lies in the header.
const RELEASED: u64 = (offset_of!(Header, checkpoints) + offset_of!(Checkpoints, released)) as u64;

/// Violations that are shown.
const MOST_SHOWN: usize = 20;

/// Why a guest can't be checked.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CheckError {
    /// An interval of the user's own.
    #[error(
        "write --check=N instead of check=N in --cmdline: without --check the kernel waits for ever"
    )]
    OwnInterval,
    /// No records, no checkpoints.
    #[error("--check needs the trace's records: leave out trace=off in --cmdline")]
    NoTrace,
    /// A kernel that cannot be looked into.
    #[error("--check needs a kernel with an introspection header, and this one has no note of it")]
    NoHeader,
}

/// The kernel's command line for a run that is checked at every `interval`th mapping operation, if
/// at all.
pub fn command_line(own: &str, interval: Option<u32>) -> Result<String, CheckError> {
    let has = |found: fn(&str) -> bool| own.split_ascii_whitespace().any(found);
    if has(|word| word.starts_with("check=")) {
        return Err(CheckError::OwnInterval);
    }
    let Some(interval) = interval else { return Ok(own.to_owned()) };
    if has(|word| word == "trace=off") {
        return Err(CheckError::NoTrace);
    }
    Ok(format!("{own} check={interval}").trim_start().to_owned())
}

/// Checks one machine. Once it is dropped, the kernel waits no more.
#[derive(Debug)]
pub struct Checker {
    memory: Memory,
    header: u64,
    checks: u64,
    found: Found,
}

/// What the checks so far have found.
#[derive(Debug, Default)]
struct Found {
    violations: u64,
    /// The first ones, in words.
    shown: Vec<String>,
    /// When there was nothing to check, and why.
    failure: Option<String>,
}

impl Checker {
    /// For the machine with this memory, whose kernel has its header there.
    pub fn new(memory: Memory, header: Option<u64>) -> Result<Self, CheckError> {
        let header = header.ok_or(CheckError::NoHeader)?;
        Ok(Self { memory, header, checks: 0, found: Found::default() })
    }

    /// Checks if the kernel waits for it. True if that has shown that something is wrong: then the
    /// kernel waits on.
    pub fn update(&mut self) -> bool {
        if !self.is_clean() {
            return false;
        }
        let header = self.memory.read_plain::<Header>(self.header).ok();
        let Some(header) = header.filter(|header| header.magic == HEADER_MAGIC) else {
            return false;
        };
        if header.version != HEADER_VERSION {
            self.check("at the start");
            return !self.is_clean();
        }
        let Header { checkpoints, .. } = header;
        if checkpoints.reached <= checkpoints.released {
            return false;
        }
        let operation = checkpoints.reached.saturating_mul(checkpoints.interval);
        self.check(&format!("after mapping operation {operation}"));
        if self.is_clean() {
            self.release(checkpoints.reached);
        }
        !self.is_clean()
    }

    /// Says what was found in all, after a last check if the guest has ended by itself. False if
    /// something is wrong.
    pub fn conclude(mut self, has_ended: bool) -> bool {
        if has_ended && self.is_clean() {
            self.check("at the end");
        }
        let Found { violations, shown, failure } = &self.found;
        for line in shown {
            say(format_args!("violation {line}"));
        }
        if let Some(failure) = failure {
            say(format_args!("cannot check {failure}"));
        }
        let count = |count: u64, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        say(format_args!("{}, {}", count(self.checks, "check"), count(*violations, "violation")));
        self.is_clean()
    }

    fn is_clean(&self) -> bool {
        self.found.violations == 0 && self.found.failure.is_none()
    }

    fn check(&mut self, when: &str) {
        let ram = Ram(self.memory.clone());
        match Guest::open(&ram, self.header) {
            Ok(guest) => {
                self.checks += 1;
                self.found.add(when, &guest.check());
            }
            Err(error) => self.found.failure = Some(format!("{when}: {error}")),
        }
    }

    /// Whether the kernel's header is of another version: where that one has its checkpoints, if it has
    /// any, is not known.
    fn is_foreign(&self) -> bool {
        self.memory
            .read_plain::<Header>(self.header)
            .is_ok_and(|header| header.magic == HEADER_MAGIC && header.version != HEADER_VERSION)
    }

    fn release(&self, reached: u64) {
        // Where a header is in memory, it was read a moment ago; where none is, nobody waits.
        if !self.is_foreign()
            && let Some(address) = self.header.checked_add(RELEASED)
        {
            let _ = self.memory.write_plain(address, &reached);
        }
    }
}

impl Found {
    fn add(&mut self, when: &str, report: &Report) {
        self.violations += report.violations.len() as u64 + report.more;
        for violation in report.violations.iter().take(MOST_SHOWN) {
            self.shown.push(format!("{when}: {}: {}", violation.path, violation.evidence));
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.release(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::RamSize;

    const HEADER: u64 = 0x1000;

    #[test]
    fn the_kernel_learns_the_interval() {
        assert_eq!(command_line("", Some(1)).as_deref(), Ok("check=1"));
        assert_eq!(command_line("trace=all", Some(7)).as_deref(), Ok("trace=all check=7"));
        assert_eq!(command_line("trace=off", None).as_deref(), Ok("trace=off"));
        assert_eq!(command_line("trace=off", Some(1)), Err(CheckError::NoTrace));
        for interval in [None, Some(1)] {
            assert_eq!(command_line("trace=all check=5", interval), Err(CheckError::OwnInterval));
        }
    }

    fn memory(checkpoints: Checkpoints, magic: u64) -> Memory {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        memory.write_plain(HEADER, &magic).unwrap();
        let version = HEADER + offset_of!(Header, version) as u64;
        memory.write_plain(version, &HEADER_VERSION).unwrap();
        let place = offset_of!(Header, checkpoints) as u64;
        memory.write_plain(HEADER + place, &checkpoints).unwrap();
        memory
    }

    fn released(memory: &Memory) -> u64 {
        memory.read_plain::<Header>(HEADER).unwrap().checkpoints.released
    }

    #[test]
    fn nothing_is_checked_before_the_kernel_waits() {
        let waiting = Checkpoints { interval: 1, reached: 3, released: 2 };
        let idle = Checkpoints { released: 3, ..waiting };
        for (checkpoints, magic) in [(waiting, 0), (idle, HEADER_MAGIC)] {
            let memory = memory(checkpoints, magic);
            let mut checker = Checker::new(memory.clone(), Some(HEADER)).unwrap();
            assert!(!checker.update());
            assert_eq!((checker.checks, released(&memory)), (0, checkpoints.released));
        }
    }

    /// The header names no architecture, so that there is nothing that could be right.
    #[test]
    fn a_kernel_that_fails_waits_until_the_checker_is_gone() {
        let waiting = Checkpoints { interval: 10, reached: 3, released: 2 };
        let memory = memory(waiting, HEADER_MAGIC);
        let mut checker = Checker::new(memory.clone(), Some(HEADER)).unwrap();
        assert!(checker.update());
        assert!(!checker.update(), "once is enough");
        assert_eq!((checker.checks, checker.found.violations, released(&memory)), (0, 0, 2));
        let failure = checker.found.failure.as_deref().unwrap();
        assert!(failure.starts_with("after mapping operation 30: the kernel's"), "{failure}");
        assert!(!checker.conclude(true));
        assert_eq!(released(&memory), u64::MAX);
    }

    /// What lies where this tool's headers have their checkpoints is something else there.
    #[test]
    fn a_header_of_another_version_is_left_alone() {
        let checkpoints = Checkpoints { interval: 10, reached: 2, released: 2 };
        let memory = memory(checkpoints, HEADER_MAGIC);
        let version = HEADER + offset_of!(Header, version) as u64;
        memory.write_plain(version, &(HEADER_VERSION + 1)).unwrap();
        let mut checker = Checker::new(memory.clone(), Some(HEADER)).unwrap();
        assert!(checker.update());
        assert!(checker.found.failure.as_deref().unwrap().contains("this tool reads version"));
        assert_eq!((checker.checks, checker.found.violations), (0, 0));
        assert!(!checker.conclude(true));
        assert_eq!(released(&memory), 2);
    }

    #[test]
    fn a_kernel_without_a_header_cannot_be_checked() {
        let memory = memory(Checkpoints { interval: 0, reached: 0, released: 0 }, 0);
        assert_eq!(Checker::new(memory, None).unwrap_err(), CheckError::NoHeader);
    }
}
