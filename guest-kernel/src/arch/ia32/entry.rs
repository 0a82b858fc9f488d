//! Into the kernel and out of it again.
//!
//! Every entry from user mode pushes the registers right into the current thread's [`Context`]: the
//! task state segment's stack pointer is the end of that thread's frame. Then the one kernel stack
//! is taken, from its end, and a Rust function runs to completion. It returns the frame of the
//! thread to go on with.
//!
//! The segment registers are the kernel's: what a task loads there is gone after its next entry.
//! DS and ES are flat user data, in the kernel too, FS is the thread's UTCB.

use super::descriptors::{FRAME_END_OFFSET, TASK_STATE_SEGMENT, load_utcb_segment};
use crate::{
    arch::{local_apic, processor},
    kernel_cell::kernel,
};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use kernel_core::{
    arch::Context,
    frames::PhysicalAddress,
    index::{MaybeThread, ThreadIndex},
    page_fault::PAGE_FAULT_VECTOR,
};
use protocol::fault::Access;

/// How many vectors have a trap entry: the processor's exceptions, the timer's, and the spurious
/// one.
pub const TRAPS: usize = 34;

/// The vector of system calls: `int 0x30`.
pub const SYSTEM_CALL_VECTOR: usize = 0x30;

/// The vector of entry number `number`.
pub const fn trap_vector(number: usize) -> usize {
    if number + 1 == TRAPS { 255 } else { number }
}

unsafe extern "C" {
    /// Addresses of the entries.
    #[link_name = "trap_entries"]
    pub static TRAP_ENTRIES: [u32; TRAPS];
    pub fn system_call_entry();
    fn idle() -> !;
    fn restore() -> !;
}

// Offsets from the saved edi, which is where a frame begins.
const FRAME: usize = offset_of!(Context, general);
const VECTOR: usize = offset_of!(Context, vector) - FRAME;
const INSTRUCTION: usize = offset_of!(Context, instruction) - FRAME;
const CODE_SEGMENT: usize = offset_of!(Context, code_segment) - FRAME;

global_asm!(
    r#"
    .pushsection .bss
    .balign 16
KERNEL_STACK:
    .skip 32768
    .global KERNEL_STACK_END
KERNEL_STACK_END:
    .popsection

    .pushsection .text
    .balign 16
    .global system_call_entry
system_call_entry:
    push 0
    push {system_call}
    pushad
    cld
    mov ebx, {user_data}
    mov ds, ebx
    mov es, ebx
    # Arguments are in ecx, edx and, on the stack, eax. Where it is aligned to 16 bytes at the call.
    mov esp, offset KERNEL_STACK_END - 12
    push eax
    # It never returns: the next thread's frame, not this stack, says where to go on.
    call {handle_system_call}
    .global restore
restore:
    # The frame of the thread to go on with ends where its next entry will begin to push.
    mov esp, [TASK_STATE_SEGMENT + {frame_end}]
    sub esp, {frame_size}
    popad
    # Vector and error code.
    add esp, 8
    iretd

    .macro trap_entry number
    .balign 16
trap_\number:
    .if \number != 8 && (\number < 10 || \number > 14) && \number != 17 && \number != 21
    push 0
    .endif
    push \number
    jmp trap_common
    .endm
    .altmacro
    .set number, 0
    .rept 33
    trap_entry %number
    .set number, number + 1
    .endr
    .balign 16
trap_spurious:
    push 0
    push 255
trap_common:
    pushad
    cld
    mov eax, {user_data}
    mov ds, eax
    mov es, eax
    test byte ptr [esp + {code_segment}], 3
    jz trap_in_kernel
    mov esp, offset KERNEL_STACK_END
    call {handle_trap}
trap_in_kernel:
    mov eax, esp
    and esp, -16
    sub esp, 12
    push eax
    call {handle_trap_in_kernel}

    .global idle
idle:
    # Nothing of the kernel stack is needed any more; the interrupt that wakes us never returns.
    mov esp, offset KERNEL_STACK_END
    sti
    hlt
    jmp idle
    .popsection

    .pushsection .rodata
    .balign 4
    .global trap_entries
trap_entries:
    .macro trap_address number
    .long trap_\number
    .endm
    .set number, 0
    .rept 33
    trap_address %number
    .set number, number + 1
    .endr
    .long trap_spurious
    .noaltmacro
    .popsection
    "#,
    frame_end = const FRAME_END_OFFSET,
    user_data = const Context::USER_DATA,
    system_call = const Context::SYSTEM_CALL,
    frame_size = const offset_of!(Context, end_of_frame) - FRAME,
    code_segment = const CODE_SEGMENT,
    handle_system_call = sym handle_system_call,
    handle_trap = sym handle_trap,
    handle_trap_in_kernel = sym handle_trap_in_kernel,
);

