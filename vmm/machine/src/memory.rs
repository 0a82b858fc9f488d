//! The guest's RAM, on a memfd.
//!
//! The guest runs while others read here, so there are never references into it: everything is
//! copied in or out.

use crate::{
    layout::{RAM_MAX, RAM_MIN},
    memfd::{self, Seal},
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    sync::{Arc, OnceLock},
};
use thiserror::Error;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of RAM: whole pages, and a size that the guest can live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamSize(u64);

/// Why a size won't do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RamSizeError {
    /// Less than the minimum.
    #[error("{} of memory is too little: the least is {}", human(*.0), human(RAM_MIN))]
    TooSmall(u64),
    /// More than the maximum.
    #[error(
        "{} of memory is too much: the most is {}, for all of it is mapped 1:1 into the user area",
        human(*.0), human(RAM_MAX)
    )]
    TooLarge(u64),
    /// Not whole pages.
    #[error("{0} bytes of memory are not a whole number of 4 KiB pages")]
    NotPages(u64),
}

impl RamSize {
    /// Checks a number of bytes.
    pub fn new(bytes: u64) -> Result<Self, RamSizeError> {
        match bytes {
            ..RAM_MIN => Err(RamSizeError::TooSmall(bytes)),
            _ if bytes > RAM_MAX => Err(RamSizeError::TooLarge(bytes)),
            _ if !bytes.is_multiple_of(protocol::PAGE_SIZE as u64) => {
                Err(RamSizeError::NotPages(bytes))
            }
            _ => Ok(Self(bytes)),
        }
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// `bytes` in the largest unit of which there is at least one: `3 GiB`, `12.5 MiB`.
pub fn human(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

/// The host gave no memory for the guest.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// No memfd.
    #[error("cannot create memory for the guest (memfd): {0}")]
    Create(io::Error),
    /// The memfd would be larger than this process may make files.
    #[error(
        "the guest's {} of memory are a file, and files may not be that large here: raise the limit \
         (ulimit -f), or give less with --memory", human(*.0)
    )]
    FileSizeLimit(u64),
    /// No mapping of it.
    #[error("cannot map {} of memory for the guest: {reason}; try a smaller --memory", human(*.bytes))]
    Map {
        /// Its size.
        bytes: u64,
        /// What the host said.
        reason: String,
    },
}

/// An access that does not lie wholly in RAM.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{length} bytes at guest address {address:#x} are not all in RAM")]
pub struct OutsideRam {
    /// Where it begins.
    pub address: u64,
    /// Its length in bytes.
    pub length: usize,
}

/// What the file is called where `/proc` lists mappings.
const NAME: &CStr = c"guest-ram";

/// The guest's RAM. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    map: GuestMemoryMmap,
    file: Arc<File>,
    /// Whether it could be sealed, once that was tried: if not, the host's error number.
    sealed: Arc<OnceLock<Result<(), i32>>>,
}

impl Memory {
    /// Fresh RAM, all zero, from guest address 0. It keeps its size, whoever may have the file.
    pub fn new(size: RamSize) -> Result<Self, MemoryError> {
        let file = memfd::create(NAME).map_err(MemoryError::Create)?;
        file.set_len(size.bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => MemoryError::FileSizeLimit(size.bytes()),
            _ => MemoryError::Create(error),
        })?;
        memfd::seal(&file, Seal::Size).map_err(MemoryError::Create)?;
        let file = Arc::new(file);
        let backing = FileOffset::from_arc(Arc::clone(&file), 0);
        let range = (GuestAddress(0), size.bytes() as usize, Some(backing));
        let map = GuestMemoryMmap::from_ranges_with_files([range])
            .map_err(|error| MemoryError::Map { bytes: size.bytes(), reason: error.to_string() })?;
        Ok(Self { map, file, sealed: Arc::default() })
    }

    /// Closes the file to all who do not have a writable mapping of it yet. To be called when
    /// everybody who runs the guest has one.
    pub(crate) fn seal(&self) {
        self.sealed.get_or_init(|| {
            memfd::seal(&self.file, Seal::FutureWrites)
                .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
        });
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.map.iter().map(GuestMemoryRegion::len).sum()
    }

    /// Fills `bytes` from `address` on.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideRam> {
        let outside = OutsideRam { address, length: bytes.len() };
        self.map.read_slice(bytes, GuestAddress(address)).map_err(|_| outside)
    }

    /// Copies `bytes` to `address`.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), OutsideRam> {
        let outside = OutsideRam { address, length: bytes.len() };
        self.map.write_slice(bytes, GuestAddress(address)).map_err(|_| outside)
    }

    /// Reads one value that may have any bit pattern.
    pub fn read_plain<T: FromBytes + IntoBytes>(&self, address: u64) -> Result<T, OutsideRam> {
        let mut value = T::new_zeroed();
        self.read(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes one value.
    pub fn write_plain<T>(&self, address: u64, value: &T) -> Result<(), OutsideRam>
    where
        T: IntoBytes + Immutable,
    {
        self.write(address, value.as_bytes())
    }

    /// The same memory for somebody who may only read it.
    ///
    /// # Errors
    /// If the host cannot open files anew through `/proc`.
    pub fn reader(&self) -> io::Result<Reader> {
        let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        Ok(Reader { file, sealed: Arc::clone(&self.sealed) })
    }

    /// Whether a process has a writable mapping of it that others see.
    pub(crate) fn is_mapped_by(&self, process: u32) -> bool {
        let mappings = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        let name = format!("/memfd:{}", NAME.to_string_lossy());
        mappings.lines().any(|mapping| mapping.contains(" rw-s ") && mapping.contains(&name))
    }

    /// The file whose bytes are the guest's physical memory.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// For the loader and the memory slot, which work on the whole.
    pub(crate) fn map(&self) -> &GuestMemoryMmap {
        &self.map
    }
}

/// A descriptor of the guest's RAM that was opened to read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    sealed: Arc<OnceLock<Result<(), i32>>>,
}

