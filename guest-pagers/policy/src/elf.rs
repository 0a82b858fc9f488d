//! An ELF image as its pager sees it: which bytes of the file stand behind which pages.
//!
//! Only program headers are read. Both ELF classes are understood; a file's bytes are nothing but
//! allegations until [`Image::parse`] has checked them.

use arrayvec::ArrayVec;
use core::{fmt, ops::Range};
use protocol::{PAGE_ORDER, PAGE_SIZE, Word, flexpage::Rights, flexpage::align_down};

/// Segments that an image can have.
pub const MAX_SEGMENTS: usize = 8;

/// For which processor an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 32-bit x86.
    Ia32,
    /// 64-bit x86.
    Amd64,
}

/// Why a file cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// It does not begin like an ELF file.
    NotElf,
    /// It is for another machine.
    WrongMachine,
    /// It is no program at a fixed address.
    NotStatic,
    /// It needs a dynamic linker.
    NeedsInterpreter,
    /// A header points beyond its end.
    Truncated,
    /// It has more than [`MAX_SEGMENTS`] segments, or none.
    SegmentCount,
    /// A segment's sizes, alignment or rights make no sense.
    BadSegment(usize),
    /// A segment lies where programs may not lie.
    OutsideArea(usize),
    /// Two segments share a page.
    SharedPage(usize),
    /// The entry point is in no executable segment.
    BadEntry,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "it is no ELF file"),
            Self::WrongMachine => write!(f, "it is built for another processor"),
            Self::NotStatic => {
                write!(f, "it is not linked to a fixed address: link it statically, with --no-pie")
            }
            Self::NeedsInterpreter => write!(f, "it needs a dynamic linker: link it statically"),
            Self::Truncated => write!(f, "it is cut off"),
            Self::SegmentCount => {
                write!(f, "it has no segment to load, or more than {MAX_SEGMENTS}")
            }
            Self::BadSegment(index) => write!(
                f,
                "its program header {index} makes no sense: a segment has some right, no more bytes \
                 in the file than in memory, and an offset congruent to its address modulo {PAGE_SIZE}"
            ),
            Self::OutsideArea(index) => {
                write!(f, "its program header {index} asks for addresses that are not for programs")
            }
            Self::SharedPage(index) => write!(
                f,
                "its program header {index} shares a page with another one: align segments to pages"
            ),
            Self::BadEntry => write!(f, "its entry point lies in no executable segment"),
        }
    }
}

/// A piece of the program's memory. Address and file offset are congruent modulo the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: Word,
    /// Bytes in memory.
    pub memory_size: Word,
    /// Where the bytes begin in the file.
    pub file_offset: usize,
    /// Bytes in the file, at most `memory_size`; the others are zero.
    pub file_size: usize,
    /// What the program may do with it; never nothing.
    pub rights: Rights,
}

impl Segment {
    /// The addresses of all pages that hold bytes of this segment.
    pub fn pages(&self) -> Range<Word> {
        let end = self.address + self.memory_size;
        align_down(self.address, PAGE_ORDER)..end.next_multiple_of(PAGE_SIZE)
    }

    /// Where the bytes of the page at `page` begin in the file, if they are there.
    pub fn file_page(&self, page: Word) -> usize {
        // Address and offset are congruent: both round down by the same amount.
        align_down(self.file_offset, PAGE_ORDER) + (page - align_down(self.address, PAGE_ORDER))
    }
}

/// What is needed to page a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Address of the first instruction.
    pub entry: Word,
    /// The segments, in the file's order.
    pub segments: ArrayVec<Segment, MAX_SEGMENTS>,
}

impl Image {
    /// Reads the headers of `file`, which must be for `machine` and fit into `area`.
    pub fn parse(file: &[u8], machine: Machine, area: &Range<Word>) -> Result<Self, ElfError> {
        let header = Header::read(file, machine)?;
        let mut segments = ArrayVec::new();
        for index in 0..header.program_header_count {
            let program_header = header.program_header(file, index)?;
            match program_header.kind {
                SEGMENT_LOAD if program_header.memory_size > 0 => {
                    let segment = program_header.check(index, file, area)?;
                    check_pages(&segments, &segment, index)?;
                    segments.try_push(segment).map_err(|_| ElfError::SegmentCount)?;
                }
                SEGMENT_DYNAMIC | SEGMENT_INTERPRETER => return Err(ElfError::NeedsInterpreter),
                _ => {}
            }
        }
        if segments.is_empty() {
            return Err(ElfError::SegmentCount);
        }
        let image = Self { entry: header.entry, segments };
        let is_entered = |segment: &Segment| {
            let bytes = segment.address..segment.address + segment.memory_size;
            bytes.contains(&image.entry) && segment.rights.contains(Rights::EXECUTE)
        };
        if image.segments.iter().any(is_entered) { Ok(image) } else { Err(ElfError::BadEntry) }
    }

