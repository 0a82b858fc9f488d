//! Into the kernel and out of it again.
//!
//! Every entry from user mode pushes the registers right into the current thread's [`Context`]: the
//! task state segment's stack pointer is the end of that thread's frame. Then the one kernel stack
//! is taken, from its end, and a Rust function runs to completion. It ends in [`finish_system_call`]
//! or [`resume`], with the frame of the thread to go on with.
//!
//! On some software KVMs `syscall` does not change to ring 0: the processor goes to the entry in
//! ring 3 and takes a page fault there, because the page is the kernel's. The page-fault stub
//! recognises that and goes on as with a system call. A task can also jump there by itself; so the
//! stub takes nothing on trust that the processor would have guaranteed.
//!
//! # What the kernel relies on
//! Every way in must see to each of these before the first line of Rust, whatever the task has set:
//!
//! | | system call | system call in disguise | trap | NMI, double fault, machine check |
//! |---|---|---|---|---|
//! | flags: direction, trap, interrupts, nested task, alignment check, I/O privilege all off | `FMASK` | `kernel_flags` | `kernel_flags` | `kernel_flags` |
//! | CS, SS: ring 0 | processor | processor | processor | processor |
//! | DS, ES, FS, GS: whatever; the kernel uses no base | | | | |
//! | RSP: the kernel's stack, a multiple of 16 before the call | here | here | here | the emergency stack |
//! | CR3: any task's, all of which map the kernel alike | | | | |
//! | x87 and SSE: the task's; the kernel has no such instruction | | | | |
//!
//! The compiler relies on the direction flag; SMAP does on that of alignment checks, and `iretq` on that
//! of nested tasks.

use super::{
    boot::{STACK_END, STACK_PAGES},
    descriptors::{FRAME_END_OFFSET, KERNEL_CODE, SYSRET_BASE},
};
use crate::{
    arch::{
        io_apic::FIRST_VECTOR,
        processor,
        switch::{leave_kernel, leave_to},
        trap::{handle_page_fault, handle_trap, handle_trap_in_kernel},
    },
    kernel_cell::kernel,
};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use kernel_core::{arch::Context, entry::system_call::Entered};
use protocol::{PAGE_SIZE, fault::Access, operation::interrupts::INTERRUPTS};

/// How many vectors have an entry: the processor's exceptions, the kernel's own, those of interrupts, and the
/// spurious one.
pub const TRAPS: usize = OWN + INTERRUPTS as usize + 1;

/// The vectors from 0 on that are exceptions or interrupts of the kernel's own.
const OWN: usize = 34;

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
    pub static TRAP_ENTRIES: [u64; TRAPS];
    fn system_call_entry();
}

// Offsets from the saved r15, which is where a frame begins.
const FRAME: usize = offset_of!(Context, preserved);
const SCRATCH: usize = offset_of!(Context, scratch) - FRAME;
const RDX: usize = SCRATCH + 6 * 8;
const RAX: usize = SCRATCH + 8 * 8;
/// Where an entry has pushed the vector; behind it is the error code.
pub const VECTOR: usize = offset_of!(Context, vector) - FRAME;
/// Where it has pushed the instruction pointer.
pub const INSTRUCTION: usize = offset_of!(Context, instruction) - FRAME;
const CODE_SEGMENT: usize = offset_of!(Context, code_segment) - FRAME;
const FLAGS: usize = offset_of!(Context, flags) - FRAME;
const STACK: usize = offset_of!(Context, stack) - FRAME;
/// The preserved registers: r15, r14, r13, r12, rbp, rbx.
const PRESERVED: usize = 6 * 8;

/// Flags that a task may have set: arithmetic, trap, direction, alignment check, identification.
const USER_FLAGS: u32 = 0x24_0dd5;
/// Interrupts on, and the bit that is always one.
const FIXED_FLAGS: u32 = 0x202;

