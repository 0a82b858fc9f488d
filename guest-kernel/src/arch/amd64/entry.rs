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
//! Which function takes a system call stands in the [`Thread`]: that of a foreign thread saves
//! the registers that system calls do not keep. So whoever is not foreign does not pay for the question.
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
    last_words::Registers,
};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use kernel_core::{arch::Context, entry::system_call::Entered, threads::thread::Thread};
use protocol::{
    PAGE_SIZE, fault::Access, introspection::last_words::REGISTERS,
    operation::interrupts::INTERRUPTS,
};

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
    fn foreign_system_call();
}

// Offsets from the saved r15, which is where a frame begins.
const FRAME: usize = offset_of!(Context, preserved);
const FRAME_SIZE: usize = offset_of!(Context, end_of_frame) - FRAME;
const SCRATCH: usize = offset_of!(Context, scratch) - FRAME;
const RDX: usize = SCRATCH + 6 * 8;
const RAX: usize = SCRATCH + 8 * 8;
/// Where an entry has pushed the vector; behind it is the error code.
pub const VECTOR: usize = offset_of!(Context, vector) - FRAME;
/// Where it has pushed the instruction pointer.
pub const INSTRUCTION: usize = offset_of!(Context, instruction) - FRAME;
const CODE_SEGMENT: usize = offset_of!(Context, code_segment) - FRAME;
const FLAGS: usize = offset_of!(Context, flags) - FRAME;
/// From the end of a frame back to the function that takes the thread's system calls.
const SYSTEM_CALLS_GO_TO: usize = offset_of!(Thread, context) + offset_of!(Context, end_of_frame)
    - offset_of!(Thread, system_calls_go_to);
const STACK: usize = offset_of!(Context, stack) - FRAME;
const STACK_SEGMENT: usize = offset_of!(Context, stack_segment) - FRAME;

/// Flags that a task may have set.
const USER_FLAGS: u32 = protocol::registers::USER_FLAGS as u32;
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
USER_FLAGS:
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
    # The processor left us the user's stack; rcx has its instruction pointer, r11 its flags. All other
    # registers are the thread's, and a foreign one's are to be saved.
    mov [rip + USER_FLAGS], r11
    # The end of the frame of the thread that runs.
    mov r11, [rip + TASK_STATE_SEGMENT + {frame_end}]
    mov [r11 - {frame_size} + {stack}], rsp
    mov [r11 - {frame_size} + {instruction}], rcx
    mov rcx, [rip + USER_FLAGS]
    mov [r11 - {frame_size} + {flags}], rcx
system_call_common:
    # The rest of the frame is of an earlier trap, and not used: the segments are known, the scratch
    # registers are not kept by system calls.
    mov dword ptr [r11 - {frame_size} + {vector}], {system_call}
    mov [r11 - {frame_size} + 40], rbx
    mov [r11 - {frame_size} + 32], rbp
    mov [r11 - {frame_size} + 24], r12
    mov [r11 - {frame_size} + 16], r13
    mov [r11 - {frame_size} + 8], r14
    mov [r11 - {frame_size}], r15
    movabs rsp, {stack_end}
    # Arguments are in rdi, rsi, rdx already. It never returns: the next thread's frame, not this
    # stack, says where to go on.
    movsxd rcx, dword ptr [r11 - {system_calls_go_to}]
    call rcx

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

    # The same with a foreign thread, whose system call is an exception: it keeps what the processor does.
    .global foreign_system_call
