//! What lies at an address of an ordinary program: its image, its heap and stack, its files.

use arrayvec::ArrayVec;
use images::{
    bundle::Bundle,
    elf::{Image, Segment},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    boot::ModuleKind,
    fault::Access,
    flexpage::{Rights, align_down},
    layout::{FILES_BASE, FILES_END, HEAP_BASE, HEAP_END, PROGRAM_INFO, STACK_BASE, STACK_END},
    program::MAX_FILES,
};
use thiserror::Error;

/// A file as programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its module's number.
    pub module: usize,
    /// Its first address, on a page boundary.
    pub address: Word,
    /// Its length in bytes.
    pub length: usize,
}

/// The files of the manifest, one after the other, each from a page boundary on.
#[derive(Clone, Debug, Default)]
pub struct Files(ArrayVec<File, MAX_FILES>);

/// Why programs cannot see the manifest's files.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FilesError {
    /// There are more than [`MAX_FILES`].
    #[error("there are more than {MAX_FILES} files: leave some out")]
    TooMany,
    /// Together they are larger than the part of an address space that is for files.
    #[error(
        "the files are larger than {} MiB together: leave some out",
        (FILES_END - FILES_BASE) >> 20
    )]
    TooLarge,
}

impl Files {
    /// Lays out all files of the bundle.
    pub fn lay_out(bundle: Bundle) -> Result<Self, FilesError> {
        let lengths =
            bundle.modules_of(ModuleKind::File).map(|file| (file.index, file.bytes.len()));
        Self::place(lengths)
    }

    fn place(files: impl Iterator<Item = (usize, usize)>) -> Result<Self, FilesError> {
        let mut placed = ArrayVec::new();
        let mut address = FILES_BASE;
        for (module, length) in files {
            placed.try_push(File { module, address, length }).map_err(|_| FilesError::TooMany)?;
            let pages = length.checked_next_multiple_of(PAGE_SIZE).ok_or(FilesError::TooLarge)?;
            address = address.checked_add(pages).ok_or(FilesError::TooLarge)?;
            if address > FILES_END {
                return Err(FilesError::TooLarge);
            }
        }
        Ok(Self(placed))
    }

    /// All files, in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// The number of the file that has bytes in `page`, and where they begin in it.
    fn at(&self, page: Word) -> Option<(usize, usize)> {
        // An empty file has no page, and so the next one begins where it does.
        let number = self.0.partition_point(|file| file.address <= page).checked_sub(1)?;
        let file = self.0.get(number)?;
        let offset = page - file.address;
        (offset < file.length).then_some((number, offset))
    }
}

/// Where the contents of a page come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A page of the file that the image is in, as it is.
    Image {
        /// Where the page begins in it.
        offset: usize,
        /// What the program may do with it.
        rights: Rights,
    },
    /// A page of a file, to be read.
    File {
        /// The file's number.
        file: usize,
        /// Where the page begins in it.
        offset: usize,
    },
    /// Memory of the program's own, zero except for bytes of its image.
    Private {
        /// Where the bytes begin in the image.
        offset: usize,
        /// How many they are; 0 for a page of zeros.
        length: usize,
        /// Where they go in the page.
        skip: usize,
        /// What the program may do with it.
        rights: Rights,
    },
    /// The page of [`protocol::program::ProgramInfo`].
    Info,
}

/// Why a fault is not answered with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing lies there.
    NoRegion,
    /// What lies there must not be accessed that way.
    NoRight,
}

/// What lies at `address` of a program with this image and these files.
pub fn find(
    image: &Image,
    files: &Files,
    address: Word,
    access: Access,
) -> Result<Backing, Refusal> {
    let page = align_down(address, PAGE_ORDER);
    let (backing, rights) = lookup(image, files, page).ok_or(Refusal::NoRegion)?;
    if rights.contains(needed(access)) { Ok(backing) } else { Err(Refusal::NoRight) }
}