    /// The segment that has bytes in the page around `address`.
    #[inline]
    pub fn segment(&self, address: Word) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.pages().contains(&address))
    }
}

fn check_pages(others: &[Segment], new: &Segment, index: usize) -> Result<(), ElfError> {
    let pages = new.pages();
    let shares =
        |other: &Segment| other.pages().start < pages.end && pages.start < other.pages().end;
    if others.iter().any(shares) { Err(ElfError::SharedPage(index)) } else { Ok(()) }
}

const MAGIC: &[u8] = b"\x7fELF";
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_DYNAMIC: u32 = 2;
const SEGMENT_INTERPRETER: u32 = 3;
const FLAG_EXECUTE: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_READ: u32 = 4;

/// Where the fields are, in a file of either class.
struct Layout {
    machine: u16,
    class: u8,
    word_size: usize,
    entry: usize,
    program_headers: usize,
    program_header_size: usize,
    program_header_count: usize,
    segment_flags: usize,
    segment_offset: usize,
    segment_address: usize,
    segment_file_size: usize,
    segment_memory_size: usize,
}

const CLASS_32: Layout = Layout {
    machine: 3,
    class: 1,
    word_size: 4,
    entry: 24,
    program_headers: 28,
    program_header_size: 42,
    program_header_count: 44,
    segment_flags: 24,
    segment_offset: 4,
    segment_address: 8,
    segment_file_size: 16,
    segment_memory_size: 20,
};

const CLASS_64: Layout = Layout {
    machine: 62,
    class: 2,
    word_size: 8,
    entry: 24,
    program_headers: 32,
    program_header_size: 54,
    program_header_count: 56,
    segment_flags: 4,
    segment_offset: 8,
    segment_address: 16,
    segment_file_size: 32,
    segment_memory_size: 40,
};

struct Header {
    layout: &'static Layout,
    entry: Word,
    program_headers: u64,
    program_header_size: u64,
    program_header_count: usize,
}

impl Header {
    fn read(file: &[u8], machine: Machine) -> Result<Self, ElfError> {
        if !file.starts_with(MAGIC) {
            return Err(ElfError::NotElf);
        }
        let layout = match machine {
            Machine::Ia32 => &CLASS_32,
            Machine::Amd64 => &CLASS_64,
        };
        let half = |offset| number(file, offset, 2).map(|value| value as u16);
        let word = |offset| number(file, offset, layout.word_size);
        let [.., class, endianness] = *file.get(..6).ok_or(ElfError::Truncated)? else {
            return Err(ElfError::Truncated);
        };
        if class != layout.class || endianness != LITTLE_ENDIAN || half(18)? != layout.machine {
            return Err(ElfError::WrongMachine);
        }
        if half(16)? != TYPE_EXECUTABLE {
            return Err(ElfError::NotStatic);
        }
        Ok(Self {
            layout,
            entry: Word::try_from(word(layout.entry)?).map_err(|_| ElfError::BadEntry)?,
            program_headers: word(layout.program_headers)?,
            program_header_size: half(layout.program_header_size)?.into(),
            program_header_count: half(layout.program_header_count)?.into(),
        })
    }

    fn program_header(&self, file: &[u8], index: usize) -> Result<ProgramHeader, ElfError> {
        // Both factors have 16 bits.
        let offset = self.program_headers.checked_add(self.program_header_size * index as u64);
        let start = offset.and_then(|offset| usize::try_from(offset).ok());
        let bytes = file.get(start.ok_or(ElfError::Truncated)?..).ok_or(ElfError::Truncated)?;
        let word = |offset| number(bytes, offset, self.layout.word_size);
        Ok(ProgramHeader {
            kind: number(bytes, 0, 4)? as u32,
            flags: number(bytes, self.layout.segment_flags, 4)? as u32,
            offset: word(self.layout.segment_offset)?,
            address: word(self.layout.segment_address)?,
            file_size: word(self.layout.segment_file_size)?,
            memory_size: word(self.layout.segment_memory_size)?,
        })
    }
}

struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

impl ProgramHeader {
    fn check(&self, index: usize, file: &[u8], area: &Range<Word>) -> Result<Segment, ElfError> {
        let bad = ElfError::BadSegment(index);
        let file_end = self.offset.checked_add(self.file_size).ok_or(bad)?;
        if file_end > file.len() as u64 {
            return Err(ElfError::Truncated);
        }
        let is_congruent = (self.offset ^ self.address).is_multiple_of(PAGE_SIZE as u64);
        let rights = self.rights();
        if self.file_size > self.memory_size || !is_congruent || rights.is_empty() {
            return Err(bad);
        }
        let address_end = self.address.checked_add(self.memory_size).ok_or(bad)?;
        if self.address < area.start as u64 || address_end > area.end as u64 {
            return Err(ElfError::OutsideArea(index));
        }
        // All are at most the area's end or the file's length.
        Ok(Segment {
            address: self.address as Word,
            memory_size: self.memory_size as Word,
            file_offset: self.offset as usize,
            file_size: self.file_size as usize,
            rights,
        })
    }

    fn rights(&self) -> Rights {
        let mut rights = Rights::empty();
        rights.set(Rights::EXECUTE, self.flags & FLAG_EXECUTE != 0);
        rights.set(Rights::WRITE, self.flags & FLAG_WRITE != 0);
        rights.set(Rights::READ, self.flags & FLAG_READ != 0);
        rights
    }
}

