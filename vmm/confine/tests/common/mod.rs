//! What a process has given up it does not get back: each case runs in a process of its own.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::{
    env,
    process::{self, Command},
    thread,
};

/// Set to the test and the case that a process is there for.
const CASE: &str = "CONFINED_CASE";

/// How a case ended.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub said: String,
}

/// Runs `body` in another process: this test once more, which then gets no further than to this case.
pub fn elsewhere(case: &str, body: impl FnOnce()) -> Ended {
    let test = thread::current().name().expect("a test's thread has its name").to_owned();
    let wanted = format!("{test} {case}");
    match env::var(CASE) {
        Ok(found) if found == wanted => {
            body();
            process::exit(0);
        }
        // Another case of this test, further on.
        Ok(_) => Ended { status: None, said: String::new() },
        Err(_) => {
            let mut command = Command::new(env::current_exe().expect("this program"));
            // Panics have more to do then.
            command.env("RUST_BACKTRACE", "1").env(CASE, wanted);
            command.args(["--exact", &test, "--nocapture"]);
            // What it leaves there vanishes with this.
            let folder = tempfile::tempdir().expect("a folder");
            command.env("TMPDIR", folder.path());
            let output = command.output().expect("this program can be started");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Ended { status: output.status.code(), said }
        }
    }
}

/// Whether this process is there for one case: what is asserted of others means nothing in it.
pub fn is_elsewhere() -> bool {
    env::var_os(CASE).is_some()
}

impl Ended {
    /// Fails unless the case came to its end.
    #[track_caller]
    pub fn expect_end(self) {
        assert!(is_elsewhere() || self.status == Some(0), "{self:?}");
    }

    /// Fails unless this call was forbidden and named.
    #[track_caller]
    pub fn expect_forbidden(self, call: &str) {
        let message = format!("glass: forbidden system call {call} (");
        // What shells say of a process that SIGSYS ended.
        let is_forbidden = self.status == Some(159) && self.said.contains(&message);
        assert!(is_elsewhere() || is_forbidden, "{call}: {self:?}");
    }
}
