//! The direct map: physical memory from 0 on, in the kernel's quarter of every space; and devices,
//! at their physical addresses.

use super::boot::{DEVICE_PAGES, DIRECT_MAP_BASE, DIRECT_MAP_PAGES};
use kernel_core::{
    arch::{Entry, TABLE_ENTRIES, TABLE_ORDER, Table},
    memory::frames::PhysicalAddress,
};

/// The most RAM that the kernel can work with: what the direct map covers, 960 MiB.
pub const RAM_LIMIT: u64 = (DIRECT_MAP_PAGES as u64) << TABLE_ORDER;

/// The first address that is mapped as itself, for devices.
const DEVICES: u64 = ((TABLE_ENTRIES - DEVICE_PAGES) as u64) << TABLE_ORDER;

/// The kernel's first directory entry.
const FIRST_SLOT: usize = DIRECT_MAP_BASE >> TABLE_ORDER;

unsafe extern "C" {
    static boot_directory: Table;
    static kernel_end: u8;
}

/// Where the kernel sees a physical address.
#[inline]
pub fn pointer<T>(address: PhysicalAddress) -> *mut T {
    (DIRECT_MAP_BASE + address.0 as usize) as *mut T
}

/// Where the kernel sees its own memory.
#[inline(always)]
pub fn own<T>(address: PhysicalAddress) -> *mut T {
    pointer(address)
}

/// Where the kernel sees a device's register.
pub fn device_register(address: PhysicalAddress) -> *mut u32 {
    assert!(address.0 >= DEVICES, "no device is mapped at {:#x}", address.0);
    address.0 as usize as *mut u32
}

/// The physical address of something that the direct map shows.
pub fn physical<T>(pointer: *const T) -> PhysicalAddress {
    PhysicalAddress((pointer as usize - DIRECT_MAP_BASE) as u64)
}

/// The physical address of a static of the kernel image.
pub fn physical_in_image<T>(pointer: *const T) -> PhysicalAddress {
    physical(pointer)
}

/// The byte after the kernel image.
pub fn image_end() -> PhysicalAddress {
    // Linked as a physical address, so its "location" is the value itself.
    PhysicalAddress(&raw const kernel_end as u64)
}

/// Copies the kernel's quarter of every page directory into a new one.
pub fn copy_kernel_half(table: &mut Table) {
    let boot_table = pointer::<Table>(PhysicalAddress(&raw const boot_directory as u64));
    // SAFETY: the boot directory lies in the image, is aligned, and nobody writes it.
    let boot_table = unsafe { &*boot_table };
    table[FIRST_SLOT..].copy_from_slice(&boot_table[FIRST_SLOT..]);
}

/// Clears them.
pub fn clear_kernel_half(table: &mut Table) {
    table[FIRST_SLOT..].fill(Entry::EMPTY);
}
