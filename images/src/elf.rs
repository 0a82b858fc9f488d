//! Static x86 ELF executables: the kernel, the two tasks that it starts, and programs.
//!
//! [`Executable`] is what all of them have in common, [`Image`] is one as its pager sees it: which bytes
//! of the file stand behind which pages.
//!
//! The headers themselves are read by the library `elf`: it has no unsafe code, needs neither memory nor
//! alignment, checks each offset, and has one type for both classes. `object`, by which `glass` looks up
//! symbols, cannot read without a heap; the tests hold the one against the other. Of `goblin` and
//! `linux-loader` the same is true: both make lists of what they read.

use crate::Architecture;
use arrayvec::ArrayVec;
use core::ops::Range;
use elf::{
    ElfBytes, ParseError,
    abi::{ELFMAGIC, ET_EXEC, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE},
    endian::LittleEndian,
    file::Class,
    note::{Note, NoteIterator},
    segment::{ProgramHeader, SegmentTable},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    boot::ModuleKind,
    flexpage::{Rights, align_down},
    layout::{MAPPABLE_END, PAGER_AREA, PROGRAM_BASE, ROOT_TASK_BASE, SIGMA0_BASE},
};
use thiserror::Error;

/// The most segments that an image can have.
pub const MAX_SEGMENTS: usize = 8;

/// Why a file is not an executable that can run in the guest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    /// The magic number is missing.
    #[error("it is not an ELF file; build it for {}", .0.target())]
    NotElf(Architecture),
    /// Too short for what its headers say.
    #[error("it is truncated: its headers name bytes beyond its end; build or copy it again")]
    Truncated,
    /// Neither 32-bit nor 64-bit, or big-endian.
    #[error(
        "it is not a {}-bit little-endian ELF file; build it for {}",
        .0.word_bits(), .0.target()
    )]
    WrongClass(Architecture),
    /// The other architecture's.
    #[error(
        "it is for {image}, but this guest is {wanted}: \
         use --arch {image}, or build it for {}", .wanted.target()
    )]
    OtherArchitecture {
        /// What it is built for.
        image: Architecture,
        /// What it should be built for.
        wanted: Architecture,
    },
    /// Another processor's.
    #[error(
        "it is for another processor (ELF machine {machine}, not {}, {wanted}); build it for {}",
        .wanted.elf_machine(), .wanted.target()
    )]
    WrongMachine {
        /// The number in its header.
        machine: u16,
        /// What it should be built for.
        wanted: Architecture,
    },
    /// An object file, a shared library, or position-independent.
    #[error(
        "it is not linked to a fixed address; link it statically, without PIE, \
         with -C relocation-model=static"
    )]
    NotFixed,
    /// Needs a dynamic linker.
    #[error("it needs a dynamic linker, which the guest does not have; link it statically")]
    Dynamic,
    /// Nothing to load.
    #[error("it has no segment to load; check its linker script")]
    NoSegments,
    /// More than there is room for.
    #[error("it has {count} segments to load: {} at most {}", .rules.who_has, .rules.most_segments)]
    TooManySegments {
        /// How many it has.
        count: usize,
        /// What it would have to keep to.
        rules: Rules,
    },
    /// The program header of this number asks for what cannot be.
    #[error(
        "its program header {0} makes no sense: a segment has some right, and no more bytes in the \
         file than in memory"
    )]
    BadSegment(usize),
    /// More notes than an executable has: reading them would take long.
    #[error(
        "its note headers name {named} bytes, more than the {length} bytes of the file: they overlap; link \
         it again"
    )]
    OverlappingNotes {
        /// Bytes that the headers of notes name, all together.
        named: u64,
        /// The file's length in bytes.
        length: u64,
    },
    /// Its pages could not be mapped as they are.
    #[error(
        "the segment at {0:#x} lies in the file at an offset that is not congruent to its address \
         modulo {PAGE_SIZE}; link with -z max-page-size={PAGE_SIZE}"
    )]
    NotCongruent(u64),
    /// Two segments with rights of their own in one page.
    #[error(
        "two segments share the page at {0:#x}; align each segment to {PAGE_SIZE} in the linker script"
    )]
    SharedPage(u64),
    /// Not in the user area, or where a program's pager, heap, files and stack are.
    #[error(
        "the segment at {start:#x} does not lie between {:#x} and {:#x}; link it at {:#x}",
        .area.start, .area.end, PROGRAM_BASE.max(.area.start)
    )]
    OutOfPlace {
        /// Where it begins.
        start: u64,
        /// Where images must lie.
        area: Range<Word>,
    },
    /// It has no pager that could fill pages.
    #[error(
        "the segment at {0:#x} is not made of whole pages of the file, as those of sigma0 and the \
         root task must be; align it to {PAGE_SIZE}, in memory and in the file, and write out its zeros"
    )]
    NotWholePages(u64),
    /// The entry point is nowhere.
    #[error("its entry point {0:#x} is in no executable segment; check ENTRY in its linker script")]
    BadEntry(u64),
}

