//! What measuring needs of the processor: its time stamp counter, a loop whose length is known, and
//! memory that is touched on purpose.

use core::{arch::asm, ptr};
use runtime::protocol::Word;

/// The time stamp counter. Under QEMU's instruction counting it advances by one an instruction.
#[inline(always)]
pub fn stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter. It is not marked as free of memory accesses, so that none of what
    // is measured is moved across it.
    unsafe {
        asm!("rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Ticks of a loop of two million instructions, two before it and the second reading of the
/// counter: 2 000 003, if a tick is an instruction.
pub fn known_loop() -> u32 {
    let ticks: u32;
    // SAFETY: counts a register down; no memory is touched.
    unsafe {
        asm!(
            "rdtsc",
            "mov {start:e}, eax",
            "mov {rounds:e}, 1000000",
            "2:",
            "dec {rounds:e}",
            "jnz 2b",
            "rdtsc",
            "sub eax, {start:e}",
            start = out(reg) _,
            rounds = out(reg) _,
            out("eax") ticks,
            out("edx") _,
            options(nomem, nostack),
        );
    }
    ticks
}

/// Writes to `address`, which nothing in this program refers to: its pager decides what is there.
#[inline(always)]
pub fn touch(address: Word) {
    // SAFETY: the addresses that this program touches lie in areas that are for its pager only, so
    // that no Rust object is there.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) }
}

/// Raises an exception that is over when its handler says so: a breakpoint.
#[inline(always)]
pub fn raise() {
    // SAFETY: the handler leaves registers and memory as they are.
    unsafe { asm!("int3") }
}
