//! Into the kernel and out of it again.
//!
//! Every entry from user mode pushes the registers right into the current thread's [`Context`]: the
//! task state segment's stack pointer is the end of that thread's frame. Then the one kernel stack
//! is taken, from its end, and a Rust function runs to completion. It ends in [`resume`], with the
//! frame of the thread to go on with.
//!
//! The segment registers are the kernel's: what a task loads there may be gone after its next entry.
//! DS and ES are flat user data, in the kernel too, FS is the thread's UTCB.
//!
//! # What the kernel relies on
//! Every way in must see to each of these before the first line of Rust, whatever the task has set:
//!
//! | | system call | trap | NMI, machine check | double fault |
//! |---|---|---|---|---|
//! | flags: direction, trap, interrupts, nested task, alignment check, I/O privilege all off | `kernel_state` | `kernel_state` | `kernel_state` | task gate |
//! | DS, ES: flat | `kernel_state` | `kernel_state` | `kernel_state` | task gate |
//! | CS, SS: ring 0 | processor | processor | processor | task gate |
//! | FS, GS: whatever; the kernel uses neither | | | | |
//! | ESP: the kernel's stack, a multiple of 16 before the call | here | here | here | task gate |
//! | the frame: where the thread's registers belong | processor | processor, or [`super::virtual_8086`] | | |
//! | CR3: any task's, all of which map the kernel alike | | | | |
//! | x87 and MMX: the task's; the kernel has no such instruction | | | | |
//!
//! The compiler relies on the direction flag and the segments; SMAP does on the flag of alignment
//! checks, and `iretd` on that of nested tasks.

use super::{
    boot::{STACK_END, STACK_PAGES},
    descriptors::load_utcb_segment,
    virtual_8086::handle_trap_in_virtual_8086,
};
use crate::{
    arch::{
        io_apic::FIRST_VECTOR,
        switch::{leave_kernel, leave_to},
        trap::{handle_page_fault, handle_trap, handle_trap_in_kernel},
    },
    kernel_cell::kernel,
    last_words::Registers,
};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use kernel_core::{arch::Context, entry::system_call::Entered, threads::thread::Thread};
use protocol::{
    PAGE_SIZE, fault::Access, introspection::last_words::REGISTERS,
    operation::interrupts::INTERRUPTS,
};

/// How many vectors have a trap entry: the processor's exceptions, the kernel's own, those of interrupts, and
/// the spurious one.
pub const TRAPS: usize = OWN + INTERRUPTS as usize + 1;

/// The vectors from 0 on that are exceptions or interrupts of the kernel's own.
const OWN: usize = 34;

/// The vector of system calls: `int 0x30`.
pub const SYSTEM_CALL_VECTOR: usize = 0x30;

/// The vector of entry number `number`.
pub const fn trap_vector(number: usize) -> usize {
    match number {
        _ if number < OWN => number,
        _ if number + 1 < TRAPS => FIRST_VECTOR as usize + number - OWN,
        _ => 255,
    }
}

unsafe extern "C" {
    /// Addresses of the entries.
    #[link_name = "trap_entries"]
    pub static TRAP_ENTRIES: [u32; TRAPS];
    pub fn system_call_entry();
}

// Offsets from the saved edi, which is where a frame begins.
const FRAME: usize = offset_of!(Context, general);
const FRAME_SIZE: usize = offset_of!(Context, end_of_frame) - FRAME;
/// Where an entry has pushed the vector; behind it is the error code.
pub const VECTOR: usize = offset_of!(Context, vector) - FRAME;
/// Where it has pushed the instruction pointer.
pub const INSTRUCTION: usize = offset_of!(Context, instruction) - FRAME;
const CODE_SEGMENT: usize = offset_of!(Context, code_segment) - FRAME;
const FLAGS: usize = offset_of!(Context, flags) - FRAME;
const STACK_SEGMENT: usize = offset_of!(Context, stack_segment) - FRAME;

/// From the beginning of a frame back to the function that takes the thread's system calls.
const SYSTEM_CALLS_GO_TO: usize =
    offset_of!(Thread, context) + FRAME - offset_of!(Thread, system_calls_go_to);

/// Flags that a task may have set.
const USER_FLAGS: u32 = protocol::registers::USER_FLAGS as u32;
/// Interrupts on, and the bit that is always one.
const FIXED_FLAGS: u32 = 0x202;
/// The flag of virtual-8086 mode, in the third byte.
const VIRTUAL_8086: u8 = 2;

