//! A viewer's side: finds the machines of this user and reads their memory.

use super::{
    Introduction, LONGEST, MOST_FILES, VERSION, folder,
    life::Life,
    statistics::{self, Statistic},
};
use anyhow::{Context, Result, bail};
use observe::{GuestMemory, OutsideMemory};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::{
    fs::{self, File},
    io::{ErrorKind, IoSliceMut},
    mem::MaybeUninit,
    os::unix::{fs::FileExt, net::UnixStream},
    path::Path,
    time::Duration,
};

/// A run answers at once; one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// A machine of another process.
#[derive(Debug)]
pub struct Attached {
    /// What its run says of it.
    pub introduction: Introduction,
    ram: File,
    statistics: Vec<File>,
    life: Life,
}

impl Attached {
    /// The machine with that process number, or the only one that there is.
    pub fn find(pid: Option<u32>) -> Result<Self> {
        let mut machines = all()?;
        if let Some(pid) = pid {
            let found = machines.iter().position(|machine| machine.introduction.pid == pid);
            return match found {
                Some(index) => Ok(machines.swap_remove(index)),
                None => bail!("no machine of yours has the number {pid}{}", list(&machines)),
            };
        }
        match machines.len() {
            1 => Ok(machines.remove(0)),
            0 => bail!("no machine runs: start one with `glass run`, in another terminal"),
            _ => bail!("several machines run: choose one with --machine PID{}", list(&machines)),
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
        self.life.goes_on()
    }
}

impl GuestMemory for Attached {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        self.ram.read_exact_at(bytes, address).map_err(|_| outside)
    }
}

/// All machines of this user, by process number. Sockets of dead processes are removed.
pub fn all() -> Result<Vec<Attached>> {
    let folder = folder::path();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    folder::verify(&folder)?;
    let mut machines = Vec::new();
    for entry in entries {
        let socket = entry?.path();
        let Some(pid) = folder::pid_of(&socket) else { continue };
        match attach(&socket) {
            Ok(machine) => machines.push(machine),
            // Only a socket that nobody listens at and whose process is gone is a leftover.
            Err(_) if is_alive(pid) => {}
            Err(_) => drop(fs::remove_file(&socket)),
        }
    }
    machines.sort_by_key(|machine| machine.introduction.pid);
    Ok(machines)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn attach(socket: &Path) -> Result<Attached> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            files.extend(descriptors.map(File::from));
        }
    }
    let introduction: Introduction = serde_json::from_slice(&line[..received.bytes])?;
    if introduction.v != VERSION {
        bail!("it speaks version {}", introduction.v);
    }
    let mut files = files.into_iter();
    let ram = files.next().context("it sent no memory")?;
    let statistics = files.collect();
    Ok(Attached { introduction, ram, statistics, life: Life::open(socket)? })
}

/// The end of a message that says what there is to choose from.
fn list(machines: &[Attached]) -> String {
    let line = |machine: &Attached| {
        let Introduction { pid, architecture, engine, scenario, .. } = &machine.introduction;
        let scenario = scenario.as_deref().unwrap_or("own modules");
        format!("\n  {pid}  {architecture} on {engine}, {scenario}")
    };
    machines.iter().map(line).collect()
}