extern "fastcall" fn handle_system_call(timeouts: usize, tag: usize, target: usize) -> ! {
    kernel().system_call(target, tag, timeouts);
    leave_kernel()
}

/// Bits of a page fault's error code (Intel manual volume 3, 4.7): `p` and `w`. There is none for
/// instruction fetches without NX.
const ERROR_ACCESS: u32 = 3;

extern "C" fn handle_trap() -> ! {
    let kernel = kernel();
    if let Some(current) = kernel.current.get() {
        let context = &kernel.threads[current].context;
        let (vector, error) = (context.vector, context.error_code);
        if vector == u32::from(PAGE_FAULT_VECTOR) {
            let access = Access::from_bits_truncate((error & ERROR_ACCESS) as u8);
            kernel.page_fault(processor::fault_address(), access);
        } else if vector == u32::from(local_apic::TIMER_VECTOR) {
            local_apic::end_of_interrupt();
            kernel.timer_tick();
        } else if vector < u32::from(local_apic::TIMER_VECTOR) {
            kernel.exception(vector as u8, error as usize);
        }
    }
    leave_kernel()
}

/// Only the timer may interrupt the kernel, and only while it idles.
extern "C" fn handle_trap_in_kernel(frame: *const u32) -> ! {
    // SAFETY: the entry code has just pushed a whole frame there, but for the user's stack.
    let [vector, error, instruction] = unsafe {
        [*frame.byte_add(VECTOR), *frame.byte_add(VECTOR + 4), *frame.byte_add(INSTRUCTION)]
    };
    if vector != u32::from(local_apic::TIMER_VECTOR) {
        let address = processor::fault_address();
        panic!(
            "trap {vector} (error {error:#x}, address {address:#x}) in the kernel at {instruction:#x}"
        );
    }
    local_apic::end_of_interrupt();
    kernel().timer_tick();
    leave_kernel()
}

/// Whose registers the processor holds beside those in the frame, and which space it works in.
struct Loaded {
    thread: MaybeThread,
    root: PhysicalAddress,
}

static mut LOADED: Loaded = Loaded { thread: MaybeThread::NOBODY, root: PhysicalAddress(0) };

/// Goes on with the current thread, after loading all of it that is not in its frame. Idles if
/// there is none.
#[inline(always)]
pub fn leave_kernel() -> ! {
    let kernel = kernel();
    let Some(next) = kernel.current.get() else {
        // SAFETY: nothing on the kernel stack is needed any more: the kernel is event style.
        unsafe { idle() }
    };
    let loaded = &raw mut LOADED;
    // SAFETY: only this function uses it, on the one processor, with interrupts off.
    let loaded = unsafe { &mut *loaded };
    if loaded.thread != next.into() {
        switch(loaded, next);
    }
    // SAFETY: the frame of the loaded thread is a whole one: the thread entered the kernel or was
    // set up to run.
    unsafe { restore() }
}

#[inline(always)]
fn switch(loaded: &mut Loaded, next: ThreadIndex) {
    let kernel = kernel();
    if let Some(previous) = loaded.thread.get() {
        save(&mut kernel.threads[previous].context);
    }
    let next_thread = &kernel.threads[next];
    let root = next_thread.root;
    if loaded.root != root {
        let directory = root.0 as u32;
        // SAFETY: every space maps the kernel as this one does.
        unsafe { asm!("mov cr3, {}", in(reg) directory, options(nostack, preserves_flags)) }
        loaded.root = root;
    }
    load(&next_thread.context);
    let end = &raw const next_thread.context.end_of_frame;
    // SAFETY: one processor, interrupts off; the frame belongs to the thread that will run.
    unsafe { TASK_STATE_SEGMENT.frame_end = end as u32 }
    loaded.thread = next.into();
}

#[inline]
fn save(context: &mut Context) {
    let fx = &raw mut context.fx;
    // SAFETY: the area is 64-byte aligned and 512 bytes long.
    unsafe { asm!("fxsave [{}]", in(reg) fx, options(nostack, preserves_flags)) }
}

#[inline]
fn load(context: &Context) {
    let fx = &raw const context.fx;
    // SAFETY: the area holds what FXSAVE stored or the initial state; the kernel itself does not
    // use these registers.
    unsafe { asm!("fxrstor [{}]", in(reg) fx, options(nostack, preserves_flags)) }
    load_utcb_segment(context.utcb_segment);
}