foreign_system_call:
    mov dword ptr [r11 - {frame_size} + {vector}], {all_registers}
    mov [r11 - {frame_size} + {scratch} + 64], rax
    mov rcx, [r11 - {frame_size} + {instruction}]
    mov [r11 - {frame_size} + {scratch} + 56], rcx
    mov [r11 - {frame_size} + {scratch} + 48], rdx
    mov [r11 - {frame_size} + {scratch} + 40], rsi
    mov [r11 - {frame_size} + {scratch} + 32], rdi
    mov [r11 - {frame_size} + {scratch} + 24], r8
    mov [r11 - {frame_size} + {scratch} + 16], r9
    mov [r11 - {frame_size} + {scratch} + 8], r10
    mov rcx, [r11 - {frame_size} + {flags}]
    mov [r11 - {frame_size} + {scratch}], rcx
    mov qword ptr [r11 - {frame_size} + {code_segment}], {user_code}
    mov qword ptr [r11 - {frame_size} + {stack_segment}], {user_data}
    # As if it had been called, where it has been.
    jmp {handle_foreign_system_call}

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
    # The end of the frame: behind error code, instruction pointer, CS, flags, stack pointer, SS.
    lea r11, [rsp + 48]
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
    # On the emergency stack, not in a thread's frame.
    push_registers
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
    frame_size = const FRAME_SIZE,
    vector = const VECTOR,
    error_code = const VECTOR + size_of::<usize>(),
    instruction = const INSTRUCTION,
    code_segment = const CODE_SEGMENT,
    flags = const FLAGS,
    stack = const STACK,
    stack_segment = const STACK_SEGMENT,
    scratch = const SCRATCH,
    system_calls_go_to = const SYSTEM_CALLS_GO_TO,
    all_registers = const Context::RESTART,
    user_code = const Context::USER_CODE,
    user_data = const Context::USER_DATA,
    user_flags = const USER_FLAGS,
    fixed_flags = const FIXED_FLAGS,
    handle_foreign_system_call = sym handle_foreign_system_call,
    handle_page_fault = sym handle_page_fault,
    handle_trap = sym handle_trap,
    handle_trap_in_kernel = sym handle_trap_in_kernel,
);

/// The words of a frame that registers are in, by the numbers that DWARF gives them.
const WORDS: [usize; REGISTERS] = [14, 12, 13, 5, 11, 10, 4, 20, 9, 8, 7, 6, 3, 2, 1, 0, 17];

/// The registers in a frame.
///
/// # Safety
/// A trap must have pushed it.
pub unsafe fn registers_in(frame: *const usize) -> Registers {
    // SAFETY: the caller vouches for the frame, which has 22 words.
    WORDS.map(|word| unsafe { *frame.add(word) as u64 })
}