/// What images must be like for whoever pages them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who has such images, for people.
    pub who_has: &'static str,
    /// Where they lie.
    pub area: Range<Word>,
    /// How many segments they have, at most [`MAX_SEGMENTS`].
    pub most_segments: usize,
    /// Whether all of their memory is in the file, in whole pages.
    pub whole_pages: bool,
}

impl Rules {
    /// Programs: the root task, or a pager of their own, makes their pages.
    pub const PROGRAM: Self = Self {
        who_has: "a program has",
        area: PROGRAM_BASE..PAGER_AREA,
        most_segments: MAX_SEGMENTS,
        whole_pages: false,
    };

    /// sigma0: the kernel maps it as it lies in the bundle. It copies nothing and clears nothing.
    pub const SIGMA0: Self = Self {
        who_has: "sigma0 has",
        area: SIGMA0_BASE..MAPPABLE_END,
        most_segments: 6,
        whole_pages: true,
    };

    /// The root task: sigma0 maps it in the same way, where sigma0 has no other memory of its own.
    pub const ROOT_TASK: Self =
        Self { who_has: "the root task has", area: ROOT_TASK_BASE..SIGMA0_BASE, ..Self::SIGMA0 };

    /// Those for the image in a module. A file has none of its own.
    pub const fn of(kind: ModuleKind) -> &'static Self {
        match kind {
            ModuleKind::Sigma0 => &Self::SIGMA0,
            ModuleKind::RootTask => &Self::ROOT_TASK,
            ModuleKind::Program | ModuleKind::File => &Self::PROGRAM,
        }
    }
}

/// An executable of a known architecture whose segments and notes lie within the file.
#[derive(Clone, Copy, Debug)]
pub struct Executable<'a> {
    /// Address of the first instruction.
    pub entry: u64,
    /// The whole file.
    pub bytes: &'a [u8],
    headers: SegmentTable<'a, LittleEndian>,
}

/// A segment to be loaded, as its header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSegment<'a> {
    /// Number of its program header.
    pub header: usize,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// First virtual address.
    pub address: u64,
    /// First physical address.
    pub physical_address: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// What it may be used for.
    pub rights: Rights,
    /// Its bytes in the file. The rest of its memory is zero.
    pub contents: &'a [u8],
}

/// Whether `bytes` begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&ELFMAGIC)
}

