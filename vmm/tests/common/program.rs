//! Programs that no linker makes.

use super::{Target, file};
use tempfile::NamedTempFile;

/// An ELF executable: one page of headers, one of code, and whatever its segments say.
#[derive(Clone, Debug)]
pub struct Program {
    pub entry: u64,
    pub segments: Vec<Segment>,
    pub code: Vec<u8>,
    /// Bytes of the file.
    pub length: usize,
}

/// A program header, alignment aside.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_size: u64,
    pub memory_size: u64,
}

impl Segment {
    /// One page of code that may be read and executed.
    pub const TEXT: Self = Self {
        kind: 1,
        flags: 5,
        offset: 0x1000,
        address: 0x40_0000,
        file_size: 0x1000,
        memory_size: 0x1000,
    };

    /// One page behind it that may be read and written.
    pub const DATA: Self = Self { flags: 6, offset: 0x2000, address: 0x40_1000, ..Self::TEXT };
}

impl Program {
    /// One that runs this code from its first byte.
    pub fn new(code: &[u8]) -> Self {
        let segments = vec![Segment::TEXT];
        Self { entry: Segment::TEXT.address, segments, code: code.to_vec(), length: 0x4000 }
    }

    /// Its bytes for an architecture.
    pub fn bytes(&self, target: Target) -> Vec<u8> {
        let is_wide = target.arch == "amd64";
        let word = |number: u64| match is_wide {
            true => number.to_le_bytes().to_vec(),
            false => number.to_le_bytes()[..4].to_vec(),
        };
        let (class, machine, header_size, entry_size) =
            if is_wide { (2, 62, 64, 56) } else { (1, 3, 52, 32) };
        let mut image = [b"\x7fELF".as_slice(), &[class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        image.extend([2, machine].map(u16::to_le_bytes).concat());
        image.extend(1u32.to_le_bytes());
        image.extend([self.entry, header_size, 0].map(word).concat());
        image.extend(0u32.to_le_bytes());
        let count = self.segments.len() as u16;
        let halves = [header_size as u16, entry_size, count, 0, 0, 0];
        image.extend(halves.map(u16::to_le_bytes).concat());
        for segment in &self.segments {
            let Segment { kind, flags, offset, address, file_size, memory_size } = *segment;
            let flags = flags.to_le_bytes();
            image.extend(kind.to_le_bytes());
            image.extend(if is_wide { &flags[..] } else { &[] });
            image.extend([offset, address, address, file_size, memory_size].map(word).concat());
            image.extend(if is_wide { &[] } else { &flags[..] });
            image.extend(word(0x1000));
        }
        image.resize(image.len().max(0x1000), 0);
        image.extend(&self.code);
        image.resize(self.length, 0);
        image
    }

    /// As a file.
    pub fn file(&self, target: Target) -> NamedTempFile {
        file(&self.bytes(target))
    }
}
