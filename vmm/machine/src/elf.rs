//! What kernel and programs have in common: static 64-bit x86 ELF executables.

use object::{
    LittleEndian,
    elf::{
        EM_X86_64, ET_EXEC, FileHeader64, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE,
        ProgramHeader64,
    },
    read::elf::{FileHeader, NoteIterator, ProgramHeader},
};
use thiserror::Error;

/// Why a file is not an executable that can run in the guest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    /// The magic number is missing.
    #[error("it is not an ELF file; build it for x86_64-unknown-none")]
    NotElf,
    /// Too short for what its headers say.
    #[error("it is truncated: its headers name bytes beyond its end; build or copy it again")]
    Truncated,
    /// Not 64-bit little-endian.
    #[error("it is not a 64-bit little-endian ELF file; build it for x86_64-unknown-none")]
    WrongClass,
    /// Another processor's.
    #[error(
        "it is for another processor (ELF machine {0}, not 62, x86-64); \
         build it for x86_64-unknown-none"
    )]
    WrongMachine(u16),
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
    headers: &'a [ProgramHeader64<LittleEndian>],
}

/// A segment to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub virtual_address: u64,
    pub physical_address: u64,
    pub file_size: u64,
    pub memory_size: u64,
    pub executable: bool,
}

const MAGIC: &[u8] = b"\x7fELF";
const ENDIAN: LittleEndian = LittleEndian;

