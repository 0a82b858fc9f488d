//! A run's side: a thread that hands each viewer the guest's RAM and KVM's statistics, to be read only.

use super::{Introduction, MOST_FILES, folder};
use crate::message::say;
use anyhow::{Context, Result};
use machine::Machine;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    fs::{self, File},
    io::{self, IoSlice},
    iter::once,
    mem::MaybeUninit,
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
};

/// The socket's file vanishes with this. Its thread waits for viewers as long as the process lives.
#[derive(Debug)]
pub struct Listener {
    socket: PathBuf,
}

impl Listener {
    /// The socket's file.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Who has removed it already has done what is wanted.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Lets viewers attach, as soon as nobody can change the guest's memory any more but its engine.
pub fn listen(introduction: &Introduction, machine: &Machine) -> Result<Listener> {
    let folder = folder::path();
    folder::create(&folder)?;
    let socket = folder::socket(&folder, introduction.pid);
    // A file of that name was left by a dead process that had the same number.
    let _ = fs::remove_file(&socket);
    let ram = machine.memory().reader().context("cannot open the guest's memory for reading")?;
    let statistics = machine.statistics();
    let mut line = serde_json::to_vec(introduction)?;
    line.push(b'\n');
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("cannot bind {}", socket.display()))?;
    let bound = Listener { socket };
    thread::Builder::new()
        .name("viewers".to_owned())
        .spawn(move || match ram.when_sealed() {
            Ok(ram) => serve(&listener, &line, &once(ram).chain(statistics).collect::<Vec<_>>()),
            Err(error) => {
                say(format_args!("nobody can view this run: cannot seal its memory: {error}"))
            }
        })
        .context("cannot start a thread for viewers")?;
    Ok(bound)
}

fn serve(listener: &UnixListener, line: &[u8], files: &[File]) {
    for viewer in listener.incoming() {
        match viewer {
            // A viewer that leaves early has only itself to tell.
            Ok(viewer) => drop(introduce(&viewer, line, files)),
            // Out of descriptors, say: try again, but not as fast as we can.
            Err(_) => thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

/// The line is far smaller than a socket's buffer: this never waits.
fn introduce(viewer: &UnixStream, line: &[u8], files: &[File]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = files.iter().map(File::as_fd).collect();
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(viewer, &[IoSlice::new(line)], &mut control, flags)?)
}
