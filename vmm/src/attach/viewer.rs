//! A viewer's side: finds the machines of this user and reads their memory.

use super::{
    Introduction, LONGEST, MOST_FILES, VERSION, folder,
    statistics::{self, Statistic},
};
use anyhow::{Context, Result, bail};
use observe::{GuestMemory, OutsideMemory};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
        SocketFlags, SocketType, recvmsg,
    },
};
use std::{
    fmt,
    fs::{self, File},
    io::{ErrorKind, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A run answers at once; one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(1);

/// A machine of another process.
#[derive(Debug)]
pub struct Attached {
    /// What its run says of it.
    pub introduction: Introduction,
    ram: File,
    statistics: Vec<File>,
    socket: PathBuf,
}

impl Attached {
    /// Believes what a run at `socket` answered: a line, and files. The line's fields may be any.
    pub fn new(line: &[u8], files: Vec<File>, socket: &Path) -> Result<Self> {
        let introduction: Introduction = serde_json::from_slice(line)?;
        if introduction.v != VERSION {
            bail!("it speaks version {}", introduction.v);
        }
        let mut files = files.into_iter();
        let ram = files.next().context("it sent no memory")?;
        let statistics = files.collect();
        Ok(Self { introduction, ram, statistics, socket: socket.to_owned() })
    }

    /// The machine with that process number, or the only one that there is.
    pub fn find(pid: Option<u32>) -> Result<Self> {
        let sockets = sockets()?;
        let Some(pid) = pid else { return Self::only(ask(sockets)) };
        // The others may be slow to answer, or never do.
        let (meant, others): (Vec<_>, Vec<_>) =
            sockets.into_iter().partition(|socket| socket.pid == pid);
        let Machines { mut answered, silent } = ask(meant);
        match (answered.pop(), silent.is_empty()) {
            (Some(machine), _) => Ok(machine),
            (None, false) => {
                bail!("machine {pid} does not answer: it may be stopped or still start")
            }
            (None, true) => bail!("no machine of yours has the number {pid}{}", ask(others)),
        }
    }

    fn only(mut machines: Machines) -> Result<Self> {
        match machines.answered.len() {
            1 => Ok(machines.answered.remove(0)),
            0 if machines.silent.is_empty() => {
                bail!("no machine runs: start one with `glass run`, in another terminal")
            }
            0 => bail!("no machine answers{machines}"),
            _ => bail!("several machines run: choose one with --machine PID{machines}"),
        }
    }

    /// Where the kernel's introspection header is.
    pub fn header(&self) -> Result<u64> {
        let header = self.introduction.header;
        header.context("this machine's kernel has no introspection header: it cannot be viewed")
    }

    /// The file whose bytes are the guest's memory.
    pub fn ram(&self) -> &File {
        &self.ram
    }

    /// What KVM has counted so far for the machine and its processor; empty if it counts nothing.
    pub fn statistics(&self) -> Vec<Statistic> {
        self.statistics.iter().filter_map(|file| statistics::read(file).ok()).flatten().collect()
    }

    /// Whether the run that it belongs to still goes on.
    pub fn runs(&self) -> bool {
        connect(&self.socket).is_ok()
    }
}

impl GuestMemory for Attached {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        self.ram.read_exact_at(bytes, address).map_err(|_| outside)
    }
}

/// What is known of the machines of this user.
#[derive(Debug)]
pub struct Machines {
    /// Those that answered, by process number.
    pub answered: Vec<Attached>,
    /// The process numbers of those that did not, in time or in words that make sense.
    pub silent: Vec<u32>,
}

/// The end of a message that says what there is to choose from.
impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ": ";
        for machine in &self.answered {
            let Introduction { pid, architecture, engine, scenario, .. } = &machine.introduction;
            let scenario = scenario.as_deref().unwrap_or("own modules");
            write!(f, "{separator}{pid} ({architecture} on {engine}, {scenario})")?;
            separator = ", ";
        }
        for pid in &self.silent {
            write!(f, "{separator}{pid} (does not answer)")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// All machines of this user. Sockets of dead processes are removed.
pub fn all() -> Result<Machines> {
    Ok(ask(sockets()?))
}

/// A file at which a run of this user may listen.
struct Socket {
    path: PathBuf,
    pid: u32,
}

fn sockets() -> Result<Vec<Socket>> {
    let folder = folder::path();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    folder::verify(&folder)?;
    let mut sockets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        sockets.extend(folder::pid_of(&path).map(|pid| Socket { path, pid }));
    }
    sockets.sort_by_key(|socket| socket.pid);
    Ok(sockets)
}

/// Asks all at once: those that do not answer make it last as long as one of them, [`PATIENCE`].
fn ask(sockets: Vec<Socket>) -> Machines {
    let mut machines = Machines { answered: Vec::new(), silent: Vec::new() };
    let mut asked = Vec::new();
    for socket in sockets {
        match connect(&socket.path) {
            Ok(stream) => asked.push((socket, stream)),
            // Too many others have asked it.
            Err(Errno::AGAIN) => machines.silent.push(socket.pid),
            // Only a socket that nobody listens at and whose process is gone is a leftover.
            Err(_) if is_alive(socket.pid) => {}
            Err(_) => drop(fs::remove_file(&socket.path)),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while !asked.is_empty() && wait_for_any(&asked, deadline) {
        asked.retain(|(socket, stream)| match receive(socket, stream) {
            Ok(None) => true,
            Ok(Some(machine)) => {
                machines.answered.push(machine);
                false
            }
            Err(_) => {
                machines.silent.push(socket.pid);
                false
            }
        });
    }
    machines.silent.extend(asked.iter().map(|(socket, _)| socket.pid));
    machines.silent.sort_unstable();
    machines.answered.sort_by_key(|machine| machine.introduction.pid);
    machines
}

/// Never waits, as it would for somebody who lets others queue.
fn connect(socket: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream)
}

/// Whether one of them has something to say before the deadline.
fn wait_for_any(asked: &[(Socket, OwnedFd)], deadline: Instant) -> bool {
    let mut polled: Vec<_> =
        asked.iter().map(|(_, stream)| PollFd::new(stream, PollFlags::IN)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut polled, Some(&left)) {
            Err(Errno::INTR) => {}
            ready => return ready.is_ok_and(|count| count > 0),
        }
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// What a machine says of itself, if it has said it yet.
fn receive(socket: &Socket, stream: &OwnedFd) -> Result<Option<Attached>> {
    let mut line = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = match recvmsg(stream, &mut [IoSliceMut::new(&mut line)], &mut control, flags) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        received => received?,
    };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            files.extend(descriptors.map(File::from));
        }
    }
    let machine = Attached::new(&line[..received.bytes], files, &socket.path)?;
    if machine.introduction.pid != socket.pid {
        bail!("it is something else");
    }
    Ok(Some(machine))
}
