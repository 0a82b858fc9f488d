//! What a program says of itself: it may say nothing, or never come to an end.

use super::{QemuError, process::prepare_child, start_error};
use std::{
    io::{self, ErrorKind, Read},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::{self, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// How long an answer may take. QEMU's takes some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes. QEMU's list of machines is a tenth of it.
const LONGEST: usize = 64 << 10;

/// What a program prints on standard output, or the beginning of it. It ends with that.
pub fn ask(program: &Path, arguments: &[&str]) -> Result<String, QemuError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let parent = process::id();
    // SAFETY: between fork and exec only system calls are made, which are safe to call there; nothing
    // is allocated.
    unsafe { command.pre_exec(move || prepare_child(parent, [])) };
    let mut child = command.spawn().map_err(|error| start_error(program, error))?;
    let output = child.stdout.take().expect("it was asked for");
    let answer = read(output, Instant::now() + PATIENCE);
    // An error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
    let answer = answer.map_err(|_| QemuError::Silent {
        program: program.to_owned(),
        question: arguments.join(" "),
        within: PATIENCE,
    })?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads to the end, or as much as is read of an answer.
fn read(mut output: ChildStdout, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    while answer.len() < LONGEST {
        wait(&output, deadline)?;
        match output.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => answer.extend(&bytes[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// Waits until there is something to read, which may be the end.
fn wait(output: &ChildStdout, deadline: Instant) -> io::Result<()> {
    let mut polled = libc::pollfd { fd: output.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let left = left.try_into().unwrap_or(libc::c_int::MAX);
        // SAFETY: the one structure that the call reads and writes lives until it returns.
        match unsafe { libc::poll(&raw mut polled, 1, left) } {
            0 => return Err(ErrorKind::TimedOut.into()),
            1.. => return Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
