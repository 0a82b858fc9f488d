//! From PVH's flat 32-bit protected mode to 64-bit code in the upper half.
//!
//! The page tables of the kernel are data of the image, so that nothing has to be written at boot
//! and the time to boot does not depend on the size of memory. They map the first 4 GiB of physical
//! memory three times: 1:1 for the switch of modes, in PML4 slot 272 as the direct map (not
//! executable), and the first GiB in the upper 2 GiB, where the kernel is linked.
//!
//! Behind the direct map lies the kernel's stack once more, with nothing below it: whoever goes beyond its
//! end overwrites nothing, and takes a double fault.

use crate::arch::control_bits::{
    CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE, CR4_PGE,
    EFER_LME, EFER_NXE, EFER_SCE,
};
use core::arch::global_asm;
use protocol::PAGE_SIZE;

/// The PML4 slot of the direct map. Slot 256 is unusable on some software KVMs.
pub const DIRECT_MAP_SLOT: usize = 272;

/// Where the direct map begins.
pub const DIRECT_MAP_BASE: u64 = 0xffff_0000_0000_0000 | (DIRECT_MAP_SLOT as u64) << 39;

/// Pages of the kernel's stack.
pub const STACK_PAGES: usize = 8;
/// Where it ends: behind the direct map come a page of nothing and its own pages.
pub const STACK_END: usize = DIRECT_MAP_BASE as usize + (4 << 30) + (1 + STACK_PAGES) * PAGE_SIZE;

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

    # Our note: where the introspection header is (type 1).
    .pushsection .note.glasspager, "a", @note
    .balign 4
    .long 11, 8, {note_type}
    .asciz "Glasspager"
    .balign 4
    .quad INTROSPECTION - {kernel_offset}
    .popsection

    .pushsection .boot, "awx"
    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    # Address of the start info: rdi for the Rust code later.
    mov edi, ebx
    # Paging with 64-bit entries, global pages, FXSAVE and SIMD exceptions.
    mov eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    # Long mode, system call instructions, no-execute.
    mov ecx, {efer}
    rdmsr
    or eax, {efer_bits}
    wrmsr
    # Paging on; supervisor writes respect read-only pages.
    mov eax, {cr0}
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    # Far return to 64-bit code: selector 8 of the boot GDT.
    mov esp, offset boot_stack_end
    push 8
    mov eax, offset boot_64
    push eax
    retf

    .code64
boot_64:
    xor eax, eax
    mov ss, eax
    mov ds, eax
    mov es, eax
    movabs rsp, {stack_end}
    # Time stamp of the first moment in the final mode.
    rdtsc
    shl rdx, 32
    lea rsi, [rax + rdx]
    movabs rax, offset kernel_main
    # Keeps the stack aligned as if a call had come here.
    push 0
    jmp rax

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00209a0000000000
boot_gdt_pointer:
    .word 15
    .long boot_gdt

    .balign 8
boot_stack:
    .quad 0, 0
boot_stack_end:

    .balign 4096
    .global boot_pml4
boot_pml4:
    .quad boot_pdpt_direct + 3
    .fill {direct_slot} - 1, 8, 0
    .quad boot_pdpt_direct + 3 + {no_execute}
    .fill 511 - {direct_slot} - 1, 8, 0
    .quad boot_pdpt_kernel + 3

boot_pdpt_direct:
    .quad boot_directories + 3
    .quad boot_directories + 0x1003
    .quad boot_directories + 0x2003
    .quad boot_directories + 0x3003
    .quad boot_stack_directory + 3
    .fill 507, 8, 0

boot_stack_directory:
    .quad boot_stack_table + 3
    .fill 511, 8, 0
boot_stack_table:
    # Nothing, then the stack: present, writable, global.
    .quad 0
    .set page, 0
    .rept {stack_pages}
    .quad KERNEL_STACK - {kernel_offset} + page * 4096 + 0x103
    .set page, page + 1
    .endr
    .fill 511 - {stack_pages}, 8, 0

boot_pdpt_kernel:
    .fill 510, 8, 0
    .quad boot_directories + 3
    .quad boot_directories + 0x1003 + {no_execute}

    # 2 MiB pages: present, writable, large, global; the last GiB, where devices are, uncached.
boot_directories:
    .set page, 0
    .rept 1536
    .quad page * 0x200000 + 0x183
    .set page, page + 1
    .endr
    .rept 512
    .quad page * 0x200000 + 0x19b
    .set page, page + 1
    .endr
    .popsection
    "#,
    kernel_offset = const KERNEL_OFFSET,
    stack_end = const STACK_END,
    note_type = const protocol::introspection::NOTE_TYPE,
    cr4 = const CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT,
    cr0 = const CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
    efer = const 0xc000_0080u32,
    efer_bits = const EFER_SCE | EFER_LME | EFER_NXE,
    direct_slot = const DIRECT_MAP_SLOT,
    stack_pages = const STACK_PAGES,
    no_execute = const 1u64 << 63,
);

/// From a linked address of the kernel to the physical one.
pub const KERNEL_OFFSET: u64 = 0xffff_ffff_8000_0000;
