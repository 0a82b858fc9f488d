//! Interrupts: those that come to a thread, and interrupt windows, the only moments when the kernel itself
//! can be interrupted. What an interrupt asks for is only noted then. The kernel sees to it when it has been
//! left: it interrupts itself, which user mode feels at once, so that nobody has to look on the way out.

use super::{io_apic, local_apic};
use core::{
    arch::asm,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
};
use kernel_core::memory::{
    index::{InterruptIndex, TableIndex},
    machine::Came,
};

/// What has interrupted the kernel, and nobody has asked for that yet.
static CAME: AtomicU8 = AtomicU8::new(0);

const TICK: u8 = 1;
const INTERRUPT: u8 = 2;

/// A bit for each interrupt that has come and that the kernel has not seen to yet.
static NOTED: AtomicU32 = AtomicU32::new(0);

/// Takes an interrupt from its controllers: it does not come again until it is unmasked.
pub fn take(interrupt: InterruptIndex) {
    io_apic::mask(interrupt);
    local_apic::end_of_interrupt();
}

/// In so many microseconds the timer comes again after it has interrupted the kernel, unless it is set anew.
const AGAIN: u64 = 200;

/// Takes the timer's interrupt of the kernel.
pub fn note_tick() {
    local_apic::end_of_interrupt();
    CAME.fetch_or(TICK, Ordering::Relaxed);
}

/// Takes another one's.
pub fn note(interrupt: InterruptIndex) {
    take(interrupt);
    NOTED.fetch_or(1 << interrupt.position(), Ordering::Relaxed);
    CAME.fetch_or(INTERRUPT, Ordering::Relaxed);
}

/// Takes the one that is a reminder of these: there is another window to pass.
pub fn note_reminder() {
    local_apic::end_of_interrupt();
    CAME.fetch_or(INTERRUPT, Ordering::Relaxed);
}

/// One of those that were noted.
#[cold]
pub fn noted() -> Option<InterruptIndex> {
    let noted = NOTED.load(Ordering::Relaxed);
    if noted == 0 {
        return None;
    }
    let number = noted.trailing_zeros();
    NOTED.fetch_and(!(1 << number), Ordering::Relaxed);
    Some(InterruptIndex::from_position(number as u16))
}

/// Lets interrupts in that wait.
#[inline]
pub fn open_window() -> Came {
    // SAFETY: the stack is valid and nothing lies below its end, and what is interrupted finds its
    // registers as they were: the interrupt only changes [`CAME`] and [`NOTED`]. The first instruction
    // behind `sti` is not interrupted yet.
    unsafe { asm!("sti", "nop", "cli") }
    // Most often nothing does.
    if CAME.load(Ordering::Relaxed) == 0 { Came::default() } else { came_in_window() }
}

#[cold]
#[inline(never)]
fn came_in_window() -> Came {
    let came = came();
    if came.tick {
        // Who goes on in the kernel may see to the timer late: so it comes once more.
        local_apic::set_timer(AGAIN);
    }
    if came.interrupt {
        local_apic::remind();
    }
    came
}

/// Sleeps until an interrupt has come.
pub fn sleep() -> Came {
    // SAFETY: as in [`open_window`]. No interrupt can come between `sti` and `hlt`.
    unsafe { asm!("sti", "hlt", "cli") }
    came()
}

fn came() -> Came {
    let came = CAME.swap(0, Ordering::Relaxed);
    Came { tick: came & TICK != 0, interrupt: came & INTERRUPT != 0 }
}
