//! What 32-bit and 64-bit x86 do with the same instructions.

use core::arch::asm;
use protocol::utcb::{SELF_OFFSET, Utcb};

/// This thread's UTCB.
#[inline(always)]
pub fn utcb() -> *mut Utcb {
    let address: *mut Utcb;
    // SAFETY: reads the word in which the kernel keeps the UTCB's own address. It never changes,
    // so that the compiler may keep what it read before.
    unsafe {
        asm!(
            "mov {address}, fs:[{offset}]",
            address = out(reg) address,
            offset = const SELF_OFFSET,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    address
}

/// Reads a byte from an I/O port.
#[inline(always)]
pub fn port_in(port: u16) -> u8 {
    let value;
    // SAFETY: touches no memory of this task. Whether the device behind the port may is for those who
    // decide about ports: without the right to this one, the instruction does nothing but fault.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags));
    }
    value
}

/// Writes a byte to an I/O port.
#[inline(always)]
pub fn port_out(port: u16, value: u8) {
    // SAFETY: as in `port_in`.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags));
    }
}

/// Raises an exception, for the end of a task that has nobody to tell: the kernel stops it.
pub fn stop() -> ! {
    // SAFETY: an undefined instruction changes nothing.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