global_asm!(
    r#"
    .pushsection .bss
    # Used only where the boot page tables have it once more.
    .balign 4096
    .global KERNEL_STACK
KERNEL_STACK:
    .skip {stack_size}
    .popsection

    # Needs room for a word below the stack pointer.
    .macro kernel_state scratch
    push 2
    popfd
    mov \scratch, {user_data}
    mov ds, \scratch
    mov es, \scratch
    .endm

    .pushsection .text
    .balign 16
    .global system_call_entry
system_call_entry:
    # No vector and no error code: what an earlier trap left there nobody looks at.
    sub esp, 8
    pushad
    mov esi, esp
    # Arguments are in ecx, edx and, on the stack, eax. Where it is aligned to 16 bytes at the call.
    mov esp, {stack_end} - 12
    kernel_state ebx
    push eax
    # It never returns: the next thread's frame, not this stack, says where to go on. Which function takes
    # the call the thread says, so that whoever is not foreign does not pay for the question.
    call dword ptr [esi - {system_calls_go_to}]
    # All registers of the frame that the stack pointer points to.
restore_all:
    popad
    # Vector and error code.
    add esp, 8
    iretd

page_fault:
    pushad
    test byte ptr [esp + {flags} + 2], {virtual_8086}
    jnz trap_in_virtual_8086
    test byte ptr [esp + {code_segment}], 3
    jz trap_in_kernel
    # Where it was, and how.
    mov ecx, cr2
    mov edx, [esp + {error_code}]
    mov esp, {stack_end}
    kernel_state eax
    call {handle_page_fault}

    .macro trap_entry number
    .balign 16
trap_\number:
    .if \number != 8 && (\number < 10 || \number > 14) && \number != 17 && \number != 21
    push 0
    .endif
    push \number
    .if \number == 2 || \number == 18
    jmp trap_emergency
    .elseif \number == 14
    jmp page_fault
    .else
    jmp trap_common
    .endif
    .endm
    .macro interrupt_entry number
    .balign 16
interrupt_\number:
    push 0
    push {first_interrupt} + \number
    jmp trap_common
    .endm
    .altmacro
    .set number, 0
    .rept {own}
    trap_entry %number
    .set number, number + 1
    .endr
    .set number, 0
    .rept {interrupts}
    interrupt_entry %number
    .set number, number + 1
    .endr
    .balign 16
trap_spurious:
    push 0
    push 255
trap_common:
    pushad
    test byte ptr [esp + {flags} + 2], {virtual_8086}
    jnz trap_in_virtual_8086
    test byte ptr [esp + {code_segment}], 3
    jz trap_in_kernel
    mov esp, {stack_end}
    kernel_state eax
    call {handle_trap}
trap_emergency:
    # The thread that was interrupted has nothing to do with it.
    pushad
trap_in_kernel:
    # Kept by the function, and saved in the frame.
    mov ebx, esp
    kernel_state eax
    and esp, -16
    sub esp, 12
    push ebx
    call {handle_trap_in_kernel}
    # Back to what was interrupted, in its interrupt window.
    mov esp, ebx
    jmp restore_all

trap_in_virtual_8086:
    # The processor has pushed four data segments first, so that the frame lies too low: up with it,
    # from its end. Its registers become those of a thread that never was in that mode.
    mov ebx, esp
    mov esp, {stack_end}
    kernel_state eax
    lea esi, [ebx + {frame_size} - 4]
    lea edi, [esi + {data_segments}]
    mov ecx, {frame_size} / 4
    std
    rep movsd
    cld
    add ebx, {data_segments}
    mov dword ptr [ebx + {code_segment}], {user_code}
    mov dword ptr [ebx + {stack_segment}], {user_data}
    and dword ptr [ebx + {flags}], {user_flags}
    or dword ptr [ebx + {flags}], {fixed_flags}
    call {handle_trap_in_virtual_8086}
    .popsection

    .pushsection .rodata
    .balign 4
    .global trap_entries
trap_entries:
    .macro trap_address number
    .long trap_\number
    .endm
    .set number, 0
    .rept {own}
    trap_address %number
    .set number, number + 1
    .endr
    .macro interrupt_address number
    .long interrupt_\number
    .endm
    .set number, 0
    .rept {interrupts}
    interrupt_address %number
    .set number, number + 1
    .endr
    .long trap_spurious
    .noaltmacro
    .popsection
    "#,
    stack_size = const STACK_PAGES * PAGE_SIZE,
    stack_end = const STACK_END,
    own = const OWN,
    interrupts = const INTERRUPTS,
    first_interrupt = const FIRST_VECTOR,
    user_data = const Context::USER_DATA,
    system_calls_go_to = const SYSTEM_CALLS_GO_TO,
    frame_size = const FRAME_SIZE,
    error_code = const VECTOR + size_of::<usize>(),
    code_segment = const CODE_SEGMENT,
    flags = const FLAGS,
    stack_segment = const STACK_SEGMENT,
    user_code = const Context::USER_CODE,
    user_flags = const USER_FLAGS,
    fixed_flags = const FIXED_FLAGS,
    virtual_8086 = const VIRTUAL_8086,
    data_segments = const size_of::<[u32; Context::DATA_SEGMENTS]>(),
    handle_trap_in_virtual_8086 = sym handle_trap_in_virtual_8086,
    handle_page_fault = sym handle_page_fault_by_registers,
    handle_trap = sym handle_trap,
    handle_trap_in_kernel = sym handle_trap_in_kernel,
);

