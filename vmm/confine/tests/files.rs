//! Real rules, real files, ports and signals. These tests need a host that has landlock.

mod common;

use common::elsewhere;
use confine::{Files, InForce, Landlock};
use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd,
        unix::{net::UnixListener, process::parent_id},
    },
    path::Path,
    process::Command,
    thread,
};
use tempfile::TempDir;

/// The version from which on ports and signals are restricted, too.
const WITH_SIGNALS: i32 = 6;

/// Fails the test where the host cannot do what it is about.
fn require_landlock() {
    let found = InForce::here().expect("the host answers").landlock;
    match found {
        Landlock::Version(WITH_SIGNALS..) => {}
        _ => panic!("this test needs landlock version {WITH_SIGNALS} (Linux 6.12): {found:?}"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn without_files_nothing_is_reached_by_its_name() {
    require_landlock();
    elsewhere("", || {
        let (folder, port) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let mut open = File::open(&path).unwrap();
        Files::None.restrict().unwrap();
        denied(File::open(&path));
        denied(File::create(folder.path().join("new")));
        denied(fs::write(&path, "other"));
        denied(fs::remove_file(&path));
        denied(fs::read_dir("/"));
        denied(UnixListener::bind(folder.path().join("socket")));
        denied(Command::new("/bin/true").status());
        denied(TcpStream::connect(port.local_addr().unwrap()));
        denied(TcpListener::bind("127.0.0.1:0"));
        // What is open stays usable.
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    })
    .expect_end();
}

#[test]
fn sockets_are_made_and_removed_in_one_folder_only() {
    require_landlock();
    elsewhere("", || {
        let (ours, other) = (folder(), folder());
        Files::SocketsIn(ours.path()).restrict().unwrap();
        let socket = ours.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        fs::remove_file(&socket).unwrap();
        denied(UnixListener::bind(other.path().join("socket")));
        denied(File::create(ours.path().join("file")));
        denied(File::open("/etc/passwd"));
    })
    .expect_end();
}

#[test]
fn qemu_can_read_and_be_executed_and_write_nothing() {
    require_landlock();
    elsewhere("", || {
        let folder = folder();
        Files::SocketsInAndReading(folder.path()).restrict().unwrap();
        fs::read("/etc/passwd").unwrap();
        let write = format!("echo > {}/file", folder.path().display());
        let written = Command::new("sh").args(["-c", &write]).status().unwrap();
        assert!(!written.success(), "{written}");
        assert!(!folder.path().join("file").exists());
    })
    .expect_end();
}

#[test]
fn who_starts_programs_reads_all_and_writes_nothing() {
    require_landlock();
    elsewhere("", || {
        let (folder, port) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
        Files::Reading.restrict().unwrap();
        fs::read("/etc/passwd").unwrap();
        denied(File::create(folder.path().join("file")));
        denied(UnixListener::bind(folder.path().join("socket")));
        denied(TcpStream::connect(port.local_addr().unwrap()));
        let reach =
            |pid: u32| Command::new("kill").args(["-0", &pid.to_string()]).status().unwrap();
        assert!(!reach(parent_id()).success(), "the test's parent was reached");
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    })
    .expect_end();
}

/// QEMU opens its RAM, which has no name, for writing.
#[test]
fn files_without_a_name_can_be_opened_again() {
    require_landlock();
    elsewhere("", || {
        let folder = folder();
        let file = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::empty()).unwrap();
        Files::SocketsInAndReading(folder.path()).restrict().unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        File::options().read(true).write(true).open(path).unwrap();
    })
    .expect_end();
}

#[test]
fn signals_reach_only_what_is_restricted_alike() {
    require_landlock();
    elsewhere("", || {
        let status =
            |pid: u32| Command::new("kill").args(["-0", &pid.to_string()]).status().unwrap();
        assert!(status(parent_id()).success());
        Files::SocketsInAndReading(Path::new("/nonexistent")).restrict().unwrap();
        assert!(!status(parent_id()).success(), "the test's parent was reached");
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    })
    .expect_end();
}

#[test]
fn threads_that_are_started_later_are_restricted_too() {
    require_landlock();
    elsewhere("", || {
        Files::None.restrict().unwrap();
        thread::spawn(|| denied(File::open("/etc/passwd"))).join().unwrap();
    })
    .expect_end();
}