global_asm!(
    r#"
    .pushsection .bss
    # Used only where the boot page tables have it once more.
    .balign 4096
    .global KERNEL_STACK
KERNEL_STACK:
    .skip {stack_size}
USER_STACK:
    .skip 8
    .popsection

    # Needs room for a word below the stack pointer.
    .macro kernel_flags
    push 2
    popfq
    .endm

    .pushsection .text
    .balign 16
    .global system_call_entry
system_call_entry:
    # The processor left us the user's stack; rcx has its instruction pointer, r11 its flags. r9 is one of
    # the registers that are not kept.
    mov r9, rsp
    # The end of the frame of the thread that runs.
    mov rsp, [rip + TASK_STATE_SEGMENT + {frame_end}]
    mov [rsp - {frame_size} + {stack}], r9
    mov [rsp - {frame_size} + {flags}], r11
    mov [rsp - {frame_size} + {instruction}], rcx
system_call_common:
    # The rest of the frame is of an earlier trap, and not used: the segments are known, the scratch
    # registers are not kept by system calls.
    mov dword ptr [rsp - {frame_size} + {vector}], {system_call}
    mov [rsp - {frame_size} + 40], rbx
    mov [rsp - {frame_size} + 32], rbp
    mov [rsp - {frame_size} + 24], r12
    mov [rsp - {frame_size} + 16], r13
    mov [rsp - {frame_size} + 8], r14
    mov [rsp - {frame_size}], r15
    movabs rsp, {stack_end}
    # Arguments are in rdi, rsi, rdx already. It never returns: the next thread's frame, not this
    # stack, says where to go on.
    call {handle_system_call}

    # All registers of the frame that the stack pointer points to.
    .global restore_all
restore_all:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    # Vector and error code.
    add rsp, 16
    iretq

disguised_system_call:
    # Below the error code is room for the vector.
    kernel_flags
    # Only instruction pointers below 4 GiB: sysret must never see a non-canonical one. The error
    # code's slot serves to test that.
    mov [rsp], rcx
    shr qword ptr [rsp], 32
    jnz jumped_to_entry
    mov [rsp + 8], rcx
    and r11d, {user_flags}
    or r11d, {fixed_flags}
    mov [rsp + 24], r11
    # To the end of the frame: behind error code, instruction pointer, CS, flags, stack pointer, SS.
    add rsp, 48
    jmp system_call_common
jumped_to_entry:
    # A task jumped to the entry: an instruction fetch from a page that it may not use.
    mov qword ptr [rsp], 0x15
    push 14
    jmp page_fault

    .macro push_registers
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    .endm

    .macro trap_entry number
    .balign 16
trap_\number:
    .if \number == 14
    cmp qword ptr [rsp + 8], offset system_call_entry
    je disguised_system_call
    .elseif \number != 8 && (\number < 10 || \number > 13) && \number != 17 && \number != 21 && \number != 29 && \number != 30
    push 0
    .endif
    push \number
    .if \number == 2 || \number == 8 || \number == 18
    jmp trap_emergency
    .elseif \number == 14
page_fault:
    push_registers
    test byte ptr [rsp + {code_segment}], 3
    jz trap_in_kernel
    # Where it was, and how.
    mov rdi, cr2
    mov rsi, [rsp + {error_code}]
    movabs rsp, {stack_end}
    kernel_flags
    call {handle_page_fault}
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
    push_registers
    test byte ptr [rsp + {code_segment}], 3
    jz trap_in_kernel
    movabs rsp, {stack_end}
    kernel_flags
    call {handle_trap}
trap_emergency:
    # On the emergency stack, not in a thread's frame. No registers are needed any more.
    sub rsp, {vector}
trap_in_kernel:
    mov rdi, rsp
    # Kept by the function, and saved in the frame.
    mov rbx, rsp
    kernel_flags
    and rsp, -16
    call {handle_trap_in_kernel}
    # Back to what was interrupted, in its interrupt window.
    mov rsp, rbx
    jmp restore_all
    .popsection

    .pushsection .rodata
    .balign 8
    .global trap_entries
trap_entries:
    .macro trap_address number
    .quad trap_\number
    .endm
    .set number, 0
    .rept {own}
    trap_address %number
    .set number, number + 1
    .endr
    .macro interrupt_address number
    .quad interrupt_\number
    .endm
    .set number, 0
    .rept {interrupts}
    interrupt_address %number
    .set number, number + 1
    .endr
    .quad trap_spurious
    .noaltmacro
    .popsection
    "#,
    stack_size = const STACK_PAGES * PAGE_SIZE,
    stack_end = const STACK_END,
    own = const OWN,
    interrupts = const INTERRUPTS,
    first_interrupt = const FIRST_VECTOR,
    frame_end = const FRAME_END_OFFSET,
    system_call = const Context::SYSTEM_CALL,
    frame_size = const offset_of!(Context, end_of_frame) - FRAME,
    vector = const VECTOR,
    error_code = const VECTOR + size_of::<usize>(),
    instruction = const INSTRUCTION,
    code_segment = const CODE_SEGMENT,
    flags = const FLAGS,
    stack = const STACK,
    user_flags = const USER_FLAGS,
    fixed_flags = const FIXED_FLAGS,
    handle_system_call = sym handle_system_call,
    handle_page_fault = sym handle_page_fault,
    handle_trap = sym handle_trap,
    handle_trap_in_kernel = sym handle_trap_in_kernel,
);

/// How a thread has entered the kernel.
pub fn entered(context: &Context) -> Entered {
    match context.vector {
        Context::SYSTEM_CALL => Entered::BySystemCall,
        _ => Entered::ByTrap,
    }
}

