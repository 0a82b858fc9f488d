//! Reading the boot bundle: the images of the two tasks that the kernel itself starts.

use crate::arch::{ELF_CLASS, ELF_MACHINE, ProgramHeader};
use protocol::{
    PAGE_SIZE, Word,
    boot::{BUNDLE_MAGIC, BUNDLE_VERSION, BundleHeader, ModuleEntry, ModuleKind},
    flexpage::Rights,
    layout::{MAPPABLE_START, USER_END},
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The most loadable segments of sigma0's image.
pub const MAX_SEGMENTS: usize = 6;

/// Why the machine cannot be started with this bundle. The text goes to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// The boot module is not a bundle, or of another version.
    NotABundle,
    /// A module lies outside the bundle or is not aligned to pages.
    BadModule,
    /// No sigma0 or no root task.
    NoRoot,
    /// One of the two is not an executable of this architecture whose segments are whole pages
    /// in the user area.
    BadImage,
}

/// A part of an image that is mapped as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address, on a page boundary.
    pub start: Word,
    /// The address after its last page.
    pub end: Word,
    /// Where its first page lies in memory.
    pub physical: u64,
    /// What its pages may be used for.
    pub rights: Rights,
}

/// An executable in the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of its module in the bundle.
    pub module: u32,
    /// Its first instruction.
    pub entry: Word,
    /// Its loadable segments.
    pub segments: [Option<Segment>; MAX_SEGMENTS],
}

/// Finds an image of the given kind in the bundle that lies at `address`.
pub fn find_image(bundle: &[u8], address: u64, kind: ModuleKind) -> Result<Image, BundleError> {
    let (header, rest) =
        BundleHeader::read_from_prefix(bundle).map_err(|_| BundleError::NotABundle)?;
    if header.magic != BUNDLE_MAGIC || header.version != BUNDLE_VERSION {
        return Err(BundleError::NotABundle);
    }
    let entries = rest.chunks_exact(size_of::<ModuleEntry>()).take(header.module_count as usize);
    for (number, bytes) in (0..).zip(entries) {
        let entry = ModuleEntry::read_from_bytes(bytes).map_err(|_| BundleError::BadModule)?;
        if ModuleKind::from_u32(entry.kind) != Some(kind) {
            continue;
        }
        let (start, length) = (entry.offset as usize, entry.length as usize);
        let module = start
            .checked_add(length)
            .filter(|_| start.is_multiple_of(PAGE_SIZE))
            .and_then(|end| bundle.get(start..end))
            .ok_or(BundleError::BadModule)?;
        let image = read_elf(module, address + entry.offset).ok_or(BundleError::BadImage)?;
        return Ok(Image { module: number, ..image });
    }
    Err(BundleError::NoRoot)
}

/// The header of an ELF file (System V ABI, chapter 4) with addresses of a machine word.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ElfHeader {
    magic: [u8; 4],
    class: u8,
    data: u8,
    rest_of_identification: [u8; 10],
    kind: u16,
    machine: u16,
    version: u32,
    entry: Word,
    program_headers: Word,
    section_headers: Word,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    program_header_count: u16,
    section_header_size: u16,
    section_header_count: u16,
    section_names: u16,
}

const EXECUTABLE: u16 = 2;
const LOADABLE: u32 = 1;
const LITTLE_ENDIAN: u8 = 1;

fn read_elf(file: &[u8], address: u64) -> Option<Image> {
    let (header, _) = ElfHeader::read_from_prefix(file).ok()?;
    let is_ours = header.magic == *b"\x7fELF"
        && header.class == ELF_CLASS
        && header.data == LITTLE_ENDIAN
        && header.kind == EXECUTABLE
        && header.machine == ELF_MACHINE
        && usize::from(header.program_header_size) == size_of::<ProgramHeader>();
    if !is_ours {
        return None;
    }
    let headers = file.get(header.program_headers..)?;
    let headers = headers
        .chunks_exact(size_of::<ProgramHeader>())
        .take(usize::from(header.program_header_count));
    let mut segments = [None; MAX_SEGMENTS];
    let mut free = segments.iter_mut();
    for bytes in headers {
        let header = ProgramHeader::read_from_bytes(bytes).ok()?;
        if header.kind == LOADABLE && header.memory_size != 0 {
            *free.next()? = Some(read_segment(&header, file.len(), address)?);
        }
    }
    Some(Image { module: 0, entry: header.entry, segments })
}

/// Only segments that are wholly in the file: the kernel copies nothing and clears nothing.
fn read_segment(header: &ProgramHeader, file_size: usize, address: u64) -> Option<Segment> {
    let start = header.address;
    let end = start.checked_add(header.memory_size)?.checked_next_multiple_of(PAGE_SIZE)?;
    let in_file = header.offset.checked_add(header.file_size)? <= file_size;
    let whole_pages = start.is_multiple_of(PAGE_SIZE) && header.offset.is_multiple_of(PAGE_SIZE);
    let is_mappable = start >= MAPPABLE_START && end <= USER_END;
    if !in_file || !whole_pages || header.file_size != header.memory_size || !is_mappable {
        return None;
    }
    // ELF has execute, write and read in the bits where rights have them.
    let rights = Rights::from_bits_truncate(header.flags as u8);
    Some(Segment { start, end, physical: address + header.offset as u64, rights })
}

impl Image {
    /// The frame and rights of the page at `address`, if the image covers it.
    pub fn page_at(&self, address: Word) -> Option<(u64, Rights)> {
        let page = address & !(PAGE_SIZE - 1);
        let covers = |segment: &&Segment| (segment.start..segment.end).contains(&page);
        let segment = self.segments.iter().flatten().find(covers)?;
        Some((segment.physical + (page - segment.start) as u64, segment.rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused() {
        for length in [0, 8, 31, 32, 4096] {
            let zeros = vec![0; length];
            let found = find_image(&zeros, 0, ModuleKind::Sigma0);
            assert_eq!(found, Err(BundleError::NotABundle));
            assert_eq!(read_elf(&zeros, 0), None);
        }
    }

    #[test]
    fn segments_must_be_whole_pages_in_the_file_and_the_user_area() {
        let header = |offset, address, size| ProgramHeader {
            kind: LOADABLE,
            flags: 5,
            offset,
            address,
            physical_address: 0,
            file_size: size,
            memory_size: size,
            alignment: PAGE_SIZE,
        };
        let good = read_segment(&header(0x1000, 0x40_0000, 0x1800), 0x2800, 0x10_0000).unwrap();
        assert_eq!((good.start, good.end, good.physical), (0x40_0000, 0x40_2000, 0x10_1000));
        assert_eq!(good.rights, Rights::READ_EXECUTE);
        for bad in [
            header(0x1000, 0x40_0000, 0x1801),
            header(0x1001, 0x40_0000, 0x10),
            header(0x1000, 0x40_0001, 0x10),
            header(0x1000, USER_END, 0x10),
            header(0x1000, MAPPABLE_START - 0x1000, 0x1000),
            header(Word::MAX, 0x40_0000, 0x10),
            header(0x1000, Word::MAX & !0xfff, 0x1000),
        ] {
            assert_eq!(read_segment(&bad, 0x2800, 0), None);
        }
    }
}
