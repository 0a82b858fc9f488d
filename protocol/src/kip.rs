//! The kernel info page: what the kernel tells every task, read-only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `"GLASSKIP"`, little-endian.
pub const KIP_MAGIC: u64 = u64::from_le_bytes(*b"GLASSKIP");

/// Version of the kernel's interface to tasks.
pub const KIP_VERSION: u32 = 1;

/// The contents of the page at [`crate::layout::KERNEL_INFO_PAGE`]. Ranges are physical, begin and
/// end on page boundaries, and include their first byte but not their end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct KernelInfoPage {
    /// [`KIP_MAGIC`].
    pub magic: u64,
    /// [`KIP_VERSION`].
    pub version: u32,
    /// Bits of a machine word: 32 or 64.
    pub word_bits: u32,
    /// End of RAM, which begins at 0.
    pub ram_end: u64,
    /// Memory that the kernel keeps (its image and its pool): sigma0 never gets it.
    pub reserved: [PhysicalRange; 4],
    /// The boot bundle ([`crate::boot`]).
    pub bundle: PhysicalRange,
    /// Binary logarithm of the superpage size: 21 or 22.
    pub superpage_order: u32,
    /// 1 if pages can be mapped without the right to execute, else 0.
    pub has_execute_right: u32,
}

const _: () = assert!(size_of::<KernelInfoPage>() == 24 + 5 * 16 + 8);

/// A range of physical memory; empty if both are zero.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct PhysicalRange {
    /// First byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}