/// The registers of now that functions keep, and where that is.
#[inline(always)]
pub fn registers() -> Registers {
    let mut registers = [0; REGISTERS];
    // SAFETY: writes to the array only.
    unsafe {
        asm!(
            "mov [{to} + 3 * 8], rbx",
            "mov [{to} + 6 * 8], rbp",
            "mov [{to} + 7 * 8], rsp",
            "mov [{to} + 12 * 8], r12",
            "mov [{to} + 13 * 8], r13",
            "mov [{to} + 14 * 8], r14",
            "mov [{to} + 15 * 8], r15",
            "lea {here}, [rip]",
            "mov [{to} + 16 * 8], {here}",
            to = in(reg) &raw mut registers,
            here = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    registers
}

/// How a thread has entered the kernel.
pub fn entered(context: &Context) -> Entered {
    match context.vector {
        Context::SYSTEM_CALL => Entered::BySystemCall,
        _ => Entered::ByTrap,
    }
}

/// Goes on behind the system call of the thread whose frame ends there.
///
/// # Safety
/// It must be in a system call.
#[inline(always)]
pub unsafe fn finish_system_call(frame_end: *const u8) -> ! {
    // SAFETY: the caller vouches for the registers. Nothing that is on the stack is needed any more.
    unsafe {
        asm!(
            "mov r15, [rdi - {frame_size}]",
            "mov r14, [rdi - {frame_size} + 8]",
            "mov r13, [rdi - {frame_size} + 16]",
            "mov r12, [rdi - {frame_size} + 24]",
            "mov rbp, [rdi - {frame_size} + 32]",
            "mov rbx, [rdi - {frame_size} + 40]",
            // What the system call gives: a tag and a label.
            "mov rax, [rdi - {frame_size} + {rax}]",
            "mov rdx, [rdi - {frame_size} + {rdx}]",
            // Where the processor goes on, and with which flags.
            "mov rcx, [rdi - {frame_size} + {instruction}]",
            "mov r11, [rdi - {frame_size} + {flags}]",
            "mov rsp, [rdi - {frame_size} + {stack}]",
            // Nothing of the kernel's leaves in the registers that are not kept.
            "xor edi, edi",
            "xor esi, esi",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "sysretq",
            in("rdi") frame_end,
            frame_size = const FRAME_SIZE,
            rax = const RAX,
            rdx = const RDX,
            instruction = const INSTRUCTION,
            flags = const FLAGS,
            stack = const STACK,
            options(noreturn),
        )
    }
}

/// Goes on with the thread whose frame ends there, with all of its registers.
///
/// # Safety
/// It must have entered the kernel by a trap, or be set up to run.
#[inline(always)]
pub unsafe fn resume(frame_end: *const u8) -> ! {
    // SAFETY: as in `finish_system_call`.
    unsafe {
        asm!(
            "lea rsp, [{frame_end} - {frame_size}]",
            "jmp restore_all",
            frame_end = in(reg) frame_end,
            frame_size = const FRAME_SIZE,
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

extern "C" fn handle_foreign_system_call() -> ! {
    kernel().foreign_system_call();
    leave_kernel()
}

/// See [`kernel_core::memory::machine::Processor::system_calls_go_to`]. The kernel lies in the uppermost 2 GiB,
/// where the lower half is the address, with its sign.
#[inline(always)]
pub fn system_calls_go_to(is_foreign: bool) -> u32 {
    let others = handle_system_call as *const ();
    let function = if is_foreign { foreign_system_call as *const () } else { others };
    function as usize as u32
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

/// From the end of a frame back to what FXSAVE stores, and to the bases of FS and GS.
const FX: usize = offset_of!(Context, end_of_frame) - offset_of!(Context, fx);
const FS_BASE: usize = offset_of!(Context, end_of_frame) - offset_of!(Context, fs_base);
const GS_BASE: usize = offset_of!(Context, end_of_frame) - offset_of!(Context, gs_base);

/// Saves what the processor holds of a thread beside its frame, which ends there.
///
/// # Safety
/// It must be the end of a [`Context`]'s frame.
#[inline(always)]
pub unsafe fn save(frame_end: *mut u8) {
    // SAFETY: the area in a context is 64-byte aligned and 512 bytes long; FSGSBASE was enabled at boot.
    unsafe {
        asm!(
            "fxsave64 [{end} - {fx}]",
            "rdfsbase {base}",
            "mov [{end} - {fs}], {base}",
            "rdgsbase {base}",
            "mov [{end} - {gs}], {base}",
            end = in(reg) frame_end,
            base = out(reg) _,
            fx = const FX,
            fs = const FS_BASE,
            gs = const GS_BASE,
            options(nostack, preserves_flags),
        );
    }
}

/// Loads what [`save`] has saved. What it has not is cleared, so that nothing of the thread before
/// is left: the selectors, and the pointers to the last x87 instruction and its operand, which some
/// processors save only after an exception.
///
/// # Safety
/// It must be the end of the context's frame.
#[inline(always)]
pub unsafe fn load(frame_end: *const u8, context: &Context) {
    // SAFETY: the area holds what FXSAVE stored, the initial state, or what somebody has set of it, without
    // bits that the processor has not; the bases are the thread's own, or lie in the user area. The
    // kernel itself uses neither these registers nor any data segment.
    unsafe {
        asm!(
            "fninit",
            "fxrstor64 [{end} - {fx}]",
            "mov ds, {nothing:e}",
            "mov es, {nothing:e}",
            "mov fs, {nothing:e}",
            "mov gs, {nothing:e}",
            "wrfsbase {fs}",
            "wrgsbase {gs}",
            nothing = in(reg) 0,
            end = in(reg) frame_end,
            fx = const FX,
            fs = in(reg) context.fs_base,
            gs = in(reg) context.gs_base,
            options(nostack, preserves_flags),
        );
    }
}
