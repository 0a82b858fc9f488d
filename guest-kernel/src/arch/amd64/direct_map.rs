//! The direct map: all physical memory below 4 GiB, in the kernel's half of every space.

use super::boot::DIRECT_MAP_SLOT;
use kernel_core::frames::PhysicalAddress;

const BASE: u64 = 0xffff_0000_0000_0000 | (DIRECT_MAP_SLOT as u64) << 39;

unsafe extern "C" {
    static boot_pml4: [u64; 512];
    static kernel_end: u8;
}

/// Where the kernel sees a physical address.
#[inline]
pub fn pointer<T>(address: PhysicalAddress) -> *mut T {
    (BASE + address.0) as *mut T
}

/// The physical address of something that the direct map shows.
pub fn physical<T>(pointer: *const T) -> PhysicalAddress {
    PhysicalAddress(pointer as u64 - BASE)
}

/// The byte after the kernel image.
pub fn image_end() -> PhysicalAddress {
    // Linked as a physical address, so its "location" is the value itself.
    PhysicalAddress(&raw const kernel_end as u64)
}

/// The entries of the kernel's half of every top-level page table.
pub fn kernel_half() -> [(usize, u64); 2] {
    let table = pointer::<[u64; 512]>(PhysicalAddress(&raw const boot_pml4 as u64));
    // SAFETY: the boot tables lie in the image, are aligned, and nobody writes them.
    let table = unsafe { &*table };
    [DIRECT_MAP_SLOT, 511].map(|slot| (slot, table[slot]))
}
