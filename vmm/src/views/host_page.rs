//! Where a piece of the guest's memory is on this host, as far as the host tells its users.
//!
//! The guest's RAM is a file without a name. The processes that have mapped it are the run and, if that
//! is the engine, its QEMU; their page tables are what the processor's second level stands on. The
//! host describes them in `/proc`.

use crate::attach::Attached;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    os::unix::fs::FileExt,
};

/// Bytes of a page, and of an entry of a pagemap.
const PAGE: u64 = 4096;
const PAGEMAP_ENTRY: u64 = 8;

/// The most text of a process' mappings that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// A process that may have mapped the guest's RAM, and what the host tells of it. It is opened before
/// the viewer gives up to open anything.
#[derive(Debug)]
pub struct Process {
    number: u32,
    mappings: io::Result<File>,
    pages: io::Result<File>,
}

impl Process {
    /// The processes of a machine, that which executes the guest first.
    pub fn all_of(machine: &Attached) -> Vec<Self> {
        let run = machine.introduction.pid;
        // QEMU is a child of the run; it, not the run, executes the guest.
        children(run).into_iter().chain([run]).map(Self::open).collect()
    }

    fn open(number: u32) -> Self {
        let file = |name| File::open(format!("/proc/{number}/{name}"));
        Self { number, mappings: file("smaps"), pages: file("pagemap") }
    }
}

/// A page of the host that backs guest memory.
#[derive(Debug)]
pub struct HostPage {
    process: u32,
    address: u64,
    residence: Result<Residence, io::Error>,
    /// The number of the host's frame. The host tells it only those who may administer it.
    frame: Option<u64>,
    sizes: Sizes,
}

/// Where a page's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Residence {
    Present,
    Swapped,
    Absent,
}

/// What the host says of the whole mapping, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    page: u64,
    whole: u64,
    resident: u64,
    /// Resident in large pages.
    large: u64,
}

/// A mapping of the RAM file.
#[derive(Debug, PartialEq, Eq)]
struct Area {
    addresses: Range<u64>,
    offset: u64,
    sizes: Sizes,
}

impl HostPage {
    /// The page behind a physical address of the guest.
    pub fn find(processes: Vec<Process>, machine: &Attached, physical: u64) -> io::Result<Self> {
        let ram = rustix::fs::fstat(machine.ram())?;
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for Process { number, mappings, pages } in processes {
            match mappings.and_then(text) {
                Err(refused) => error = refused,
                Ok(smaps) => {
                    if let Some(area) = area(&smaps, ram.st_dev, ram.st_ino, physical) {
                        let address = area.addresses.start + (physical - area.offset);
                        let entry = pages.and_then(|pages| pagemap(&pages, address));
                        let frame = entry.as_ref().ok().and_then(|entry| frame(*entry));
                        let residence = entry.map(residence);
                        let sizes = area.sizes;
                        return Ok(Self { process: number, address, residence, frame, sizes });
                    }
                }
            }
        }
        Err(error)
    }

    /// Lines for people: what it is, and what of it.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let residence = match &self.residence {
            Ok(residence) => match self.frame {
                Some(frame) => format!("{}, as host frame {frame:#x}", residence.sentence()),
                None => residence.sentence().to_owned(),
            },
            Err(error) => format!("unknown: /proc/{}/pagemap: {error}", self.process),
        };
        let Sizes { whole, resident, .. } = self.sizes;
        vec![
            ("host", format!("{:#x} in process {}", self.address, self.process)),
            ("", self.sizes.sentence()),
            ("residence", residence),
            (
                "",
                format!(
                    "of the guest's {whole} KiB, {resident} KiB are in that process's page tables"
                ),
            ),
        ]
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let Sizes { page, whole, resident, large } = self.sizes;
        json!({
            "process": self.process,
            "address": format!("{:#x}", self.address),
            "residence": self.residence.as_ref().ok().map(|residence| residence.word()),
            "frame": self.frame.map(|frame| format!("{frame:#x}")),
            "page_kib": page,
            "ram_kib": whole,
            "resident_kib": resident,
            "large_kib": large,
        })
    }
}

impl Residence {
    fn sentence(self) -> &'static str {
        match self {
            Self::Present => "in memory, and in that process's page table",
            Self::Swapped => "swapped out",
            Self::Absent => {
                "not in that process's page table: nobody touched it yet, or it was reclaimed"
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Swapped => "swapped",
            Self::Absent => "absent",
        }
    }
}

impl Sizes {
    fn sentence(self) -> String {
        let Self { page, resident, large, .. } = self;
        match large {
            0 => format!("host pages of {page} KiB: none of the mapping is in large pages"),
            large if large >= resident => "host pages of 2 MiB: all of the mapping is".to_owned(),
            large => format!(
                "host pages of {page} KiB or 2 MiB: {large} of {resident} KiB are in large pages; \
                 which ones the host does not tell"
            ),
        }
    }
}

