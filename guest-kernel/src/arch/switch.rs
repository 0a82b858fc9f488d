//! Out of the kernel, into the thread that goes on, on both architectures.

use super::{
    interrupts,
    own::{
        descriptors::TASK_STATE_SEGMENT,
        entry::{entered, finish_system_call, load, resume, save},
    },
    ports, processor,
};
use crate::{hardware::Hardware, kernel_cell::kernel};
use core::{
    mem::{MaybeUninit, offset_of},
    ptr,
};
use kernel_core::{
    Kernel, arch::Context, entry::system_call::Entered, memory::frames::PhysicalAddress,
    threads::thread::Thread,
};

/// Which space the processor works in. Whose registers it holds beside those in the frame, its task state says:
/// the end of that one's frame.
static mut LOADED_ROOT: PhysicalAddress = PhysicalAddress(0);

/// The end of the frame of whoever has the registers that are no thread's: those that the processor holds
/// before the first one runs, and those of threads that have ended.
pub const NOBODYS: *mut u8 = {
    static mut REGISTERS: MaybeUninit<Context> = MaybeUninit::uninit();
    (&raw mut REGISTERS).cast::<u8>().wrapping_add(END_OF_FRAME)
};

const END_OF_FRAME: usize = offset_of!(Context, end_of_frame);

#[inline(always)]
fn loaded() -> &'static mut PhysicalAddress {
    let root = &raw mut LOADED_ROOT;
    // SAFETY: only this module's functions use it, none of them within another, on the one processor
    // with interrupts off. The host only reads, and believes nothing.
    unsafe { &mut *root }
}

/// The end of the frame of whose registers the processor holds.
#[inline(always)]
fn frame_end() -> *mut u8 {
    // SAFETY: one processor, interrupts off; a plain read.
    unsafe { TASK_STATE_SEGMENT.state.frame_end }
}

#[inline(always)]
fn set_frame_end(end: *mut u8) {
    // SAFETY: one processor, interrupts off; the frame is nobody's, or belongs to the thread that will run.
    unsafe { TASK_STATE_SEGMENT.state.frame_end = end }
}

/// See [`kernel_core::memory::machine::Processor::leave_space`].
pub fn leave_space(space: PhysicalAddress, other: PhysicalAddress) {
    let root = loaded();
    if *root == space {
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(other) }
        *root = other;
        set_frame_end(NOBODYS);
        ports::suspend();
    }
}

/// See [`kernel_core::memory::machine::Processor::forget_registers`].
pub fn forget_registers<R>(registers: &R) {
    let end = ptr::from_ref(registers).cast::<u8>().wrapping_add(END_OF_FRAME);
    if ptr::addr_eq(frame_end(), end) {
        set_frame_end(NOBODYS);
    }
}

/// Which space the processor works in.
#[inline(always)]
pub fn space() -> PhysicalAddress {
    // SAFETY: one processor, interrupts off; a plain read.
    unsafe { LOADED_ROOT }
}

/// Where it stands which space the processor works in, for the host.
pub fn loaded_root() -> *const PhysicalAddress {
    &raw const LOADED_ROOT
}

/// Goes on with the current thread. Idles if there is none.
pub fn leave_kernel() -> ! {
    let kernel = kernel();
    loop {
        match kernel.current.get() {
            Some(next) => {
                let next = &mut kernel.threads[next];
                let entered = entered(&next.context);
                leave_to(next, entered)
            }
            None => idle(kernel),
        }
    }
}

#[cold]
fn idle(kernel: &mut Kernel<Hardware>) {
    if interrupts::sleep().tick {
        kernel.timer_interrupt();
    }
    while let Some(interrupt) = interrupts::noted() {
        kernel.interrupt_came(interrupt);
    }
}

/// Goes on with the current thread, after loading all of it that is not in its frame.
#[inline(always)]
pub fn leave_to(next: &mut Thread, entered: Entered) -> ! {
    let end = (&raw mut next.context).cast::<u8>().wrapping_add(END_OF_FRAME);
    if frame_end() != end {
        switch(end, next);
    }
    // SAFETY: the thread has entered the kernel in that way or was set up to run.
    unsafe {
        match entered {
            Entered::BySystemCall => finish_system_call(end),
            Entered::ByTrap => resume(end),
        }
    }
}

#[inline(always)]
fn switch(end: *mut u8, next: &mut Thread) {
    // SAFETY: the registers of a thread, which stays where it is until it has ended and these are forgotten,
    // or what is nobody's. It is another one than `next`.
    unsafe { save(frame_end()) }
    let root = loaded();
    if *root != next.root {
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(next.root) }
        *root = next.root;
        ports::suspend();
    }
    // SAFETY: it is this thread's frame.
    unsafe { load(end, &next.context) }
    set_frame_end(end);
}