/// The right without which an access faults again.
pub fn needed(access: Access) -> Rights {
    if access.contains(Access::EXECUTE) {
        Rights::EXECUTE
    } else if access.contains(Access::WRITE) {
        Rights::WRITE
    } else {
        Rights::READ
    }
}

fn lookup(image: &Image, files: &Files, page: Word) -> Option<(Backing, Rights)> {
    if let Some(segment) = image.segment(page) {
        return Some((in_segment(segment, page), segment.rights));
    }
    let backing = match page {
        HEAP_BASE..HEAP_END | STACK_BASE..STACK_END => {
            let rights = Rights::READ_WRITE;
            return Some((Backing::Private { offset: 0, length: 0, skip: 0, rights }, rights));
        }
        FILES_BASE..FILES_END => {
            let (file, offset) = files.at(page)?;
            Backing::File { file, offset }
        }
        PROGRAM_INFO => Backing::Info,
        _ => return None,
    };
    Some((backing, Rights::READ))
}

fn in_segment(segment: &Segment, page: Word) -> Backing {
    let rights = segment.rights;
    let file_end = segment.address + segment.file_size;
    let memory_end = segment.address + segment.memory_size;
    let start = page.max(segment.address);
    let end = (page + PAGE_SIZE).min(file_end);
    // Bytes that must be zero are not zero in the file.
    let has_zeros = end < (page + PAGE_SIZE).min(memory_end);
    if rights.contains(Rights::WRITE) || has_zeros {
        let length = end.saturating_sub(start);
        let offset = if length == 0 { 0 } else { segment.file_offset + (start - segment.address) };
        return Backing::Private { offset, length, skip: start - page, rights };
    }
    let offset = segment.file_page(page);
    Backing::Image { offset, rights }
}

#[cfg(test)]
mod tests {
    use super::*;
    use images::{
        Architecture,
        elf::Rules,
        sample::{DATA, Sample, Segment, TEXT},
    };
    use proptest::prelude::*;

    const READ: Access = Access::empty();

    fn image(segments: &[Segment]) -> Image {
        let file = Sample::with(Architecture::Amd64, segments).bytes();
        Image::parse(&file, Architecture::Amd64, &Rules::PROGRAM).unwrap()
    }

    fn private(offset: usize, length: usize, skip: usize) -> Backing {
        Backing::Private { offset, length, skip, rights: Rights::READ_WRITE }
    }

    #[test]
    fn each_page_of_an_image_has_its_bytes() {
        let image = image(&[TEXT, DATA]);
        let find = |address, access| find(&image, &Files::default(), address, access);
        let text = |offset| Ok(Backing::Image { offset, rights: Rights::READ_EXECUTE });
        assert_eq!(find(0x40_0010, Access::EXECUTE), text(0x1000));
        assert_eq!(find(0x40_1800, READ), text(0x2000));
        assert_eq!(find(0x40_0010, Access::WRITE | Access::PRESENT), Err(Refusal::NoRight));
        assert_eq!(find(0x40_2000, READ), Ok(private(0x3000, 0x234, 0)));
        assert_eq!(find(0x40_4abc, Access::WRITE), Ok(private(0, 0, 0)));
        assert_eq!(find(0x40_2000, Access::EXECUTE), Err(Refusal::NoRight));
        assert_eq!(find(0x40_5000, READ), Err(Refusal::NoRegion));
        assert_eq!(find(0, Access::EXECUTE), Err(Refusal::NoRegion));
    }

    #[test]
    fn unaligned_segments_and_read_only_tails_get_private_copies() {
        let data = Segment { offset: 0x3abc, address: 0x40_3abc, file_size: 0x100, ..DATA };
        let constants = Segment { flags: 4, address: 0x41_0000, memory_size: 0x3000, ..DATA };
        let image = image(&[TEXT, data, constants]);
        let find = |address| find(&image, &Files::default(), address, READ);
        assert_eq!(find(0x40_3000), Ok(private(0x3abc, 0x100, 0xabc)));
        let tail =
            Backing::Private { offset: 0x3000, length: 0x234, skip: 0, rights: Rights::READ };
        assert_eq!(find(0x41_0000), Ok(tail));
    }

