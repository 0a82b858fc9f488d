//! The guest's RAM, on a memfd.
//!
//! The guest runs while others read here, so there are never references into it: everything is
//! copied in or out.

use crate::{
    layout::{RAM_MAX, RAM_MIN},
    memfd,
};
use std::{fs::File, io, os::fd::AsRawFd, sync::Arc};
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

/// The guest's RAM. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    map: GuestMemoryMmap,
    file: Arc<File>,
}

impl Memory {
    /// Fresh RAM, all zero, from guest address 0.
    pub fn new(size: RamSize) -> Result<Self, MemoryError> {
        let file = memfd::create(c"guest-ram").map_err(MemoryError::Create)?;
        file.set_len(size.bytes()).map_err(MemoryError::Create)?;
        let file = Arc::new(file);
        let backing = FileOffset::from_arc(Arc::clone(&file), 0);
        let range = (GuestAddress(0), size.bytes() as usize, Some(backing));
        let map = GuestMemoryMmap::from_ranges_with_files([range])
            .map_err(|error| MemoryError::Map { bytes: size.bytes(), reason: error.to_string() })?;
        Ok(Self { map, file })
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

    /// The same memory for somebody who may only read it: a descriptor that cannot write, and of
    /// which no writable mapping can be made.
    pub fn reader(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
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
        let reader = memory.reader().unwrap();
        memory.write(0x1000, b"seen").unwrap();
        let mut bytes = [0; 4];
        reader.read_exact_at(&mut bytes, 0x1000).unwrap();
        assert_eq!(bytes, *b"seen");
        reader.write_at(b"over", 0x1000).expect_err("written");
        reader.set_len(0).expect_err("cut off");
    }

    #[test]
    fn clones_are_the_same_memory() {
        let memory = Memory::new(RamSize::new(16 << 20).unwrap()).unwrap();
        memory.clone().write(0x1000, b"seen").unwrap();
        assert_eq!(memory.read_plain::<[u8; 4]>(0x1000).unwrap(), *b"seen");
    }
}