/// The little-endian number of `size` bytes (at most eight) at `offset`.
fn number(bytes: &[u8], offset: usize, size: usize) -> Result<u64, ElfError> {
    let field = bytes.get(offset..offset + size).ok_or(ElfError::Truncated)?;
    Ok(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const AREA: Range<Word> = 0x40_0000..0x800_0000;

    /// What a test image's program header says.
    #[derive(Clone, Copy)]
    pub(crate) struct Wanted {
        pub kind: u32,
        pub flags: u32,
        pub offset: u64,
        pub address: u64,
        pub file_size: u64,
        pub memory_size: u64,
    }

    pub(crate) const TEXT: Wanted = Wanted {
        kind: 1,
        flags: 5,
        offset: 0x1000,
        address: 0x40_0000,
        file_size: 0x1800,
        memory_size: 0x1800,
    };
    pub(crate) const DATA: Wanted = Wanted {
        kind: 1,
        flags: 6,
        offset: 0x3000,
        address: 0x40_2000,
        file_size: 0x234,
        memory_size: 0x3000,
    };

    /// A file of 16 KiB with these program headers.
    pub(crate) fn file(machine: Machine, entry: u64, segments: &[Wanted]) -> Vec<u8> {
        let layout = if machine == Machine::Amd64 { &CLASS_64 } else { &CLASS_32 };
        let mut file = vec![0; 0x4000];
        let mut put = |offset: usize, value: u64, size: usize| {
            file[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        };
        let (start, size, word) = (64, 56, layout.word_size);
        put(0, u32::from_le_bytes(*b"\x7fELF").into(), 4);
        put(4, layout.class.into(), 1);
        put(5, 1, 1);
        put(16, 2, 2);
        put(18, layout.machine.into(), 2);
        put(layout.entry, entry, word);
        put(layout.program_headers, start, word);
        put(layout.program_header_size, size, 2);
        put(layout.program_header_count, segments.len() as u64, 2);
        for (segment, at) in segments.iter().zip((start as usize..).step_by(size as usize)) {
            put(at, segment.kind.into(), 4);
            put(at + layout.segment_flags, segment.flags.into(), 4);
            put(at + layout.segment_offset, segment.offset, word);
            put(at + layout.segment_address, segment.address, word);
            put(at + layout.segment_file_size, segment.file_size, word);
            put(at + layout.segment_memory_size, segment.memory_size, word);
        }
        file
    }

    fn parse(segments: &[Wanted]) -> Result<Image, ElfError> {
        Image::parse(&file(Machine::Amd64, 0x40_0010, segments), Machine::Amd64, &AREA)
    }

    #[test]
    fn segments_of_both_classes_come_back() {
        for machine in [Machine::Ia32, Machine::Amd64] {
            let note = Wanted { kind: 4, flags: 0, ..TEXT };
            let empty = Wanted { memory_size: 0, file_size: 0, address: 0, ..TEXT };
            let file = file(machine, 0x40_0010, &[note, TEXT, empty, DATA]);
            let image = Image::parse(&file, machine, &AREA).unwrap();
            assert_eq!(image.entry, 0x40_0010);
            assert_eq!(image.segments.len(), 2);
            let data = image.segment(0x40_4fff).unwrap();
            assert_eq!((data.address, data.memory_size), (0x40_2000, 0x3000));
            assert_eq!((data.file_offset, data.file_size), (0x3000, 0x234));
            assert_eq!((data.rights, data.pages()), (Rights::READ_WRITE, 0x40_2000..0x40_5000));
            // The rest of a segment's last page belongs to it.
            assert_eq!(image.segment(0x40_1fff).unwrap().rights, Rights::READ_EXECUTE);
            assert_eq!(image.segment(0x40_5000), None);
        }
    }

    #[test]
    fn each_nonsense_has_its_error() {
        let cases: [(&[Wanted], ElfError); 14] = [
            (&[], ElfError::SegmentCount),
            (&[TEXT, Wanted { kind: 3, ..TEXT }], ElfError::NeedsInterpreter),
            (&[TEXT, Wanted { kind: 2, ..TEXT }], ElfError::NeedsInterpreter),
            (&[Wanted { flags: 6, ..TEXT }], ElfError::BadEntry),
            (&[Wanted { file_size: 0x10, memory_size: 0x10, ..TEXT }], ElfError::BadEntry),
            (&[DATA], ElfError::BadEntry),
            (&[TEXT, Wanted { flags: 0, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Wanted { memory_size: 0x100, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Wanted { offset: 0x3001, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Wanted { memory_size: u64::MAX, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Wanted { offset: !0xfff, ..DATA }], ElfError::Truncated),
            (&[TEXT, Wanted { file_size: 0x1001, ..DATA }], ElfError::Truncated),
            (&[TEXT, Wanted { address: 0x1000, ..DATA }], ElfError::OutsideArea(1)),
            (&[TEXT, Wanted { address: 0x40_1000, ..DATA }], ElfError::SharedPage(1)),
        ];
        for (segments, error) in cases {
            assert_eq!(parse(segments), Err(error));
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let good = file(Machine::Amd64, 0x40_0010, &[TEXT]);
        let parse = |file: &[u8]| Image::parse(file, Machine::Amd64, &AREA).err();
        assert_eq!(parse(&good), None);
        assert_eq!(parse(b""), Some(ElfError::NotElf));
        assert_eq!(parse(b"#!/bin/sh"), Some(ElfError::NotElf));
        assert_eq!(parse(&good[..40]), Some(ElfError::Truncated));
        assert_eq!(parse(&good[..100]), Some(ElfError::Truncated));
        let narrow = file(Machine::Ia32, 0x40_0010, &[TEXT]);
        assert_eq!(parse(&narrow), Some(ElfError::WrongMachine));
        let mut shared = good;
        shared[16] = 3;
        assert_eq!(parse(&shared), Some(ElfError::NotStatic));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_header_makes_it_panic_or_lie(
            changes in prop::collection::vec((0..64 + 2 * 56usize, any::<u8>()), 0..12),
            length in 0..0x4000usize,
        ) {
            for machine in [Machine::Ia32, Machine::Amd64] {
                let mut file = file(machine, 0x40_0010, &[TEXT, DATA]);
                for (place, value) in &changes {
                    file[*place] = *value;
                }
                for file in [&file[..], &file[..length]] {
                    let Ok(image) = Image::parse(file, machine, &AREA) else { continue };
                    for segment in &image.segments {
                        prop_assert!(segment.address >= AREA.start);
                        prop_assert!(segment.address + segment.memory_size <= AREA.end);
                        prop_assert!(segment.file_offset + segment.file_size <= file.len());
                        prop_assert!(segment.file_size <= segment.memory_size);
                    }
                }
            }
        }
    }
}