/// Whether `bytes` begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Executable<'a> {
    /// Checks the headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if !is_elf(bytes) {
            return Err(ElfError::NotElf);
        }
        if bytes.len() < size_of::<FileHeader64<LittleEndian>>() {
            return Err(ElfError::Truncated);
        }
        let header: &FileHeader64<LittleEndian> =
            FileHeader::parse(bytes).map_err(|_| ElfError::WrongClass)?;
        if !header.is_little_endian() {
            return Err(ElfError::WrongClass);
        }
        match header.e_machine(ENDIAN) {
            EM_X86_64 => {}
            other => return Err(ElfError::WrongMachine(other.0)),
        }
        if header.e_type(ENDIAN) != ET_EXEC {
            return Err(ElfError::NotFixed);
        }
        let headers = header.program_headers(ENDIAN, bytes).map_err(|_| ElfError::Truncated)?;
        let executable = Self { bytes, entry: header.e_entry(ENDIAN), headers };
        executable.check_segments()?;
        Ok(executable)
    }

    fn check_segments(&self) -> Result<(), ElfError> {
        for header in self.headers {
            match header.p_type(ENDIAN) {
                PT_INTERP | PT_DYNAMIC => return Err(ElfError::Dynamic),
                _ => header.data(ENDIAN, self.bytes).map_err(|()| ElfError::Truncated)?,
            };
        }
        match self.segments().next() {
            Some(_) => Ok(()),
            None => Err(ElfError::NoSegments),
        }
    }

    /// The segments to be loaded.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let loaded = |header: &&ProgramHeader64<LittleEndian>| {
            header.p_type(ENDIAN) == PT_LOAD && header.p_memsz(ENDIAN) > 0
        };
        self.headers.iter().filter(loaded).map(|header| Segment {
            offset: header.p_offset(ENDIAN),
            virtual_address: header.p_vaddr(ENDIAN),
            physical_address: header.p_paddr(ENDIAN),
            file_size: header.p_filesz(ENDIAN),
            memory_size: header.p_memsz(ENDIAN),
            executable: header.p_flags(ENDIAN).contains(PF_X),
        })
    }

    /// The contents of the first note with this owner and type.
    pub fn note(&self, owner: &str, kind: u32) -> Option<&'a [u8]> {
        let segments = self.headers.iter().filter(|header| header.p_type(ENDIAN) == PT_NOTE);
        segments
            .filter_map(|header| header.data(ENDIAN, self.bytes).ok())
            // Boot loaders read notes with this alignment, whatever the header says.
            .filter_map(|data| NoteIterator::<FileHeader64<_>>::new(ENDIAN, 4, data).ok())
            .flat_map(|notes| notes.map_while(Result::ok))
            .find(|note| note.name() == owner.as_bytes() && note.n_type(ENDIAN).0 == kind)
            .map(|note| note.desc())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A hand-made ELF file: the tests of this room break it in all ways.
    #[derive(Clone, Debug)]
    pub struct Sample {
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
            let segment = segment(0x1000, 0x40_0000, 0x1000, true);
            Self {
                machine: 62,
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
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.resize(16, 0);
            file.extend(self.kind.to_le_bytes());
            file.extend(self.machine.to_le_bytes());
            file.extend(1_u32.to_le_bytes());
            file.extend(self.entry.to_le_bytes());
            file.extend(64_u64.to_le_bytes());
            file.extend([0; 12]);
            file.extend([64_u16, 56, count as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
            let end = self.segments.iter().map(|s| s.offset + s.file_size).max();
            let end = end.unwrap_or(0x1000).max(0x1000);
            for s in &self.segments {
                file.extend(1_u32.to_le_bytes());
                file.extend((4 | u32::from(s.executable)).to_le_bytes());
                let fields = [s.offset, s.virtual_address, s.physical_address];
                let sizes = [s.file_size, s.memory_size, 0x1000];
                file.extend(fields.into_iter().chain(sizes).flat_map(u64::to_le_bytes));
            }
            let notes = self.notes.len() as u64;
            for kind in [4_u32].into_iter().chain(self.interpreter.then_some(3)) {
                file.extend([kind, 4].map(u32::to_le_bytes).concat());
                let fields = [end, 0, 0, notes, notes, 4];
                file.extend(fields.into_iter().flat_map(u64::to_le_bytes));
            }
            file.resize(0x1000, 0);
            file.extend(&self.code);
            file.resize(end as usize, 0x90);
            file.extend(&self.notes);
            file
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

    fn refusal(sample: &Sample) -> ElfError {
        Executable::parse(&sample.bytes()).expect_err("a broken file was accepted")
    }

    #[test]
    fn a_static_program_is_accepted() {
        let bytes = Sample::program().bytes();
        let executable = Executable::parse(&bytes).unwrap();
        assert_eq!(executable.entry, 0x40_0000);
        let segments: Vec<_> = executable.segments().collect();
        assert_eq!(segments, [segment(0x1000, 0x40_0000, 0x1000, true)]);
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        let sample = Sample::program();
        assert_eq!(Executable::parse(b"#!/bin/sh").unwrap_err(), ElfError::NotElf);
        assert_eq!(Executable::parse(b"").unwrap_err(), ElfError::NotElf);
        let machine = Sample { machine: 183, ..sample.clone() };
        assert_eq!(refusal(&machine), ElfError::WrongMachine(183));
        assert_eq!(refusal(&Sample { kind: 3, ..sample.clone() }), ElfError::NotFixed);
        assert_eq!(refusal(&Sample { kind: 1, ..sample.clone() }), ElfError::NotFixed);
        let dynamic = Sample { interpreter: true, ..sample.clone() };
        assert_eq!(refusal(&dynamic), ElfError::Dynamic);
        assert_eq!(refusal(&Sample { segments: vec![], ..sample.clone() }), ElfError::NoSegments);
        let mut narrow = sample.bytes();
        narrow[4] = 1;
        assert_eq!(Executable::parse(&narrow).unwrap_err(), ElfError::WrongClass);
        let mut big_endian = sample.bytes();
        big_endian[5] = 2;
        assert_eq!(Executable::parse(&big_endian).unwrap_err(), ElfError::WrongClass);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = Sample::program().bytes();
        for length in 0..bytes.len() {
            let error = Executable::parse(&bytes[..length]).expect_err("cut, but accepted");
            let expected = if length < 4 { ElfError::NotElf } else { ElfError::Truncated };
            assert_eq!(error, expected, "cut to {length} bytes");
        }
    }

    #[test]
    fn notes_are_found_by_owner_and_type() {
        let mut sample = Sample::program();
        sample.notes = [note("GNU", 1, &[1; 5]), note("Glasspager", 1, &[7; 8])].concat();
        let bytes = sample.bytes();
        let executable = Executable::parse(&bytes).unwrap();
        assert_eq!(executable.note("Glasspager", 1), Some([7; 8].as_slice()));
        assert_eq!(executable.note("Glasspager", 2), None);
        assert_eq!(executable.note("Xen", 18), None);
    }
}
