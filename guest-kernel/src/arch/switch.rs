//! Out of the kernel, into the thread that goes on, on both architectures.

use super::{
    interrupts,
    own::{
        descriptors::TASK_STATE_SEGMENT,
        entry::{load, restore, save},
    },
    ports, processor,
};
use crate::{hardware::Hardware, kernel_cell::kernel};
use kernel_core::{
    Kernel,
    memory::{
        frames::PhysicalAddress,
        index::{MaybeThread, ThreadIndex},
    },
};

/// Whose registers the processor holds beside those in the frame, and which space it works in.
struct Loaded {
    thread: MaybeThread,
    root: PhysicalAddress,
}

static mut LOADED: Loaded = Loaded { thread: MaybeThread::NOBODY, root: PhysicalAddress(0) };

#[inline(always)]
fn loaded() -> &'static mut Loaded {
    let loaded = &raw mut LOADED;
    // SAFETY: only this module's functions use it, none of them within another, on the one processor
    // with interrupts off. The host only reads, and believes nothing.
    unsafe { &mut *loaded }
}

/// See [`kernel_core::memory::machine::Machine::leave_space`].
pub fn leave_space(space: PhysicalAddress, other: PhysicalAddress) {
    let loaded = loaded();
    if loaded.root == space {
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(other) }
        *loaded = Loaded { thread: MaybeThread::NOBODY, root: other };
        ports::suspend();
    }
}

/// See [`kernel_core::memory::machine::Machine::forget_thread`].
pub fn forget_thread(thread: ThreadIndex) {
    let loaded = loaded();
    if loaded.thread == thread.into() {
        loaded.thread = MaybeThread::NOBODY;
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

/// Goes on with the current thread, after loading all of it that is not in its frame. Idles if
/// there is none.
#[inline(always)]
pub fn leave_kernel() -> ! {
    let kernel = kernel();
    let next = loop {
        match kernel.current.get() {
            Some(next) => break next,
            None => idle(kernel),
        }
    };
    let loaded = loaded();
    if loaded.thread != next.into() {
        switch(loaded, next);
    }
    // SAFETY: the frame of the loaded thread is a whole one: the thread entered the kernel or was
    // set up to run.
    unsafe { restore() }
}

#[cold]
fn idle(kernel: &mut Kernel<Hardware>) {
    if interrupts::sleep() {
        kernel.timer_tick();
    }
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
        // SAFETY: every space maps the kernel as this one does.
        unsafe { processor::set_root(root) }
        loaded.root = root;
        ports::suspend();
    }
    load(&next_thread.context);
    let end = &raw const next_thread.context.end_of_frame;
    // SAFETY: one processor, interrupts off; the frame belongs to the thread that will run.
    unsafe { TASK_STATE_SEGMENT.state.frame_end = end as usize }
    loaded.thread = next.into();
}