    #[test]
    fn heap_stack_info_and_files_lie_where_the_layout_says() {
        let image = image(&[TEXT]);
        let files = Files::place([(7, 0), (8, 5000), (9, 0), (10, 1)].into_iter()).unwrap();
        let find = |address, access| find(&image, &files, address, access);
        let zero = Ok(private(0, 0, 0));
        assert_eq!(find(HEAP_BASE, Access::WRITE), zero);
        assert_eq!(find(HEAP_END - 1, READ), zero);
        assert_eq!(find(STACK_END - 8, Access::WRITE), zero);
        assert_eq!(find(STACK_BASE - 1, Access::WRITE), Err(Refusal::NoRegion));
        assert_eq!(find(STACK_END, Access::WRITE), Err(Refusal::NoRegion));
        assert_eq!(find(PROGRAM_INFO + 8, READ), Ok(Backing::Info));
        assert_eq!(find(PROGRAM_INFO, Access::WRITE), Err(Refusal::NoRight));
        let page = |file, offset| Ok(Backing::File { file, offset });
        assert_eq!(find(FILES_BASE, READ), page(1, 0));
        assert_eq!(find(FILES_BASE + 4999, READ), page(1, 0x1000));
        assert_eq!(find(FILES_BASE + 0x2fff, READ), page(3, 0));
        assert_eq!(find(FILES_BASE + 0x3000, READ), Err(Refusal::NoRegion));
        assert_eq!(find(FILES_BASE, Access::WRITE), Err(Refusal::NoRight));
    }

    #[test]
    fn files_have_bounds() {
        let many = (0..=MAX_FILES).map(|module| (module, 1));
        assert_eq!(Files::place(many).err(), Some(FilesError::TooMany));
        let area = FILES_END - FILES_BASE;
        assert_eq!(Files::place([(0, area)].into_iter()).err(), None);
        assert_eq!(Files::place([(0, area + 1)].into_iter()).err(), Some(FilesError::TooLarge));
        assert_eq!(Files::place([(0, usize::MAX)].into_iter()).err(), Some(FilesError::TooLarge));
    }

    proptest! {
        /// Against a byte-wise model: what a loader would have put there.
        #[test]
        fn pages_equal_what_a_loader_would_make(
            address in 0x40_8000..0x40_a000u64,
            file_size in 0..0x1000u64,
            extra in 0..0x2800u64,
            flags in prop::sample::select(vec![4u32, 5, 6]),
        ) {
            let segment = Segment {
                flags, offset: 0x2000 + address % 0x1000, address, file_size,
                memory_size: file_size + extra + 1, ..TEXT
            };
            let mut contents = Sample::with(Architecture::Amd64, &[TEXT, segment]).bytes();
            for (index, byte) in contents[0x1000..].iter_mut().enumerate() {
                *byte = 1 + (index % 251) as u8;
            }
            let image = Image::parse(&contents, Architecture::Amd64, &Rules::PROGRAM).unwrap();
            for byte in 0..segment.memory_size {
                let at = (address + byte) as Word;
                let expected = if byte < file_size {
                    contents[(segment.offset + byte) as usize]
                } else {
                    0
                };
                let found = match find(&image, &Files::default(), at, READ) {
                    Ok(Backing::Image { offset, .. }) => contents[offset + at % PAGE_SIZE],
                    Ok(Backing::Private { offset, length, skip, .. }) => {
                        let mut page = [0; PAGE_SIZE];
                        page[skip..skip + length].copy_from_slice(&contents[offset..offset + length]);
                        page[at % PAGE_SIZE]
                    }
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(found, expected);
            }
        }
    }
}
