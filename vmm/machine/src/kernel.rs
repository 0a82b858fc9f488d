//! The kernel's image: a PVH ELF executable.

use crate::{Architecture, layout::KERNEL_FLOOR};
use images::elf::{ElfError, Executable};
use protocol::{
    flexpage::Rights,
    introspection::{NOTE_OWNER, NOTE_TYPE},
};
use std::ops::Range;
use thiserror::Error;

/// Why a file is not a kernel that this machine can boot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KernelError {
    /// Not even an executable.
    #[error(transparent)]
    Executable(#[from] ElfError),
    /// No entry point for this machine.
    #[error(
        "it has no PVH entry point; add the ELF note XEN_ELFNOTE_PHYS32_ENTRY \
         (owner Xen, type 18) with the address of its 32-bit entry"
    )]
    NoPvhNote,
    /// The entry point lies outside the image.
    #[error("its PVH entry point {0:#x} is in no executable segment; check the note's address")]
    BadEntry(u64),
    /// Where the boot data lies.
    #[error(
        "it is linked to be loaded at {0:#x}, where the boot data lies; \
         link it to 1 MiB ({KERNEL_FLOOR:#x}) or above"
    )]
    TooLow(u64),
    /// Two segments at one place: one would be written over the other.
    #[error(
        "two of its segments are loaded to {0:#x}; give each a place of its own in its linker script"
    )]
    Overlap(u64),
    /// An end beyond all addresses.
    #[error("a segment at {0:#x} reaches beyond the end of memory; check its linker script")]
    Endless(u64),
}

/// A kernel image that has been checked.
#[derive(Debug)]
pub struct Kernel<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) executable: Executable<'a>,
    pub(crate) entry: u32,
    pub(crate) end: u64,
    header: Option<u64>,
}

/// The note with the 32-bit entry point.
const PVH_NOTE: (&str, u32) = ("Xen", 18);

impl<'a> Kernel<'a> {
    /// Checks an image for this architecture.
    pub fn parse(bytes: &'a [u8], architecture: Architecture) -> Result<Self, KernelError> {
        let executable = Executable::parse(bytes, architecture)?;
        let note = executable.note(PVH_NOTE.0, PVH_NOTE.1).ok_or(KernelError::NoPvhNote)?;
        let entry = little_endian(note).ok_or(KernelError::NoPvhNote)?;
        let mut places = Vec::new();
        let mut entry_found = false;
        for segment in executable.segments() {
            let start = segment.physical_address;
            if start < KERNEL_FLOOR {
                return Err(KernelError::TooLow(start));
            }
            let segment_end =
                start.checked_add(segment.memory_size).ok_or(KernelError::Endless(start))?;
            places.push(start..segment_end);
            entry_found |=
                segment.rights.contains(Rights::EXECUTE) && (start..segment_end).contains(&entry);
        }
        let end = check_apart(places)?;
        let in_reach = u32::try_from(entry).ok().filter(|_| entry_found);
        let entry = in_reach.ok_or(KernelError::BadEntry(entry))?;
        let header = executable.note(NOTE_OWNER, NOTE_TYPE).and_then(little_endian);
        Ok(Self { architecture, executable, entry, end, header })
    }

    /// Physical address of its introspection header, if it has one.
    pub fn introspection_header(&self) -> Option<u64> {
        self.header
    }
}

/// That no two of these ranges have an address in common. Returns the end of the last one.
fn check_apart(mut ranges: Vec<Range<u64>>) -> Result<u64, KernelError> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut end = 0;
    for range in ranges {
        if range.start < end {
            return Err(KernelError::Overlap(range.start));
        }
        end = range.end;
    }
    Ok(end)
}

/// A number of four or eight bytes: the PVH note exists in both sizes.
fn little_endian(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(u32::from_le_bytes).map(u64::from),
        8 => bytes.try_into().ok().map(u64::from_le_bytes),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use images::sample::{Sample, note, segment};

    /// A kernel of one page at 1 MiB.
    pub fn sample() -> Sample {
        sample_for(Architecture::Amd64)
    }

    /// The same for one architecture.
    pub fn sample_for(architecture: Architecture) -> Sample {
        Sample {
            entry: 0x10_0000,
            segments: vec![segment(0x1000, 0x10_0000, 0x1000, true)],
            notes: note("Xen", 18, &0x10_0000_u32.to_le_bytes()),
            ..Sample::program_for(architecture)
        }
    }

    fn refusal(sample: &Sample) -> KernelError {
        Kernel::parse(&sample.bytes(), sample.architecture)
            .expect_err("a broken kernel was accepted")
    }

    #[test]
    fn entry_and_header_come_from_the_notes() {
        let mut with_header = sample();
        with_header.notes.extend(note("Glasspager", 1, &0x20_0000_u64.to_le_bytes()));
        with_header.segments[0].memory_size = 0x3000;
        let bytes = with_header.bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        assert_eq!((kernel.entry, kernel.end), (0x10_0000, 0x10_3000));
        assert_eq!(kernel.introspection_header(), Some(0x20_0000));
        let bytes = sample().bytes();
        assert_eq!(
            Kernel::parse(&bytes, Architecture::Amd64).unwrap().introspection_header(),
            None
        );
    }

    #[test]
    fn each_segment_is_loaded_to_a_place_of_its_own() {
        let at = |address| segment(0x1000, address, 0x1000, true);
        for other in [0x10_0000, 0x10_0fff, 0x10_1001] {
            for segments in [[0x10_0000, other, 0x10_2000], [0x10_2000, other, 0x10_0000]] {
                let sample = Sample { segments: segments.map(at).to_vec(), ..sample() };
                let error = refusal(&sample);
                assert!(matches!(error, KernelError::Overlap(_)), "{other:#x}: {error:?}");
            }
        }
        let apart = [0x10_2000, 0x10_1000, 0x10_0000].map(at).to_vec();
        let bytes = Sample { segments: apart, ..sample() }.bytes();
        assert_eq!(Kernel::parse(&bytes, Architecture::Amd64).unwrap().end, 0x10_3000);
    }

    #[test]
    fn kernels_that_cannot_boot_are_refused_with_the_reason() {
        assert_eq!(refusal(&Sample { notes: vec![], ..sample() }), KernelError::NoPvhNote);
        let outside = note("Xen", 18, &0x50_0000_u64.to_le_bytes());
        assert_eq!(
            refusal(&Sample { notes: outside, ..sample() }),
            KernelError::BadEntry(0x50_0000)
        );
        let low = vec![segment(0x1000, 0x8000, 0x1000, true)];
        assert_eq!(refusal(&Sample { segments: low, ..sample() }), KernelError::TooLow(0x8000));
        let mut endless = sample();
        endless.segments[0].memory_size = u64::MAX;
        assert_eq!(refusal(&endless), KernelError::Endless(0x10_0000));
        let mut large = sample();
        large.segments[0].memory_size = 0xfff;
        assert_eq!(refusal(&large), KernelError::Executable(ElfError::BadSegment(0)));
        let error = Kernel::parse(b"hello", Architecture::Ia32).unwrap_err();
        assert_eq!(error, KernelError::Executable(ElfError::NotElf(Architecture::Ia32)));
    }
}
