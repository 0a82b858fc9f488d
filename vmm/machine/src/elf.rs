//! What kernel and programs have in common: static x86 ELF executables of one architecture.

use crate::Architecture;
use object::{
    LittleEndian,
    elf::{ET_EXEC, FileHeader32, FileHeader64, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE},
    read::elf::{FileHeader, NoteIterator, ProgramHeader},
};
use thiserror::Error;

/// Why a file is not an executable that can run in the guest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
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
    /// The entry point is nowhere.
    #[error("its entry point {0:#x} is in no executable segment; check ENTRY in its linker script")]
    BadEntry(u64),
}

/// An executable whose headers and segments lie within the file.
#[derive(Debug)]
pub struct Executable<'a> {
    pub bytes: &'a [u8],
    pub entry: u64,
    /// The segments to be loaded.
    pub segments: Vec<Segment>,
    notes: Vec<Note<'a>>,
}

/// A segment to be loaded. Its part of the file lies within the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub virtual_address: u64,
    pub physical_address: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub executable: bool,
}

#[derive(Debug)]
struct Note<'a> {
    owner: &'a [u8],
    kind: u32,
    content: &'a [u8],
}

const MAGIC: &[u8] = b"\x7fELF";
const ENDIAN: LittleEndian = LittleEndian;

/// Where the header says 1 for 32 bits and 2 for 64.
const CLASS: usize = 4;

/// Whether `bytes` begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Executable<'a> {
    /// Checks the headers.
    pub fn parse(bytes: &'a [u8], wanted: Architecture) -> Result<Self, ElfError> {
        if !is_elf(bytes) {
            return Err(ElfError::NotElf(wanted));
        }
        match bytes.get(CLASS) {
            None => Err(ElfError::Truncated),
            Some(1) => parse::<FileHeader32<LittleEndian>>(bytes, wanted, 32),
            Some(2) => parse::<FileHeader64<LittleEndian>>(bytes, wanted, 64),
            Some(_) => Err(ElfError::WrongClass(wanted)),
        }
    }

    /// The contents of the first note with this owner and type.
    pub fn note(&self, owner: &str, kind: u32) -> Option<&'a [u8]> {
        let is_meant = |note: &&Note<'_>| note.owner == owner.as_bytes() && note.kind == kind;
        self.notes.iter().find(is_meant).map(|note| note.content)
    }
}