impl Reader {
    /// The descriptor, once nothing can be done with it, nor with what `/proc` makes of it, that
    /// changes the guest's memory: waits until the engine has its writable mapping.
    ///
    /// # Errors
    /// If the host cannot seal the file (Linux before 5.1).
    pub fn when_sealed(self) -> io::Result<File> {
        (*self.sealed.wait()).map_err(io::Error::from_raw_os_error)?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn sizes_have_a_floor_and_a_ceiling() {
        assert_eq!(RamSize::new(15 << 20), Err(RamSizeError::TooSmall(15 << 20)));
        assert_eq!(RamSize::new(16 << 20).map(RamSize::bytes), Ok(16 << 20));
        assert_eq!(RamSize::new(3 << 30).map(RamSize::bytes), Ok(3 << 30));
        assert_eq!(RamSize::new((3 << 30) + 4096), Err(RamSizeError::TooLarge((3 << 30) + 4096)));
        assert_eq!(RamSize::new((32 << 20) + 1), Err(RamSizeError::NotPages((32 << 20) + 1)));
    }

    #[test]
    fn errors_name_the_sizes_in_human_units() {
        let too_small = RamSize::new(512 << 10).unwrap_err().to_string();
        assert_eq!(too_small, "512 KiB of memory is too little: the least is 16 MiB");
        let too_large = RamSize::new(4 << 30).unwrap_err().to_string();
        assert!(too_large.starts_with("4 GiB of memory is too much: the most is 3 GiB"));
    }

    #[test]
    fn values_come_back_and_the_end_is_guarded() {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        let end = memory.size();
        memory.write_plain(end - 8, &0x1122_3344_5566_7788_u64).unwrap();
        assert_eq!(memory.read_plain::<u64>(end - 8).unwrap(), 0x1122_3344_5566_7788);
        let outside = OutsideRam { address: end - 4, length: 8 };
        assert_eq!(memory.read_plain::<u64>(end - 4), Err(outside));
        assert_eq!(memory.write(u64::MAX, &[0]), Err(OutsideRam { address: u64::MAX, length: 1 }));
    }

    #[test]
    fn a_reader_sees_every_write_and_can_write_nothing() {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        memory.seal();
        memory.seal();
        let reader = memory.reader().unwrap().when_sealed().unwrap();
        memory.write(0x1000, b"seen").unwrap();
        let mut bytes = [0; 4];
        reader.read_exact_at(&mut bytes, 0x1000).unwrap();
        assert_eq!(bytes, *b"seen");
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let anew = File::options().read(true).write(true).open(path).unwrap();
        for file in [&reader, &anew, memory.file()] {
            file.write_at(b"over", 0x1000).expect_err("written");
            file.set_len(0).expect_err("cut off");
            file.set_len(32 << 20).expect_err("made longer");
        }
    }

    #[test]
    fn the_size_is_fixed_before_all_else_is() {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        memory.file().set_len(0).expect_err("cut off");
        memory.file().write_at(b"from the engine", 0x1000).unwrap();
        let reader = memory.reader().unwrap();
        let reader = std::thread::spawn(move || reader.when_sealed().unwrap());
        assert!(memory.is_mapped_by(std::process::id()) && !memory.is_mapped_by(1 << 22));
        memory.seal();
        let reader = reader.join().unwrap();
        let mut bytes = [0; 4];
        reader.read_exact_at(&mut bytes, 0x1000).unwrap();
        assert_eq!(bytes, *b"from");
    }

    #[test]
    fn clones_are_the_same_memory() {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        memory.clone().write(0x1000, b"seen").unwrap();
        assert_eq!(memory.read_plain::<[u8; 4]>(0x1000).unwrap(), *b"seen");
    }
}