impl<'a> Executable<'a> {
    /// Checks the headers.
    pub fn parse(bytes: &'a [u8], wanted: Architecture) -> Result<Self, ElfError> {
        if !is_elf(bytes) {
            return Err(ElfError::NotElf(wanted));
        }
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|error| match error {
            ParseError::UnsupportedElfClass(_)
            | ParseError::UnsupportedElfEndianness(_)
            | ParseError::UnsupportedVersion(_) => ElfError::WrongClass(wanted),
            _ => ElfError::Truncated,
        })?;
        let bits = if file.ehdr.class == Class::ELF32 { 32 } else { 64 };
        check_machine(file.ehdr.e_machine, bits, wanted)?;
        if file.ehdr.e_type != ET_EXEC {
            return Err(ElfError::NotFixed);
        }
        let headers = file.segments().ok_or(ElfError::NoSegments)?;
        if headers.iter().any(|header| matches!(header.p_type, PT_INTERP | PT_DYNAMIC)) {
            return Err(ElfError::Dynamic);
        }
        let is_used = |header: &ProgramHeader| is_loaded(header) || header.p_type == PT_NOTE;
        if headers.iter().any(|header| is_used(&header) && contents(bytes, &header).is_none()) {
            return Err(ElfError::Truncated);
        }
        let executable = Self { entry: file.ehdr.e_entry, bytes, headers };
        executable.check_notes()?;
        if executable.segments().next().is_none() {
            return Err(ElfError::NoSegments);
        }
        match executable.segments().find(|each| each.contents.len() as u64 > each.memory_size) {
            Some(segment) => Err(ElfError::BadSegment(segment.header)),
            None => Ok(executable),
        }
    }

    /// The segments to be loaded, in the file's order.
    pub fn segments(&self) -> impl Iterator<Item = LoadSegment<'a>> {
        let file = self.bytes;
        let loaded = self.headers.iter().enumerate().filter(|(_, header)| is_loaded(header));
        loaded.map(move |(number, header)| LoadSegment {
            header: number,
            offset: header.p_offset,
            address: header.p_vaddr,
            physical_address: header.p_paddr,
            memory_size: header.p_memsz,
            // ELF has execute, write and read in the bits where rights have them.
            rights: Rights::from_bits_truncate(header.p_flags as u8),
            contents: contents(file, &header).unwrap_or_default(),
        })
    }

    /// That all notes are read in a time in proportion to the file: no byte is named often.
    fn check_notes(&self) -> Result<(), ElfError> {
        let length = self.bytes.len() as u64;
        // Each is at most the file's length, and the headers lie in the file.
        let named = self.note_segments().map(|data| data.len() as u64).sum();
        if named > length { Err(ElfError::OverlappingNotes { named, length }) } else { Ok(()) }
    }

    /// What the headers of notes name.
    fn note_segments(&self) -> impl Iterator<Item = &'a [u8]> {
        let file = self.bytes;
        let headers = self.headers.iter().filter(|header| header.p_type == PT_NOTE);
        headers.filter_map(move |header| contents(file, &header))
    }

    fn notes(&self) -> impl Iterator<Item = Note<'a>> {
        // Boot loaders read notes with this alignment, whatever the header says.
        const ALIGNMENT: usize = 4;
        self.note_segments()
            .flat_map(|data| NoteIterator::new(LittleEndian, Class::ELF32, ALIGNMENT, data))
    }

    /// The contents of the first note with this owner and type.
    pub fn note(&self, owner: &str, kind: u32) -> Option<&'a [u8]> {
        self.notes().find_map(|note| match note {
            Note::Unknown(note)
                if note.name.strip_suffix(b"\0") == Some(owner.as_bytes())
                    && note.n_type == kind.into() =>
            {
                Some(note.desc)
            }
            _ => None,
        })
    }
}

fn is_loaded(header: &ProgramHeader) -> bool {
    header.p_type == PT_LOAD && header.p_memsz > 0
}

/// The bytes of a segment that are in the file, if they all are.
fn contents<'a>(file: &'a [u8], header: &ProgramHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(header.p_offset).ok()?;
    let end = start.checked_add(usize::try_from(header.p_filesz).ok()?)?;
    file.get(start..end)
}

fn check_machine(machine: u16, bits: u32, wanted: Architecture) -> Result<(), ElfError> {
    let is = |known: &Architecture| known.elf_machine() == machine && known.word_bits() == bits;
    match Architecture::ALL.into_iter().find(is) {
        Some(image) if image == wanted => Ok(()),
        Some(image) => Err(ElfError::OtherArchitecture { image, wanted }),
        None if machine == wanted.elf_machine() => Err(ElfError::WrongClass(wanted)),
        None => Err(ElfError::WrongMachine { machine, wanted }),
    }
}

