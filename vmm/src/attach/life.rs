//! Whether a run still goes on, as a viewer can find out without opening anything any more.

use super::folder;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, fstat, openat},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{io, os::fd::OwnedFd, path::Path};

/// A run's socket and its process, kept open.
#[derive(Debug)]
pub struct Life {
    /// Only a name: nothing can be read from it or sent to it.
    socket: OwnedFd,
    /// Hosts without such descriptors (Linux 5.2 and before) tell the end of a run that was killed not
    /// at all.
    process: Option<OwnedFd>,
}

impl Life {
    /// Of the run that listens at this socket.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let number = folder::pid_of(socket).and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let process = number.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let socket = openat(CWD, socket, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { socket, process })
    }

    /// A run removes its socket before it stops its guest, unless it is killed.
    pub fn goes_on(&self) -> bool {
        let has_name = fstat(&self.socket).is_ok_and(|file| file.st_nlink > 0);
        has_name && !self.process.as_ref().is_some_and(has_ended)
    }
}

/// The descriptor of a process can be read from once it has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::net::UnixListener, process::Command};

    #[test]
    fn a_run_ends_with_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder::socket(folder.path(), std::process::id());
        let _listener = UnixListener::bind(&socket).unwrap();
        let life = Life::open(&socket).unwrap();
        assert!(life.goes_on());
        fs::remove_file(&socket).unwrap();
        assert!(!life.goes_on());
        Life::open(&socket).expect_err("there is no socket");
    }

    #[test]
    fn a_run_that_is_killed_has_ended_though_its_socket_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Command::new("sleep").arg("1000").spawn().unwrap();
        let socket = folder::socket(folder.path(), run.id());
        let _listener = UnixListener::bind(&socket).unwrap();
        let life = Life::open(&socket).unwrap();
        assert!(life.goes_on());
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(!life.goes_on());
    }
}
