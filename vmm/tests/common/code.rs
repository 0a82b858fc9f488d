//! Kernels of a few instructions, for what the real one never does.

use super::{Ran, Target, file};
use tempfile::NamedTempFile;

/// Machine code of a guest, placed at 1 MiB and entered in flat 32-bit protected mode.
pub struct Code<'c> {
    code: &'c [u8],
    /// Where its introspection header is, if it has a note of it.
    header: Option<u64>,
    /// Whether its first segment is one of which nothing is in the file.
    is_behind_nothing: bool,
}

impl<'c> Code<'c> {
    /// Where it begins.
    pub const ENTRY: u32 = 0x10_0000;

    pub fn new(code: &'c [u8]) -> Self {
        Self { code, header: None, is_behind_nothing: false }
    }

    /// The same with a note of an introspection header at that address.
    pub fn with_header(self, header: u64) -> Self {
        Self { header: Some(header), ..self }
    }

    /// The same behind a segment that is all zero, as linkers make them of data without contents.
    pub fn behind_nothing(self) -> Self {
        Self { is_behind_nothing: true, ..self }
    }

    /// A PVH kernel with this code: an ELF header, a segment, its notes.
    pub fn kernel(&self) -> NamedTempFile {
        let mut notes = note(b"Xen\0", 18, &Self::ENTRY.to_le_bytes());
        if let Some(header) = self.header {
            notes.extend(note(b"Glasspager\0", 1, &header.to_le_bytes()));
        }
        let mut image = Vec::new();
        image.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        image.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes()));
        image.extend(1u32.to_le_bytes());
        image.extend([u64::from(Self::ENTRY), 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        image.extend(0u32.to_le_bytes());
        let mut segments = vec![
            (1u32, 7u32, 0x1000u64, Self::ENTRY, [self.code.len() as u64; 2], 0x1000u64),
            (4, 4, 0x800, Self::ENTRY, [notes.len() as u64; 2], 4),
        ];
        if self.is_behind_nothing {
            segments.insert(0, (1, 6, 0x1000, Self::ENTRY + 0x10_0000, [0, 0x1000], 0x1000));
        }
        let count = segments.len() as u16;
        image.extend([64u16, 56, count, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        for (kind, flags, offset, address, [in_file, in_memory], alignment) in segments {
            image.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
            let address = u64::from(address);
            let words = [offset, address, address, in_file, in_memory, alignment];
            image.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        image.resize(0x800, 0);
        image.extend(notes);
        image.resize(0x1000, 0);
        image.extend(self.code);
        file(&image)
    }

    pub fn run(&self, options: &[&str]) -> Ran {
        self.run_on(Target::AMD64_ON_KVM, options)
    }

    pub fn run_on(&self, on: Target, options: &[&str]) -> Ran {
        let kernel = self.kernel();
        let path = kernel.path().to_str().expect("a plain name");
        on.run(&[&["words", "--kernel", path], options].concat())
    }
}

/// An ELF note; names are padded to four bytes.
fn note(owner: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
    let sizes = [owner.len() as u32, description.len() as u32, kind];
    let mut note: Vec<u8> = sizes.iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(owner);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend(description);
    note
}