/// The processes that a process started and that still run.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The mapping of that file that has that offset, out of the text of an smaps file.
fn area(smaps: &str, device: u64, inode: u64, offset: u64) -> Option<Area> {
    let mut lines = smaps.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(mut area) = header(line, device, inode) else { continue };
        while let Some((key, kib)) = lines.peek().and_then(|line| size(line)) {
            match key {
                "Size" => area.sizes.whole = kib,
                "Rss" => area.sizes.resident = kib,
                "KernelPageSize" => area.sizes.page = kib,
                "ShmemPmdMapped" | "FilePmdMapped" => area.sizes.large += kib,
                _ => {}
            }
            lines.next();
        }
        let length = area.addresses.end - area.addresses.start;
        if (area.offset..area.offset.saturating_add(length)).contains(&offset) {
            return Some(area);
        }
    }
    None
}

/// `7f00-7f80 rw-s 00000000 00:01 1234  /memfd:guest-ram (deleted)`
fn header(line: &str, device: u64, inode: u64) -> Option<Area> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let addresses = hex(start)?..hex(end)?;
    let offset = hex(fields.nth(1)?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let is_device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32) == device;
    let is_inode = fields.next()?.parse() == Ok(inode);
    let is_range = addresses.start < addresses.end;
    (is_device && is_inode && is_range).then(|| Area { addresses, offset, sizes: Sizes::default() })
}

/// `Rss:    123 kB`
fn size(line: &str) -> Option<(&str, u64)> {
    let (key, rest) = line.split_once(':')?;
    let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let kib = rest.trim().strip_suffix("kB").map_or(Some(0), |kib| kib.trim().parse().ok());
    is_key.then_some((key, kib?))
}

/// What the host says of a page of a process.
fn pagemap(pagemap: &File, address: u64) -> io::Result<u64> {
    let mut entry = [0; PAGEMAP_ENTRY as usize];
    pagemap.read_exact_at(&mut entry, address / PAGE * PAGEMAP_ENTRY)?;
    Ok(u64::from_le_bytes(entry))
}

/// Where the page is (Linux, Documentation/admin-guide/mm/pagemap.rst).
fn residence(entry: u64) -> Residence {
    match (entry >> 63 & 1, entry >> 62 & 1) {
        (1, _) => Residence::Present,
        (_, 1) => Residence::Swapped,
        _ => Residence::Absent,
    }
}

/// Its frame, in the lower 55 bits. Whoever must not know reads 0.
fn frame(entry: u64) -> Option<u64> {
    let frame = entry & ((1 << 55) - 1);
    (residence(entry) == Residence::Present && frame != 0).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0-55e0 r-xp 00000000 fd:01 77  /bin/other
Size:                 16 kB
7f0000000000-7f0000100000 rw-s 00200000 00:01 1234  /memfd:guest-ram (deleted)
Size:               1024 kB
KernelPageSize:        4 kB
Rss:                 512 kB
ShmemPmdMapped:        0 kB
VmFlags: rd wr sh
7f0000200000-7f0000300000 rw-s 00300000 00:01 1234  /memfd:guest-ram (deleted)
Size:               1024 kB
KernelPageSize:        4 kB
Rss:                1024 kB
FilePmdMapped:       512 kB
ShmemPmdMapped:      512 kB
";

    #[test]
    fn the_ram_is_found_by_its_inode_and_offset() {
        let device = rustix::fs::makedev(0, 1);
        let found = |offset| area(SMAPS, device, 1234, offset);
        let first = found(0x20_1000).unwrap();
        assert_eq!(first.addresses, 0x7f00_0000_0000..0x7f00_0010_0000);
        assert_eq!(first.sizes, Sizes { page: 4, whole: 1024, resident: 512, large: 0 });
        assert!(first.sizes.sentence().contains("none of the mapping"));
        let second = found(0x3f_ffff).unwrap();
        assert_eq!((second.offset, second.sizes.large), (0x30_0000, 1024));
        assert_eq!(second.sizes.sentence(), "host pages of 2 MiB: all of the mapping is");
        assert_eq!((found(0), found(0x40_0000)), (None, None));
        assert_eq!(area(SMAPS, device, 1235, 0x20_0000), None);
        assert_eq!(area(SMAPS, device + 1, 1234, 0x20_0000), None);
    }

    /// Memory of this very process.
    #[test]
    fn residence_is_what_the_host_says() {
        let byte = Box::new([1_u8; 8192]);
        let address = byte.as_ptr() as u64;
        let this = Process::open(std::process::id());
        let entry = pagemap(&this.pages.unwrap(), address).unwrap();
        assert_eq!(residence(entry), Residence::Present);
        Process::open(u32::MAX).pages.expect_err("there is no such process");
    }

    #[test]
    fn frames_are_those_of_pages_in_memory() {
        let present = 1 << 63;
        assert_eq!(frame(present | 1 << 61 | 0x12_3456), Some(0x12_3456));
        assert_eq!((frame(present), residence(present)), (None, Residence::Present));
        // Of a page that is swapped out, the bits are a place in the swap file.
        assert_eq!((frame(1 << 62 | 5), residence(1 << 62 | 5)), (None, Residence::Swapped));
        assert_eq!((frame(0), residence(0)), (None, Residence::Absent));
    }
}
