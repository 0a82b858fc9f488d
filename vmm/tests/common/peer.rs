//! Both ends of the sockets at which runs and viewers meet.

use super::Machine;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::AsFd,
        unix::{
            fs::DirBuilderExt,
            net::{UnixListener, UnixStream},
        },
    },
};
use tempfile::TempDir;

/// What a machine says of itself to whoever attaches, and the descriptor of its RAM.
pub fn attach(machine: &Machine) -> (Value, File) {
    let stream = UnixStream::connect(machine.socket()).expect("somebody listens");
    let mut line = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut line)];
    let received = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = received.expect("a message").bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    let introduction = serde_json::from_slice(&line[..length]).expect("a line of JSON");
    (introduction, File::from(descriptor.expect("a descriptor")))
}

/// A folder in which viewers look for machines.
pub fn runtime_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::DirBuilder::new().mode(0o700).create(folder.path().join("glass")).expect("a folder");
    folder
}

/// Listens there as the machine of that number.
pub fn listen(folder: &TempDir, pid: u32) -> UnixListener {
    UnixListener::bind(folder.path().join(format!("glass/{pid}.socket"))).expect("a socket")
}

/// Tells a viewer this.
pub fn introduce(viewer: &UnixStream, introduction: &Value, ram: &File) {
    let line = format!("{introduction}\n");
    let descriptors = [ram.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let parts = [IoSlice::new(line.as_bytes())];
    sendmsg(viewer, &parts, &mut control, SendFlags::empty()).expect("it is heard");
}