/// Goes on behind the system call of the thread whose registers these are.
///
/// # Safety
/// It must be in a system call.
#[inline(always)]
pub unsafe fn finish_system_call(context: *const Context) -> ! {
    // SAFETY: the caller vouches for the registers. Nothing that is on the stack is needed any more.
    unsafe {
        asm!(
            "lea rsp, [{context} + {frame}]",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            // What the system call gives: a tag and a label.
            "mov rax, [rsp - {preserved} + {rax}]",
            "mov rdx, [rsp - {preserved} + {rdx}]",
            // Where the processor goes on, and with which flags.
            "mov rcx, [rsp - {preserved} + {instruction}]",
            "mov r11, [rsp - {preserved} + {flags}]",
            "mov rsp, [rsp - {preserved} + {stack}]",
            // Nothing of the kernel's leaves in the registers that are not kept.
            "xor edi, edi",
            "xor esi, esi",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "sysretq",
            context = in(reg) context,
            frame = const FRAME,
            preserved = const PRESERVED,
            rax = const RAX,
            rdx = const RDX,
            instruction = const INSTRUCTION,
            flags = const FLAGS,
            stack = const STACK,
            options(noreturn),
        )
    }
}

/// Goes on with the thread whose registers these are, with all of them.
///
/// # Safety
/// It must have entered the kernel by a trap, or be set up to run.
#[inline(always)]
pub unsafe fn resume(context: *const Context) -> ! {
    // SAFETY: as in `finish_system_call`.
    unsafe {
        asm!(
            "lea rsp, [{context} + {frame}]",
            "jmp restore_all",
            context = in(reg) context,
            frame = const FRAME,
            options(noreturn),
        )
    }
}

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
/// Where 32-bit code enters.
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
/// Cleared on entry: trap, interrupt, direction, I/O privilege, nested task, alignment check.
const ENTRY_FLAGS_OFF: u64 = 0x4_7700;

/// Lets `syscall` enter here, and nowhere else: there is no 32-bit code, but if there were, it would come
/// back as 64-bit code that knows no more than before.
pub fn enable_system_calls() {
    let selectors = u64::from(SYSRET_BASE) << 48 | u64::from(KERNEL_CODE) << 32;
    let entry = system_call_entry as unsafe extern "C" fn() as usize as u64;
    // SAFETY: the entry is the one for system calls; the selectors are those of the descriptor
    // table, and interrupts are off while it runs.
    unsafe {
        processor::write_msr(STAR, selectors);
        processor::write_msr(LSTAR, entry);
        processor::write_msr(CSTAR, entry);
        processor::write_msr(FMASK, ENTRY_FLAGS_OFF);
    }
}

extern "C" fn handle_system_call(target: usize, tag: usize, timeouts: usize) -> ! {
    kernel().take_system_call(target, tag, timeouts, |next, entered| leave_to(next, entered));
    leave_kernel()
}

/// Bits of a page fault's error code (AMD64 manual volume 2, 8.2.15).
const ERROR_PRESENT: usize = 1;
const ERROR_WRITE: usize = 2;
const ERROR_FETCH: usize = 16;

/// The access that a page fault's error code tells.
#[inline(always)]
pub fn fault_access(error: usize) -> Access {
    let access = (error & (ERROR_PRESENT | ERROR_WRITE)) | (error & ERROR_FETCH) >> 2;
    Access::from_bits_truncate(access as u8)
}

/// Saves what the processor holds of a thread beside its frame.
#[inline(always)]
pub fn save(context: &mut Context) {
    // SAFETY: the area is 64-byte aligned and 512 bytes long; the other instructions only read
    // registers (FSGSBASE was enabled at boot).
    unsafe {
        asm!(
            "fxsave64 [{fx}]",
            "rdfsbase {fs}",
            "rdgsbase {gs}",
            fx = in(reg) &raw mut context.fx,
            fs = out(reg) context.fs_base,
            gs = out(reg) context.gs_base,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads what [`save`] has saved. What it has not is cleared, so that nothing of the thread before
/// is left: the selectors, and the pointers to the last x87 instruction and its operand, which some
/// processors save only after an exception.
#[inline(always)]
pub fn load(context: &Context) {
    // SAFETY: the area holds what FXSAVE stored or the initial state; the kernel itself uses
    // neither these registers nor any data segment.
    unsafe {
        asm!(
            "fninit",
            "fxrstor64 [{fx}]",
            "mov ds, {nothing:e}",
            "mov es, {nothing:e}",
            "mov fs, {nothing:e}",
            "mov gs, {nothing:e}",
            "wrfsbase {fs}",
            "wrgsbase {gs}",
            nothing = in(reg) 0,
            fx = in(reg) &raw const context.fx,
            fs = in(reg) context.fs_base,
            gs = in(reg) context.gs_base,
            options(nostack, preserves_flags),
        );
    }
}