extern "fastcall" fn handle_system_call(timeouts: usize, tag: usize, target: usize) -> ! {
    kernel().take_system_call(target, tag, timeouts, |next, entered| leave_to(next, entered));
    leave_kernel()
}

/// The system call of a foreign thread, all of whose registers are saved as those of others are.
extern "fastcall" fn handle_foreign_system_call(_: usize, _: usize, _: usize) -> ! {
    kernel().foreign_system_call();
    leave_kernel()
}

/// See [`kernel_core::memory::machine::Processor::system_calls_go_to`].
#[inline(always)]
pub fn system_calls_go_to(is_foreign: bool) -> u32 {
    let others = handle_system_call as *const ();
    let function = if is_foreign { handle_foreign_system_call as *const () } else { others };
    function as u32
}

/// The words of a frame that registers are in, by the numbers that DWARF gives them: that of the stack pointer
/// is the first one that is not there if the kernel itself was interrupted.
const WORDS: [usize; 9] = [7, 6, 5, 4, STACK_POINTER, 2, 1, 0, 10];
const STACK_POINTER: usize = 13;

/// The registers in a frame.
///
/// # Safety
/// A trap in the kernel must have pushed it.
pub unsafe fn registers_in(frame: *const usize) -> Registers {
    let mut registers = [0; REGISTERS];
    for (register, word) in registers.iter_mut().zip(WORDS) {
        *register = match word {
            STACK_POINTER => frame.wrapping_add(STACK_POINTER) as u64,
            // SAFETY: the caller vouches for the frame.
            word => unsafe { *frame.add(word) as u64 },
        };
    }
    registers
}

/// The registers of now that functions keep, and where that is.
#[inline(always)]
pub fn registers() -> Registers {
    let mut registers = [0; REGISTERS];
    // SAFETY: writes to the array, and to a word of the stack.
    unsafe {
        asm!(
            "mov [{to} + 3 * 8], ebx",
            "mov [{to} + 4 * 8], esp",
            "mov [{to} + 5 * 8], ebp",
            "mov [{to} + 6 * 8], esi",
            "mov [{to} + 7 * 8], edi",
            "call 2f",
            "2:",
            "pop {here}",
            "mov [{to} + 8 * 8], {here}",
            to = in(reg) &raw mut registers,
            here = out(reg) _,
            options(preserves_flags),
        );
    }
    registers
}

/// How a thread has entered the kernel, which makes no difference.
pub fn entered(_context: &Context) -> Entered {
    Entered::ByTrap
}

pub use resume as finish_system_call;

/// Goes on with the thread whose frame ends there.
///
/// # Safety
/// It must have entered the kernel, or be set up to run.
#[inline(always)]
pub unsafe fn resume(frame_end: *const u8) -> ! {
    // SAFETY: the caller vouches for the registers. Nothing that is on the stack is needed any more.
    unsafe {
        asm!(
            "lea esp, [{frame_end} - {frame_size}]",
            "popad",
            // Vector and error code.
            "add esp, 8",
            "iretd",
            frame_end = in(reg) frame_end,
            frame_size = const FRAME_SIZE,
            options(noreturn),
        )
    }
}

extern "fastcall" fn handle_page_fault_by_registers(address: usize, error: usize) -> ! {
    handle_page_fault(address, error)
}

/// Bits of a page fault's error code (Intel manual volume 3, 4.7): `p` and `w`. There is none for
/// instruction fetches without NX.
const ERROR_ACCESS: usize = 3;

/// The access that a page fault's error code tells.
#[inline(always)]
pub fn fault_access(error: usize) -> Access {
    Access::from_bits_truncate((error & ERROR_ACCESS) as u8)
}

/// From the end of a frame back to what FXSAVE stores.
const FX: usize = offset_of!(Context, end_of_frame) - offset_of!(Context, fx);

/// Saves what the processor holds of a thread beside its frame, which ends there.
///
/// # Safety
/// It must be the end of a [`Context`]'s frame.
#[inline(always)]
pub unsafe fn save(frame_end: *mut u8) {
    // SAFETY: the area in a context is 64-byte aligned and 512 bytes long.
    unsafe {
        asm!(
            "fxsave [{end} - {fx}]",
            end = in(reg) frame_end,
            fx = const FX,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads what [`save`] has saved. What it has not is cleared, so that nothing of the thread before
/// is left: the pointers to the last x87 instruction and its operand, which some processors save only
/// after an exception.
///
/// # Safety
/// It must be the end of the context's frame.
#[inline(always)]
pub unsafe fn load(frame_end: *const u8, context: &Context) {
    // SAFETY: the area holds what FXSAVE stored, the initial state, or what somebody has set of it, without
    // bits that the processor has not; the kernel itself does not use these registers.
    unsafe {
        asm!(
            "fninit",
            "fxrstor [{end} - {fx}]",
            end = in(reg) frame_end,
            fx = const FX,
            options(nostack, preserves_flags),
        );
    }
    load_utcb_segment(context.utcb_segment);
}
