//! From PVH's flat 32-bit protected mode to paging, with the kernel above 3 GiB.
//!
//! The kernel's page directory is data of the image, so that nothing has to be written at boot and
//! the time to boot does not depend on the size of memory. It consists of 4 MiB pages: the first
//! one 1:1 for the moment in which paging begins, the first 960 MiB of physical memory from 3 GiB
//! on as the direct map, in which the kernel is linked, and the last 60 MiB 1:1 for devices.
//!
//! In between lies the kernel's stack once more, with nothing below it: whoever goes beyond its end
//! overwrites nothing, and takes a double fault.

use crate::arch::control_bits::{CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_PSE};
use core::arch::global_asm;
use protocol::PAGE_SIZE;

/// Where the direct map begins.
pub const DIRECT_MAP_BASE: usize = 0xc000_0000;
/// 4 MiB pages of the direct map.
pub const DIRECT_MAP_PAGES: usize = 240;
/// 4 MiB pages at the end of memory that are mapped 1:1.
pub const DEVICE_PAGES: usize = 15;

/// Pages of the kernel's stack.
pub const STACK_PAGES: usize = 8;
/// Where it ends: behind the direct map come a page of nothing and its own pages.
pub const STACK_END: usize =
    DIRECT_MAP_BASE + (DIRECT_MAP_PAGES << 22) + (1 + STACK_PAGES) * PAGE_SIZE;

const FIRST_SLOT: usize = DIRECT_MAP_BASE >> 22;

const _: () = assert!(FIRST_SLOT + DIRECT_MAP_PAGES + 1 + DEVICE_PAGES == 1024);

global_asm!(
    r#"
    # Xen's note: where to enter in 32-bit mode (type 18).
    .pushsection .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .balign 4
    .long pvh_start
    .popsection

    # Our note: where the introspection header is (type 1), in 64 bits.
    .pushsection .note.glasspager, "a", @note
    .balign 4
    .long 11, 8, {note_type}
    .asciz "Glasspager"
    .balign 4
    .long INTROSPECTION - {direct_map}, 0
    .popsection

    .pushsection .boot, "awx"
    .global pvh_start
pvh_start:
    cli
    cld
    # 4 MiB pages.
    mov eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_directory
    mov cr3, eax
    # Paging on; supervisor writes respect read-only pages.
    mov eax, {cr0}
    mov cr0, eax
    mov eax, offset boot_high
    jmp eax

    .balign 4096
    .global boot_directory
boot_directory:
    # Present, writable, large.
    .long 0x83
    .fill {first_slot} - 1, 4, 0
    # The same, global.
    .set page, 0
    .rept {direct_pages}
    .long page * 0x400000 + 0x183
    .set page, page + 1
    .endr
    .long boot_stack_table + 3
    # As the direct map, uncached.
    .set page, 1024 - {device_pages}
    .rept {device_pages}
    .long page * 0x400000 + 0x19b
    .set page, page + 1
    .endr

boot_stack_table:
    # Nothing, then the stack: present, writable, global.
    .long 0
    .set page, 0
    .rept {stack_pages}
    .long KERNEL_STACK - {direct_map} + page * 4096 + 0x103
    .set page, page + 1
    .endr
    .fill 1023 - {stack_pages}, 4, 0
    .popsection

    .pushsection .text
boot_high:
    mov esp, {stack_end}
    # Time stamp of the first moment in the final mode: the second argument. The first one is the
    # address of the start info.
    rdtsc
    push edx
    push eax
    push ebx
    call kernel_main
    .popsection
    "#,
    direct_map = const DIRECT_MAP_BASE,
    stack_pages = const STACK_PAGES,
    stack_end = const STACK_END,
    note_type = const protocol::introspection::NOTE_TYPE,
    cr4 = const CR4_PSE,
    cr0 = const CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
    first_slot = const FIRST_SLOT,
    direct_pages = const DIRECT_MAP_PAGES,
    device_pages = const DEVICE_PAGES,
);