/// A piece of an image's memory. Address and file offset are congruent modulo the page size.
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
    fn check(segment: &LoadSegment<'_>, rules: &Rules) -> Result<Self, ElfError> {
        let start = segment.address;
        if segment.rights.is_empty() {
            return Err(ElfError::BadSegment(segment.header));
        }
        let end = start.checked_add(segment.memory_size);
        let fits = end.is_some_and(|end| end <= rules.area.end as u64);
        if start < rules.area.start as u64 || !fits {
            return Err(ElfError::OutOfPlace { start, area: rules.area.clone() });
        }
        // All are at most the area's end or the file's length.
        let checked = Self {
            address: start as Word,
            memory_size: segment.memory_size as Word,
            file_offset: segment.offset as usize,
            file_size: segment.contents.len(),
            rights: segment.rights,
        };
        if !(checked.address ^ checked.file_offset).is_multiple_of(PAGE_SIZE) {
            return Err(ElfError::NotCongruent(start));
        }
        let is_whole =
            checked.address.is_multiple_of(PAGE_SIZE) && checked.file_size == checked.memory_size;
        if rules.whole_pages && !is_whole {
            Err(ElfError::NotWholePages(start))
        } else {
            Ok(checked)
        }
    }

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
    /// Reads the headers of `file`, which must be for `wanted` and keep to the rules.
    pub fn parse(file: &[u8], wanted: Architecture, rules: &Rules) -> Result<Self, ElfError> {
        let executable = Executable::parse(file, wanted)?;
        let mut segments = ArrayVec::<Segment, MAX_SEGMENTS>::new();
        for segment in executable.segments() {
            let segment = Segment::check(&segment, rules)?;
            let pages = segment.pages();
            let others = segments.iter().map(Segment::pages);
            let mut shared =
                others.filter(|other| other.start < pages.end && pages.start < other.end);
            if let Some(other) = shared.next() {
                return Err(ElfError::SharedPage(other.start.max(pages.start) as u64));
            }
            if segments.len() == rules.most_segments || segments.try_push(segment).is_err() {
                let count = executable.segments().count();
                return Err(ElfError::TooManySegments { count, rules: rules.clone() });
            }
        }
        // Where all segments are, an entry point beyond a word is not.
        let entry = executable.entry;
        let is_entered = |segment: &Segment| {
            let start = segment.address as u64;
            let bytes = start..start + segment.memory_size as u64;
            bytes.contains(&entry) && segment.rights.contains(Rights::EXECUTE)
        };
        match segments.iter().any(is_entered) {
            true => Ok(Self { entry: entry as Word, segments }),
            false => Err(ElfError::BadEntry(entry)),
        }
    }

    /// The segment that has bytes in the page around `address`.
    #[inline]
    pub fn segment(&self, address: Word) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.pages().contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{DATA, Sample, Segment, TEXT, note, segment};
    use object::{
        elf::{FileHeader32, FileHeader64},
        read::elf::{FileHeader, ProgramHeader as _},
    };
    use proptest::prelude::*;
    use std::collections::HashSet;

    const AMD64: Architecture = Architecture::Amd64;
    const IA32: Architecture = Architecture::Ia32;

    fn refusal(sample: &Sample) -> ElfError {
        Executable::parse(&sample.bytes(), sample.architecture)
            .expect_err("a broken file was accepted")
    }

    #[test]
    fn a_static_program_is_accepted() {
        for architecture in Architecture::ALL {
            let bytes = Sample::program_for(architecture).bytes();
            let executable = Executable::parse(&bytes, architecture).unwrap();
            assert_eq!(executable.entry, 0x40_0000);
            let [text] = executable.segments().collect::<Vec<_>>()[..] else { panic!() };
            assert_eq!((text.header, text.offset, text.address), (0, 0x1000, 0x40_0000));
            assert_eq!((text.memory_size, text.rights), (0x1000, Rights::READ_EXECUTE));
            assert_eq!(text.contents, [0x90; 0x1000]);
        }
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        for wanted in Architecture::ALL {
            let sample = Sample::program_for(wanted);
            let parse = |bytes: &[u8]| Executable::parse(bytes, wanted).unwrap_err();
            assert_eq!(parse(b"#!/bin/sh"), ElfError::NotElf(wanted));
            assert_eq!(parse(b""), ElfError::NotElf(wanted));
            let machine = Sample { machine: 183, ..sample.clone() };
            assert_eq!(refusal(&machine), ElfError::WrongMachine { machine: 183, wanted });
            assert_eq!(refusal(&Sample { kind: 3, ..sample.clone() }), ElfError::NotFixed);
            assert_eq!(refusal(&Sample { kind: 1, ..sample.clone() }), ElfError::NotFixed);
            for kind in [2, 3] {
                let mut dynamic = sample.clone();
                dynamic.segments.push(Segment { kind, ..TEXT });
                assert_eq!(refusal(&dynamic), ElfError::Dynamic);
            }
            let empty = Sample { segments: vec![], ..sample.clone() };
            assert_eq!(refusal(&empty), ElfError::NoSegments);
            let mut big_endian = sample.bytes();
            big_endian[5] = 2;
            assert_eq!(parse(&big_endian), ElfError::WrongClass(wanted));
            let mut no_class = sample.bytes();
            no_class[4] = 3;
            assert_eq!(parse(&no_class), ElfError::WrongClass(wanted));
        }
    }

    #[test]
    fn the_other_architecture_is_named_with_both_ways_out() {
        for (wanted, image) in [(AMD64, IA32), (IA32, AMD64)] {
            let bytes = Sample::program_for(image).bytes();
            let error = Executable::parse(&bytes, wanted).unwrap_err();
            assert_eq!(error, ElfError::OtherArchitecture { image, wanted });
        }
        assert_eq!(
            ElfError::OtherArchitecture { image: AMD64, wanted: IA32 }.to_string(),
            "it is for amd64, but this guest is ia32: use --arch amd64, \
             or build it for i586-unknown-linux-gnu"
        );
    }

    /// As x86-64's variant with 32-bit pointers has it.
    #[test]
    fn a_machine_in_files_of_the_wrong_class_is_refused() {
        for wanted in Architecture::ALL {
            let other = Architecture::ALL.into_iter().find(|other| *other != wanted).unwrap();
            let mixed =
                Sample { machine: wanted.elf_machine(), ..Sample::program_for(other) }.bytes();
            assert_eq!(
                Executable::parse(&mixed, wanted).unwrap_err(),
                ElfError::WrongClass(wanted)
            );
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for architecture in Architecture::ALL {
            let bytes = Sample::program_for(architecture).bytes();
            for length in 0..bytes.len() {
                let error = Executable::parse(&bytes[..length], architecture)
                    .expect_err("cut, but accepted");
                let no_magic = ElfError::NotElf(architecture);
                let expected = if length < 4 { no_magic } else { ElfError::Truncated };
                assert_eq!(error, expected, "cut to {length} bytes");
            }
        }
    }

    #[test]
    fn notes_are_found_by_owner_and_type() {
        for architecture in Architecture::ALL {
            let mut sample = Sample::program_for(architecture);
            sample.notes = [note("GNU", 1, &[1; 16]), note("Glasspager", 1, &[7; 8])].concat();
            let bytes = sample.bytes();
            let executable = Executable::parse(&bytes, architecture).unwrap();
            assert_eq!(executable.note("Glasspager", 1), Some([7; 8].as_slice()));
            assert_eq!(executable.note("Glasspager", 2), None);
            assert_eq!(executable.note("Xen", 18), None);
        }
    }

    /// As many headers as there are can name the same notes.
    #[test]
    fn no_more_notes_are_read_than_the_file_has_room_for() {
        let smallest = note("", 0, &[]);
        let notes = smallest.repeat(0x1000 / smallest.len());
        for architecture in Architecture::ALL {
            let size = notes.len() as u64;
            let header = Segment { kind: 4, ..segment(0x2000, 0, size, false) };
            let (mut taken, mut refused) = (0, 0);
            for count in 0..40 {
                let segments =
                    [vec![segment(0x1000, 0x40_0000, 0x1000, true)], vec![header; count]];
                let sample = Sample::with(architecture, &segments.concat());
                let code = [&[0x90; 0x1000], &*notes].concat();
                let bytes = Sample { code, ..sample }.bytes();
                match Executable::parse(&bytes, architecture) {
                    Ok(executable) => {
                        let read = executable.notes().count();
                        assert_eq!(read, count * notes.len() / smallest.len());
                        assert!(read * smallest.len() <= bytes.len(), "{read} notes");
                        taken += 1;
                    }
                    Err(error) => {
                        let (named, length) = (count as u64 * size, bytes.len() as u64);
                        assert_eq!(error, ElfError::OverlappingNotes { named, length });
                        refused += 1;
                    }
                }
            }
            assert!(taken > 1 && refused > 30, "{taken} taken, {refused} refused");
        }
    }

    #[test]
    fn no_segment_has_more_bytes_in_the_file_than_in_memory() {
        for architecture in Architecture::ALL {
            let large = Segment { memory_size: 0x17ff, ..TEXT };
            let sample = Sample::with(architecture, &[TEXT, large]);
            assert_eq!(refusal(&sample), ElfError::BadSegment(1));
        }
    }

    fn image(segments: &[Segment]) -> Result<Image, ElfError> {
        let sample = Sample { length: Some(0x4000), ..Sample::with(AMD64, segments) };
        Image::parse(&sample.bytes(), AMD64, &Rules::PROGRAM)
    }

    #[test]
    fn segments_of_both_classes_come_back() {
        for architecture in Architecture::ALL {
            let note = Segment { kind: 4, flags: 0, ..TEXT };
            let empty = Segment { memory_size: 0, file_size: 0, address: 0, ..TEXT };
            let file = Sample::with(architecture, &[note, TEXT, empty, DATA]).bytes();
            let image = Image::parse(&file, architecture, &Rules::PROGRAM).unwrap();
            assert_eq!((image.entry, image.segments.len()), (0x40_0000, 2));
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
        let area = Rules::PROGRAM.area;
        let out_of_place = |start| ElfError::OutOfPlace { start, area: area.clone() };
        let cases: [(&[Segment], ElfError); 14] = [
            (&[], ElfError::NoSegments),
            (&[Segment { flags: 6, ..TEXT }], ElfError::BadEntry(0x40_0000)),
            (&[Segment { address: 0x40_1000, ..TEXT }], ElfError::BadEntry(0x40_0000)),
            (&[DATA], ElfError::BadEntry(0x40_0000)),
            (&[TEXT, Segment { flags: 0, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Segment { memory_size: 0x100, ..DATA }], ElfError::BadSegment(1)),
            (&[TEXT, Segment { offset: 0x3001, ..DATA }], ElfError::NotCongruent(0x40_2000)),
            (&[TEXT, Segment { memory_size: u64::MAX, ..DATA }], out_of_place(0x40_2000)),
            (&[TEXT, Segment { offset: !0xfff, ..DATA }], ElfError::Truncated),
            (&[TEXT, Segment { file_size: 0x1001, ..DATA }], ElfError::Truncated),
            (&[TEXT, Segment { offset: 0x5000, file_size: 0, ..DATA }], ElfError::Truncated),
            (&[TEXT, Segment { address: 0x1000, ..DATA }], out_of_place(0x1000)),
            (&[TEXT, Segment { address: 0x40_1000, ..DATA }], ElfError::SharedPage(0x40_1000)),
            (
                &[TEXT; 9].map(at_page_of_its_own(0x40_0000)),
                ElfError::TooManySegments { count: 9, rules: Rules::PROGRAM },
            ),
        ];
        for (segments, error) in cases {
            assert_eq!(image(segments), Err(error));
        }
    }

    /// Makes segments follow each other from an address on.
    fn at_page_of_its_own(start: u64) -> impl FnMut(Segment) -> Segment {
        let mut addresses = (start..).step_by(0x2000);
        move |segment| Segment { address: addresses.next().unwrap(), ..segment }
    }

    #[test]
    fn sigma0_and_the_root_task_are_whole_pages_of_the_file_in_areas_of_their_own() {
        for rules in [Rules::SIGMA0, Rules::ROOT_TASK] {
            let parse = |segment: Segment| {
                let sample = Sample { entry: segment.address, ..Sample::with(AMD64, &[segment]) };
                Image::parse(&sample.bytes(), AMD64, &rules)
            };
            let base = rules.area.start;
            let [start, end] = [base as u64, rules.area.end as u64];
            let text = Segment { address: start, ..TEXT };
            let good = parse(text).unwrap().segments[0];
            assert_eq!(
                (good.pages(), good.file_page(base + 0x1000)),
                (base..base + 0x2000, 0x2000)
            );
            let whole = ElfError::NotWholePages;
            let out = |start| ElfError::OutOfPlace { start, area: rules.area.clone() };
            for (bad, error) in [
                (Segment { memory_size: 0x1801, ..text }, whole(start)),
                (Segment { offset: 0x1010, address: start + 0x10, ..text }, whole(start + 0x10)),
                (Segment { offset: 0x1001, ..text }, ElfError::NotCongruent(start)),
                (Segment { address: end, ..text }, out(end)),
                (Segment { address: start - 0x1000, ..text }, out(start - 0x1000)),
                (Segment { address: !0xfff, ..text }, out(!0xfff)),
            ] {
                assert_eq!(parse(bad), Err(error));
            }
            let segments = [TEXT; 7].map(at_page_of_its_own(start));
            let sample = Sample { entry: start, ..Sample::with(AMD64, &segments) };
            let error = ElfError::TooManySegments { count: 7, rules: rules.clone() };
            assert_eq!(Image::parse(&sample.bytes(), AMD64, &rules), Err(error));
        }
    }

    /// What another library reads in a file that was taken.
    fn read_again<H: FileHeader<Endian = object::LittleEndian>>(
        file: &[u8],
    ) -> (u64, Vec<LoadSegment<'_>>) {
        let endian = object::LittleEndian;
        let header = H::parse(file).unwrap();
        let headers = header.program_headers(endian, file).unwrap();
        let segments = headers.iter().enumerate().map(|(number, header)| LoadSegment {
            header: number,
            offset: header.p_offset(endian).into(),
            address: header.p_vaddr(endian).into(),
            physical_address: header.p_paddr(endian).into(),
            memory_size: header.p_memsz(endian).into(),
            rights: Rights::from_bits_truncate(header.p_flags(endian).0 as u8),
            contents: header.data(endian, file).unwrap_or_default(),
        });
        let is_loaded = |segment: &LoadSegment<'_>| {
            headers[segment.header].p_type(endian) == object::elf::PT_LOAD
                && segment.memory_size > 0
        };
        (header.e_entry(endian).into(), segments.filter(is_loaded).collect())
    }

    /// What may be true of the segments of a program, said once more, page by page.
    fn can_be_paged(file: u64, segments: &[Segment], entry: u64, rules: &Rules) -> bool {
        let area = rules.area.start as u64..rules.area.end as u64;
        let mut pages = HashSet::new();
        let mut is_entered = false;
        for each in segments.iter().filter(|each| each.memory_size > 0) {
            let memory = each.address as u128..each.address as u128 + each.memory_size as u128;
            let fits = memory.start >= area.start.into() && memory.end <= area.end.into();
            let is_there = each.offset as u128 + each.file_size as u128 <= file.into();
            let is_congruent = each.offset % 0x1000 == each.address % 0x1000;
            let is_whole = each.address % 0x1000 == 0 && each.file_size == each.memory_size;
            let sane = each.file_size <= each.memory_size && each.flags & 7 != 0;
            if !(fits && is_there && is_congruent && sane && (is_whole || !rules.whole_pages)) {
                return false;
            }
            is_entered |= each.flags & 1 != 0 && memory.contains(&entry.into());
            if !(memory.start >> 12..=(memory.end - 1) >> 12).all(|page| pages.insert(page)) {
                return false;
            }
        }
        is_entered
    }

    fn any_segment() -> impl Strategy<Value = Segment> {
        let place = prop_oneof![
            20 => (0x3ff..0x420u64).prop_map(|page| page << 12),
            4 => 0x3f_f000..0x42_0000u64,
            1 => prop::sample::select(vec![0x7ff_f000, 0xbfff_f000]),
            1 => any::<u64>(),
        ];
        let size = || prop_oneof![20 => 0..0x2000u64, 4 => Just(0x1000u64), 1 => any::<u64>()];
        let shift = prop_oneof![12 => Just(0u64), 1 => 0..0x1000u64];
        let flags = prop_oneof![4 => Just(5u32), 1 => 0..8u32];
        (flags, place, shift, size(), prop::option::weighted(0.2, size())).prop_map(
            |(flags, address, shift, size, memory_size)| Segment {
                flags,
                memory_size: memory_size.unwrap_or(size),
                ..segment(0x1000 + address % 0x1000 + shift, address, size, false)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// The reader against what the rules say, on segments of which many make sense.
        #[test]
        fn images_are_taken_if_and_only_if_they_can_be_paged(
            segments in prop::collection::vec(any_segment(), 1..4),
            inside in 0..0x1000u64,
            whole_pages in any::<bool>(),
        ) {
            let rules = Rules { whole_pages, ..Rules::PROGRAM };
            for architecture in Architecture::ALL {
                let mask = u64::MAX >> (64 - architecture.word_bits());
                let narrow = segments.iter().map(|each| Segment {
                    offset: each.offset & mask,
                    address: each.address & mask,
                    file_size: each.file_size & mask,
                    memory_size: each.memory_size & mask,
                    ..*each
                });
                let segments: Vec<_> = narrow.collect();
                let entry = segments[0].address.saturating_add(inside) & mask;
                let sample = Sample::with(architecture, &segments);
                let mut file = Sample { entry, length: Some(0x4000), ..sample }.bytes();
                // The notes begin where the last segment ends, which need not be in the file.
                let [start, size] = if architecture == AMD64 { [64, 56] } else { [52, 32] };
                file[start + size * segments.len()] = 0;
                let taken = Image::parse(&file, architecture, &rules);
                let expected = can_be_paged(0x4000, &segments, entry, &rules);
                prop_assert_eq!(taken.is_ok(), expected, "{:?}", taken);
            }
        }

        #[test]
        fn no_header_makes_it_panic_or_lie(
            changes in prop::collection::vec((0..64 + 2 * 56usize, any::<u8>()), 0..12),
            length in 0..0x4000usize,
        ) {
            for architecture in Architecture::ALL {
                let mut file = Sample::with(architecture, &[TEXT, DATA]).bytes();
                for (place, value) in &changes {
                    file[*place] = *value;
                }
                for file in [&file[..], &file[..length.min(file.len())]] {
                    if let Ok(executable) = Executable::parse(file, architecture) {
                        executable.note("Xen", 18);
                        let entry_and_segments = match architecture {
                            Architecture::Amd64 => read_again::<FileHeader64<_>>(file),
                            Architecture::Ia32 => read_again::<FileHeader32<_>>(file),
                        };
                        let segments = executable.segments().collect();
                        prop_assert_eq!(entry_and_segments, (executable.entry, segments));
                    }
                    let rules = Rules::PROGRAM;
                    let Ok(image) = Image::parse(file, architecture, &rules) else { continue };
                    for segment in &image.segments {
                        prop_assert!(segment.address >= rules.area.start);
                        prop_assert!(segment.address + segment.memory_size <= rules.area.end);
                        prop_assert!(segment.file_offset + segment.file_size <= file.len());
                        prop_assert!(segment.file_size <= segment.memory_size);
                    }
                }
            }
        }
    }
}