/// Checks the headers of a file with words of this many bits.
fn parse<H>(bytes: &[u8], wanted: Architecture, bits: u32) -> Result<Executable<'_>, ElfError>
where
    H: FileHeader<Endian = LittleEndian>,
    H::Word: From<u32>,
{
    if bytes.len() < size_of::<H>() {
        return Err(ElfError::Truncated);
    }
    let header = H::parse(bytes).map_err(|_| ElfError::WrongClass(wanted))?;
    if !header.is_little_endian() {
        return Err(ElfError::WrongClass(wanted));
    }
    check_machine(header.e_machine(ENDIAN).0, bits, wanted)?;
    if header.e_type(ENDIAN) != ET_EXEC {
        return Err(ElfError::NotFixed);
    }
    let headers = header.program_headers(ENDIAN, bytes).map_err(|_| ElfError::Truncated)?;
    let entry = header.e_entry(ENDIAN).into();
    let mut executable = Executable { bytes, entry, segments: Vec::new(), notes: Vec::new() };
    for header in headers {
        let kind = header.p_type(ENDIAN);
        if matches!(kind, PT_INTERP | PT_DYNAMIC) {
            return Err(ElfError::Dynamic);
        }
        let data = || header.data(ENDIAN, bytes).map_err(|()| ElfError::Truncated);
        match kind {
            PT_LOAD if header.p_memsz(ENDIAN).into() > 0 => {
                data()?;
                executable.segments.push(segment::<H>(header));
            }
            PT_NOTE => executable.notes.extend(notes::<H>(data()?)),
            _ => {}
        }
    }
    match executable.segments.is_empty() {
        true => Err(ElfError::NoSegments),
        false => Ok(executable),
    }
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

fn segment<H: FileHeader<Endian = LittleEndian>>(header: &H::ProgramHeader) -> Segment {
    Segment {
        offset: header.p_offset(ENDIAN).into(),
        virtual_address: header.p_vaddr(ENDIAN).into(),
        physical_address: header.p_paddr(ENDIAN).into(),
        file_size: header.p_filesz(ENDIAN).into(),
        memory_size: header.p_memsz(ENDIAN).into(),
        executable: header.p_flags(ENDIAN).contains(PF_X),
    }
}

/// The notes of a segment, up to the first one that is broken. Boot loaders read notes with this
/// alignment, whatever the header says.
fn notes<'a, H>(data: &'a [u8]) -> impl Iterator<Item = Note<'a>>
where
    H: FileHeader<Endian = LittleEndian> + 'a,
    H::Word: From<u32>,
{
    const ALIGNMENT: u32 = 4;
    let notes = NoteIterator::<'a, H>::new(ENDIAN, ALIGNMENT.into(), data).into_iter().flatten();
    notes.map_while(Result::ok).map(|note| Note {
        owner: note.name(),
        kind: note.n_type(ENDIAN).0,
        content: note.desc(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A hand-made ELF file: the tests of this room break it in all ways.
    #[derive(Clone, Debug)]
    pub struct Sample {
        pub architecture: Architecture,
        pub machine: u16,
        pub kind: u16,
        pub entry: u64,
        pub segments: Vec<Segment>,
        pub notes: Vec<u8>,
        pub interpreter: bool,
        /// What lies at offset 0x1000; the rest is NOPs.
        pub code: Vec<u8>,
    }

    impl Sample {
        /// A program of one page of code.
        pub fn program() -> Self {
            Self::program_for(Architecture::Amd64)
        }

        /// The same for one architecture.
        pub fn program_for(architecture: Architecture) -> Self {
            let segment = segment(0x1000, 0x40_0000, 0x1000, true);
            Self {
                architecture,
                machine: architecture.elf_machine(),
                kind: 2,
                entry: 0x40_0000,
                segments: vec![segment],
                notes: vec![],
                interpreter: false,
                code: vec![],
            }
        }

        /// Its bytes: headers in the first page, then whatever the segments name, then the notes.
        pub fn bytes(&self) -> Vec<u8> {
            let count = self.segments.len() + 1 + usize::from(self.interpreter);
            let wide = self.architecture == Architecture::Amd64;
            let (class, file_header, program_header) = if wide { (2, 64, 56) } else { (1, 52, 32) };
            let mut file = [MAGIC, &[class, 1, 1]].concat();
            file.resize(16, 0);
            file.extend(self.kind.to_le_bytes());
            file.extend(self.machine.to_le_bytes());
            file.extend(1_u32.to_le_bytes());
            file.extend(self.words(&[self.entry, file_header, 0]));
            file.extend([0; 4]);
            let sizes = [file_header as u16, program_header, count as u16, program_header, 0, 0];
            file.extend(sizes.map(u16::to_le_bytes).concat());
            let end = self.segments.iter().map(|s| s.offset + s.file_size).max();
            let end = end.unwrap_or(0x1000).max(0x1000);
            for s in &self.segments {
                let fields = [s.offset, s.virtual_address, s.physical_address, s.file_size];
                let flags = 4 | u32::from(s.executable);
                file.extend(self.program_header(1, flags, fields, s.memory_size, 0x1000));
            }
            let notes = self.notes.len() as u64;
            for kind in [4].into_iter().chain(self.interpreter.then_some(3)) {
                file.extend(self.program_header(kind, 4, [end, 0, 0, notes], notes, 4));
            }
            file.resize(0x1000, 0);
            file.extend(&self.code);
            file.resize(end as usize, 0x90);
            file.extend(&self.notes);
            file
        }

        /// Numbers as words of the architecture.
        fn words(&self, numbers: &[u64]) -> Vec<u8> {
            let size = self.architecture.word_bits() as usize / 8;
            numbers.iter().flat_map(|number| number.to_le_bytes()[..size].to_vec()).collect()
        }

        /// The two classes have the flags in different places.
        fn program_header(
            &self,
            kind: u32,
            flags: u32,
            fields: [u64; 4],
            memory_size: u64,
            alignment: u64,
        ) -> Vec<u8> {
            let (kind, flags) = (kind.to_le_bytes(), flags.to_le_bytes());
            let (fields, size) = (self.words(&fields), self.words(&[memory_size]));
            let alignment = self.words(&[alignment]);
            match self.architecture {
                Architecture::Amd64 => [&kind[..], &flags, &fields, &size, &alignment].concat(),
                Architecture::Ia32 => [&kind[..], &fields, &size, &flags, &alignment].concat(),
            }
        }
    }

    /// A segment whose addresses are equal and whose file part is all of it.
    pub fn segment(offset: u64, address: u64, size: u64, executable: bool) -> Segment {
        Segment {
            offset,
            virtual_address: address,
            physical_address: address,
            file_size: size,
            memory_size: size,
            executable,
        }
    }

    /// One ELF note.
    pub fn note(owner: &str, kind: u32, content: &[u8]) -> Vec<u8> {
        let lengths = [owner.len() as u32 + 1, content.len() as u32, kind];
        let mut note = lengths.map(u32::to_le_bytes).concat();
        for part in [[owner.as_bytes(), &[0]].concat(), content.to_vec()] {
            note.extend(&part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

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
            assert_eq!(executable.segments, [segment(0x1000, 0x40_0000, 0x1000, true)]);
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
            let dynamic = Sample { interpreter: true, ..sample.clone() };
            assert_eq!(refusal(&dynamic), ElfError::Dynamic);
            let empty = Sample { segments: vec![], ..sample.clone() };
            assert_eq!(refusal(&empty), ElfError::NoSegments);
            let mut big_endian = sample.bytes();
            big_endian[5] = 2;
            assert_eq!(parse(&big_endian), ElfError::WrongClass(wanted));
            let mut no_class = sample.bytes();
            no_class[CLASS] = 3;
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
            sample.notes = [note("GNU", 1, &[1; 5]), note("Glasspager", 1, &[7; 8])].concat();
            let bytes = sample.bytes();
            let executable = Executable::parse(&bytes, architecture).unwrap();
            assert_eq!(executable.note("Glasspager", 1), Some([7; 8].as_slice()));
            assert_eq!(executable.note("Glasspager", 2), None);
            assert_eq!(executable.note("Xen", 18), None);
        }
    }
}
