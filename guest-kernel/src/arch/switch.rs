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
use core::{mem::MaybeUninit, ptr};
use kernel_core::{
    Kernel, arch::Context, entry::system_call::Entered, memory::frames::PhysicalAddress,
    threads::thread::Thread,
};

/// Whose registers the processor holds beside those in the frame, and which space it works in.
struct Loaded {
    context: *mut Context,
    root: PhysicalAddress,
}

static mut LOADED: Loaded = Loaded { context: NOBODYS, root: PhysicalAddress(0) };

/// Where the registers go that are no thread's: those that the processor holds before the first one runs,
/// and those of threads that have ended.
const NOBODYS: *mut Context = {
    static mut REGISTERS: MaybeUninit<Context> = MaybeUninit::uninit();
    (&raw mut REGISTERS).cast()
};

#[inline(always)]
fn loaded() -> &'static mut Loaded {
    let loaded = &raw mut LOADED;
    // SAFETY: only this module's functions use it, none of them within another, on the one processor
    // with interrupts off. The host only reads, and believes nothing.
    unsafe { &mut *loaded }
}

/// See [`kernel_core::memory::machine::Processor::leave_space`].
pub fn leave_space(space: PhysicalAddress, other: PhysicalAddress) {
    let loaded = loaded();
    if loaded.root == space {
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(other) }
        *loaded = Loaded { context: NOBODYS, root: other };
        ports::suspend();
    }
}

/// See [`kernel_core::memory::machine::Processor::forget_registers`].
pub fn forget_registers<R>(registers: &R) {
    let loaded = loaded();
    if ptr::addr_eq(loaded.context, registers) {
        loaded.context = NOBODYS;
    }
}

/// Which space the processor works in.
#[inline(always)]
pub fn space() -> PhysicalAddress {
    // SAFETY: one processor, interrupts off; a plain read.
    unsafe { LOADED.root }
}

/// Where it stands which space the processor works in, for the host.
pub fn loaded_root() -> *const PhysicalAddress {
    // SAFETY: makes an address, and reads nothing.
    unsafe { &raw const LOADED.root }
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
    let loaded = loaded();
    let context = &raw mut next.context;
    if loaded.context != context {
        switch(loaded, next);
    }
    // SAFETY: the thread has entered the kernel in that way or was set up to run.
    unsafe {
        match entered {
            Entered::BySystemCall => finish_system_call(context),
            Entered::ByTrap => resume(context),
        }
    }
}

#[inline(always)]
fn switch(loaded: &mut Loaded, next: &mut Thread) {
    // SAFETY: the registers of a thread, which stays where it is until it has ended and these are forgotten,
    // or what is nobody's. It is another one than `next`.
    save(unsafe { &mut *loaded.context });
    if loaded.root != next.root {
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(next.root) }
        loaded.root = next.root;
        ports::suspend();
    }
    load(&next.context);
    let end = &raw const next.context.end_of_frame;
    // SAFETY: one processor, interrupts off; the frame belongs to the thread that will run.
    unsafe { TASK_STATE_SEGMENT.state.frame_end = end as usize }
    loaded.context = &raw mut next.context;
}
