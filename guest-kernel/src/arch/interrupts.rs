//! Interrupt windows: the only moments when the kernel itself can be interrupted. What an interrupt
//! asks for is only noted then; the kernel sees to it when it is ready.

use super::local_apic;
use core::{
    arch::asm,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether the timer has interrupted the kernel and nobody has asked for that yet.
static TICKED: AtomicBool = AtomicBool::new(false);

/// In so many microseconds the timer comes again after it has interrupted the kernel, unless it is set anew.
const AGAIN: u64 = 200;

/// Takes the timer's interrupt of the kernel.
pub fn note_tick() {
    local_apic::end_of_interrupt();
    TICKED.store(true, Ordering::Relaxed);
}

/// Lets an interrupt in that waits. True if it was the timer's.
#[inline]
pub fn open_window() -> bool {
    // SAFETY: the stack is valid and nothing lies below its end, and what is interrupted finds its
    // registers as they were: the interrupt only changes [`TICKED`]. The first instruction behind
    // `sti` is not interrupted yet.
    unsafe { asm!("sti", "nop", "cli") }
    let has_ticked = TICKED.swap(false, Ordering::Relaxed);
    if has_ticked {
        come_again();
    }
    has_ticked
}

/// Who goes on in the kernel may see to the timer late: so it comes once more.
#[cold]
fn come_again() {
    local_apic::set_timer(AGAIN);
}

/// Sleeps until an interrupt has come. True if it was the timer's.
pub fn sleep() -> bool {
    // SAFETY: as in [`open_window`]. No interrupt can come between `sti` and `hlt`.
    unsafe { asm!("sti", "hlt", "cli") }
    TICKED.swap(false, Ordering::Relaxed)
}
