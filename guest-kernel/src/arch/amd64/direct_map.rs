//! The direct map: all physical memory below 4 GiB, in the kernel's half of every space.

use super::boot::{DIRECT_MAP_BASE, DIRECT_MAP_SLOT, KERNEL_OFFSET};
use kernel_core::{
    arch::{Entry, Table},
    memory::frames::PhysicalAddress,
};

/// The most RAM that the kernel can work with: from there on the direct map is for devices.
pub const RAM_LIMIT: u64 = 0xc000_0000;

/// The entries of a top-level page table that map the kernel.
const KERNEL_SLOTS: [usize; 2] = [DIRECT_MAP_SLOT, 511];

unsafe extern "C" {
    static boot_pml4: Table;
    static kernel_end: u8;
}

/// Where the kernel sees a physical address.
#[inline]
pub fn pointer<T>(address: PhysicalAddress) -> *mut T {
    (DIRECT_MAP_BASE + address.0) as *mut T
}

/// Where the kernel sees its own memory: where a displacement of 32 bits reaches.
#[inline(always)]
pub fn own<T>(address: PhysicalAddress) -> *mut T {
    (KERNEL_OFFSET + address.0) as *mut T
}

/// Where the kernel sees a device's register.
pub fn device_register(address: PhysicalAddress) -> *mut u32 {
    pointer(address)
}

/// The physical address of something that the direct map shows.
pub fn physical<T>(pointer: *const T) -> PhysicalAddress {
    PhysicalAddress(pointer as u64 - DIRECT_MAP_BASE)
}

/// The physical address of a static of the kernel image.
pub fn physical_in_image<T>(pointer: *const T) -> PhysicalAddress {
    PhysicalAddress(pointer as u64 - KERNEL_OFFSET)
}

/// The byte after the kernel image.
pub fn image_end() -> PhysicalAddress {
    // Linked as a physical address, so its "location" is the value itself.
    PhysicalAddress(&raw const kernel_end as u64)
}

/// Copies the entries of the kernel's half of every top-level page table into a new one.
pub fn copy_kernel_half(table: &mut Table) {
    let boot_table = pointer::<Table>(PhysicalAddress(&raw const boot_pml4 as u64));
    // SAFETY: the boot tables lie in the image, are aligned, and nobody writes them.
    let boot_table = unsafe { &*boot_table };
    for slot in KERNEL_SLOTS {
        table[slot] = boot_table[slot];
    }
}

/// Clears them.
pub fn clear_kernel_half(table: &mut Table) {
    for slot in KERNEL_SLOTS {
        table[slot] = Entry::EMPTY;
    }
}
