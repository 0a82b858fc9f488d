//! Hand-made ELF files: tests break them in all ways.

use crate::{Architecture, elf::Rules};

/// What a program header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What it describes; 1 for what is to be loaded.
    pub kind: u32,
    /// Rights: 1 to execute, 2 to write, 4 to read.
    pub flags: u32,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// First virtual address.
    pub address: u64,
    /// First physical address.
    pub physical_address: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory.
    pub memory_size: u64,
}

/// Code, whole pages and a half.
pub const TEXT: Segment = segment(0x1000, 0x40_0000, 0x1800, true);

/// Variables behind it, most of them zero.
pub const DATA: Segment =
    Segment { flags: 6, memory_size: 0x3000, ..segment(0x3000, 0x40_2000, 0x234, false) };

/// A segment to be loaded whose addresses are equal and whose file part is all of it.
pub const fn segment(offset: u64, address: u64, size: u64, executable: bool) -> Segment {
    Segment {
        kind: 1,
        flags: if executable { 5 } else { 4 },
        offset,
        address,
        physical_address: address,
        file_size: size,
        memory_size: size,
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its class, and the layout of its headers.
    pub architecture: Architecture,
    /// The processor that it names.
    pub machine: u16,
    /// Its type; 2 for an executable at fixed addresses.
    pub kind: u16,
    /// Address of the first instruction.
    pub entry: u64,
    /// Its program headers but the last one, which is for the notes.
    pub segments: Vec<Segment>,
    /// What lies behind all else.
    pub notes: Vec<u8>,
    /// What lies at offset 0x1000; the rest is NOPs.
    pub code: Vec<u8>,
    /// Its length, if not all that the headers name is to be there.
    pub length: Option<usize>,
}

impl Sample {
    /// A program of one page of code.
    pub fn program() -> Self {
        Self::program_for(Architecture::Amd64)
    }

    /// The same for one architecture.
    pub fn program_for(architecture: Architecture) -> Self {
        Self::with(architecture, &[segment(0x1000, 0x40_0000, 0x1000, true)])
    }

    /// sigma0 or a root task, as the rules for it say: one page of code where its area begins.
    pub fn ground(architecture: Architecture, rules: &Rules) -> Self {
        let entry = rules.area.start as u64;
        Self { entry, ..Self::with(architecture, &[segment(0x1000, entry, 0x1000, true)]) }
    }

    /// A program of these segments that begins at 0x40_0000.
    pub fn with(architecture: Architecture, segments: &[Segment]) -> Self {
        Self {
            architecture,
            machine: architecture.elf_machine(),
            kind: 2,
            entry: 0x40_0000,
            segments: segments.to_vec(),
            notes: vec![],
            code: vec![],
            length: None,
        }
    }

    /// Its bytes: headers in the first page, then whatever the segments name, then the notes.
    pub fn bytes(&self) -> Vec<u8> {
        let count = self.segments.len() + 1;
        let wide = self.architecture == Architecture::Amd64;
        let (class, file_header, program_header) = if wide { (2, 64, 56) } else { (1, 52, 32) };
        let mut file = [&b"\x7fELF"[..], &[class, 1, 1]].concat();
        file.resize(16, 0);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(self.words(&[self.entry, file_header, 0]));
        file.extend([0; 4]);
        let sizes = [file_header as u16, program_header, count as u16, program_header, 0, 0];
        file.extend(sizes.map(u16::to_le_bytes).concat());
        let end = self.segments.iter().map(|s| s.offset.saturating_add(s.file_size)).max();
        let end = end.unwrap_or(0x1000).max(0x1000);
        for segment in &self.segments {
            file.extend(self.program_header(segment));
        }
        let notes = Segment { kind: 4, ..segment(end, 0, self.notes.len() as u64, false) };
        file.extend(self.program_header(&notes));
        file.resize(0x1000, 0);
        file.extend(&self.code);
        file.resize(self.length.unwrap_or(end as usize), 0x90);
        file.extend(&self.notes);
        file
    }

    /// Numbers as words of the architecture.
    fn words(&self, numbers: &[u64]) -> Vec<u8> {
        let size = self.architecture.word_bits() as usize / 8;
        numbers.iter().flat_map(|number| number.to_le_bytes()[..size].to_vec()).collect()
    }

    /// The two classes have the flags in different places.
    fn program_header(&self, segment: &Segment) -> Vec<u8> {
        let Segment { offset, address, physical_address, file_size, memory_size, .. } = *segment;
        let (kind, flags) = (segment.kind.to_le_bytes(), segment.flags.to_le_bytes());
        let words = self.words(&[offset, address, physical_address, file_size, memory_size]);
        // QEMU reads notes with the alignment that the header says.
        let alignment = self.words(&[if segment.kind == 4 { 4 } else { 0x1000 }]);
        match self.architecture {
            Architecture::Amd64 => [&kind[..], &flags, &words, &alignment].concat(),
            Architecture::Ia32 => [&kind[..], &words, &flags, &alignment].concat(),
        }
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
