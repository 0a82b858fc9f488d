//! What a run hands to its viewers, and what viewers make of runs that are none.

mod common;

use common::{
    Machine, Target, attach, finish, introduce, lines, listen, on_every_target, runtime_folder,
    within,
};
use rustix::{
    fs::{FallocateFlags, OFlags},
    mm::{MapFlags, MprotectFlags, ProtFlags},
};
use std::{
    fs::{self, File},
    io::ErrorKind,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{FileExt, OpenOptionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    ptr, thread,
};
use tempfile::TempDir;

/// The same file once more, as `/proc` opens it.
fn reopened(file: &File, flags: OFlags) -> std::io::Result<File> {
    let flags = flags.bits() as i32;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).custom_flags(flags).open(path)
}

/// Whether a writable mapping of a file that others see can be had, at once or later.
fn can_be_mapped_to_write(file: &File) -> bool {
    let map = |protection| {
        // SAFETY: the mapping is a new one where the kernel likes, and nothing reads or writes it.
        unsafe { rustix::mm::mmap(ptr::null_mut(), 4096, protection, MapFlags::SHARED, file, 0) }
    };
    if map(ProtFlags::READ | ProtFlags::WRITE).is_ok() {
        return true;
    }
    let readable = map(ProtFlags::READ).expect("it can be read");
    let rights = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: this is that mapping, which nothing refers to.
    unsafe { rustix::mm::mprotect(readable, 4096, rights) }.is_ok()
}

fn viewers_cannot_change_the_memory(target: Target) {
    let mut machine = Machine::start(target);
    let (_, given) = attach(&machine);
    let size = given.metadata().expect("it has a size").len();
    let read = |bytes: &mut [u8]| given.read_exact_at(bytes, 0x10_0000).expect("it can be read");
    let (mut before, mut after) = ([0; 4096], [0; 4096]);
    read(&mut before);
    let mut files = vec![("given", given.try_clone().expect("it can be cloned"))];
    files.extend(reopened(&given, OFlags::empty()).map(|file| ("reopened", file)));
    files.extend(reopened(&given, OFlags::APPEND).map(|file| ("to be appended to", file)));
    for (which, file) in &files {
        let punched = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (what, succeeded) in [
            ("written", rustix::io::write(file, &[0xff; 8]).is_ok()),
            ("written anywhere", file.write_at(&[0xff; 8], 0x10_0000).is_ok()),
            ("mapped", can_be_mapped_to_write(file)),
            ("cut off", file.set_len(4096).is_ok()),
            ("made longer", file.set_len(size + 4096).is_ok()),
            ("punched", rustix::fs::fallocate(file, punched, 0, size).is_ok()),
            (
                "made longer by room for it",
                rustix::fs::fallocate(file, FallocateFlags::empty(), size, 4096).is_ok(),
            ),
        ] {
            assert!(!succeeded, "the file that was {which} was {what}");
        }
    }
    reopened(&given, OFlags::TRUNC).expect_err("it was cut off by being opened");

    read(&mut after);
    assert!(before == after, "the kernel's code has changed");
    assert_eq!(machine.json(&["check"])["ok"], true);
    assert_eq!(machine.child.try_wait().expect("it can be asked"), None, "the run has ended");
}

on_every_target!(viewers_cannot_change_the_memory);

/// Answers as a run does whose kernel cannot be looked into.
fn answer(peer: &UnixStream, pid: u32, scenario: &str) {
    let introduction = serde_json::json!({
        "v": 1, "pid": pid, "architecture": "amd64", "engine": "kvm", "scenario": scenario,
        "header": null, "ram": 16 << 20, "ticks_per_second": 1, "images": [],
    });
    introduce(peer, &introduction, &tempfile::tempfile().expect("a file"));
}

/// Nobody answers before all have been asked: who asks one after another gets no answer at all.
#[test]
fn machines_are_asked_side_by_side() {
    let folder = runtime_folder();
    let listeners: Vec<_> = (1..=10).map(|pid| (pid, listen(&folder, pid))).collect();
    let peers = thread::spawn(move || {
        let accept = |(pid, listener): &(u32, UnixListener)| (*pid, listener.accept().unwrap().0);
        let asked: Vec<_> = listeners.iter().map(accept).collect();
        asked.iter().for_each(|(pid, peer)| answer(peer, *pid, "patience"));
    });
    let ran = finish(within(&folder).args(["ls", "--json"]).output().expect("glass starts"));
    let pids: Vec<_> = lines(&ran).iter().map(|line| line["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, (1..=10).collect::<Vec<_>>(), "{ran:?}");
    peers.join().expect("all were asked");
}

#[test]
fn machines_that_are_silent_are_named_and_delay_only_their_own_views() {
    let folder = runtime_folder();
    let silent = listen(&folder, 1);
    let stuffed = listen(&folder, 2);
    let stuffed_path = folder.path().join("glass/2.socket");
    let queue = fill(&stuffed_path);
    let view = |arguments: &[&str]| {
        finish(within(&folder).args(arguments).output().expect("glass starts"))
    };
    for (arguments, names) in [
        (&["ls"][..], &["machine 1 does not answer", "machine 2 does not answer"][..]),
        (&["tasks"], &["no machine answers: 1 (does not answer), 2 (does not answer)"]),
        (&["tasks", "--machine", "1"], &["machine 1 does not answer"]),
        (&["tasks", "--machine", "2"], &["machine 2 does not answer"]),
    ] {
        let ran = view(arguments);
        for name in names {
            assert!(ran.stderr.contains(name), "{ran:?}");
        }
    }
    drop((queue, stuffed, silent));

    let silent = listen_anew(&folder, 1);
    let speaking = listen(&folder, 3);
    let peer = thread::spawn(move || answer(&speaking.accept().unwrap().0, 3, "talk"));
    let ran = view(&["tasks", "--machine", "3"]);
    assert!(ran.stderr.contains("this machine's kernel has no introspection header"), "{ran:?}");
    peer.join().expect("it was asked");
    silent.set_nonblocking(true).expect("it can be told");
    let asked = silent.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(asked, Err(ErrorKind::WouldBlock), "another machine was asked");
}

/// Connections that nobody accepts, as many as fit.
fn fill(socket: &Path) -> Vec<rustix::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let connect = |_| {
        let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK);
        let stream = rustix::net::socket_with(kind.0, kind.1, kind.2, None).ok()?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket).ok()?).ok()?;
        Some(stream)
    };
    (0..1 << 16).map_while(connect).collect()
}

fn listen_anew(folder: &TempDir, pid: u32) -> UnixListener {
    let _ = fs::remove_file(folder.path().join(format!("glass/{pid}.socket")));
    listen(folder, pid)
}

/// A machine must be called what its socket is called, and hand over memory.
#[test]
fn machines_that_lie_are_none() {
    let folder = runtime_folder();
    let liar = listen(&folder, 1);
    let peer = thread::spawn(move || answer(&liar.accept().unwrap().0, 2, "lies"));
    let ran = finish(within(&folder).args(["ls", "--json"]).output().expect("glass starts"));
    assert_eq!(ran.stdout, "", "{ran:?}");
    peer.join().expect("it was asked");
}
