//! What of confinement this host has: tried, not guessed.

use crate::{Files, calls, filter, no_new_privileges};
use landlock::LandlockStatus;
use std::{
    fs::File,
    io::{self, Read},
    thread,
};

/// What is in force of a process that has confined itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// It cannot gain privileges.
    pub no_new_privileges: bool,
    /// Its system calls are filtered.
    pub filters: bool,
    /// Its files are restricted.
    pub landlock: Landlock,
}

/// What there is of landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// This version of its interface.
    Version(i32),
    /// The kernel has it, but was started without it.
    SwitchedOff,
    /// The kernel has been built without it.
    Missing,
}

/// What the host's kernel says of a thread.
const STATUS: &str = "/proc/thread-self/status";

/// More than that.
const LONGEST: u64 = 1 << 16;

impl InForce {
    /// Confines a thread as viewers are, and asks the host's kernel what came of it.
    pub fn here() -> io::Result<Self> {
        let tried =
            thread::Builder::new().name("confined".to_owned()).spawn(Self::of_this_thread)?;
        tried.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    fn of_this_thread() -> io::Result<Self> {
        let status = File::open(STATUS)?;
        no_new_privileges().map_err(io::Error::other)?;
        let files = Files::None.enforce().map_err(io::Error::other)?;
        filter::apply(calls::of_a_viewer()).map_err(io::Error::other)?;
        let mut text = String::new();
        status.take(LONGEST).read_to_string(&mut text)?;
        Ok(Self {
            no_new_privileges: has(&text, "NoNewPrivs", "1"),
            filters: has(&text, "Seccomp", "2"),
            landlock: match files.landlock {
                LandlockStatus::Available { effective_abi, kernel_abi } => {
                    Landlock::Version(kernel_abi.unwrap_or(effective_abi as i32))
                }
                LandlockStatus::NotEnabled => Landlock::SwitchedOff,
                LandlockStatus::NotImplemented => Landlock::Missing,
            },
        })
    }
}

/// Whether the text has a line `key: value`.
fn has(status: &str, key: &str, value: &str) -> bool {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.any(|(known, found)| known == key && found.trim() == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_does_not_stay() {
        let before = InForce::here().unwrap();
        assert_eq!(InForce::here().unwrap(), before);
        assert!(before.no_new_privileges, "every Linux that glass runs on has it: {before:?}");
        File::open(STATUS).expect("the thread that asked is as free as before");
    }

    #[test]
    fn lines_are_read_by_their_whole_key() {
        let text = "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t0\nSeccomp_filters:\t2\n";
        assert!(has(text, "NoNewPrivs", "1") && !has(text, "Seccomp", "2"));
        assert!(has(text, "Seccomp_filters", "2"));
    }
}
