//! What a program learns when it starts: one page at [`crate::layout::PROGRAM_INFO`].
//!
//! Its pager makes the page when the program first touches it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes for the arguments.
pub const ARGUMENTS_LENGTH: usize = 2048;

/// Files that a program can see.
pub const MAX_FILES: usize = 32;

/// The first thing that a program reads.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProgramInfo {
    /// Number of valid entries of `files`.
    pub file_count: u32,
    /// Number of valid bytes of `arguments`.
    pub arguments_length: u32,
    /// The files of the manifest, in its order.
    pub files: [FileArea; MAX_FILES],
    /// The arguments, UTF-8, separated by spaces.
    pub arguments: [u8; ARGUMENTS_LENGTH],
}

/// A file as memory: paged in, read-only, as it is touched.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileArea {
    /// Address of the first byte in the program's space, page-aligned.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
    /// The file's name, padded with zeros.
    pub name: [u8; crate::boot::NAME_LENGTH],
}

const _: () = assert!(size_of::<ProgramInfo>() <= crate::PAGE_SIZE);
const _: () = assert!(size_of::<ProgramInfo>() == 8 + MAX_FILES * 48 + ARGUMENTS_LENGTH);
