//! Single instructions that only ring 0 has, one function each, for both architectures.

use core::arch::asm;
use kernel_core::memory::frames::PhysicalAddress;

/// Reads the time stamp counter.
#[inline]
pub fn time() -> u64 {
    let (low, high): (usize, usize);
    // SAFETY: reading the counter has no effect on memory or on other state. It clears what there
    // is of the two registers beyond 32 bits.
    unsafe {
        asm!(
            "rdtsc",
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags),
        );
    }
    (high as u64) << 32 | low as u64
}

/// The address of the last page fault.
#[inline]
pub fn fault_address() -> usize {
    let address;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    address
}

/// Changes to another space.
///
/// # Safety
/// `root` must be the root of a space that maps the kernel as the current one does.
#[inline(always)]
pub unsafe fn set_root(root: PhysicalAddress) {
    let root = root.0 as usize;
    // SAFETY: the caller vouches for the space.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Sets some bits of control register 4.
///
/// # Safety
/// The processor must have what they stand for, and the kernel must be ready for it.
pub unsafe fn set_control_bits(bits: usize) {
    // SAFETY: the caller vouches for the bits.
    unsafe {
        asm!(
            "mov {scratch}, cr4",
            "or {scratch}, {bits}",
            "mov cr4, {scratch}",
            scratch = out(reg) _,
            bits = in(reg) bits,
            options(nostack),
        );
    }
}

/// Writes a model-specific register.
///
/// # Safety
/// The value must keep the processor in a state that the rest of the kernel expects.
pub unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller vouches for the value.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack));
    }
}

/// Leaves no local descriptors: after reset their table is 64 KiB at address 0, where a task's own
/// memory might be.
///
/// # Safety
/// The kernel's descriptor table must be loaded, and no selector of a local descriptor.
pub unsafe fn clear_local_descriptors() {
    // SAFETY: an empty selector is always allowed.
    unsafe { asm!("lldt {:x}", in(reg) 0, options(nostack, preserves_flags)) }
}

/// Forgets the cached translation of one page.
#[inline]
pub fn flush_page(address: usize) {
    // SAFETY: dropping a cached translation only makes the processor read the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// What the device at `port` does with the byte must not break memory safety.
#[inline]
pub unsafe fn write_port(port: u16, byte: u8) {
    // SAFETY: the caller vouches for the device.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack, preserves_flags));
    }
}

/// Reads a byte from an I/O port.
///
/// # Safety
/// What the device at `port` does when it is read must not break memory safety.
#[inline]
pub unsafe fn read_port(port: u16) -> u8 {
    let byte;
    // SAFETY: the caller vouches for the device.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack, preserves_flags));
    }
    byte
}

/// Copies words, of which there is at least one: the compiler would make a long loop of a handful, or call
/// a function.
///
/// # Safety
/// So many words can be read at `from` and written at `to`, at once or not.
#[inline(always)]
pub unsafe fn copy_words(from: *const usize, to: *mut usize, count: usize) {
    // SAFETY: the caller vouches for the words; the last one comes first.
    unsafe {
        asm!(
            "2:",
            "mov {word}, [{from} + {size} * {left} - {size}]",
            "mov [{to} + {size} * {left} - {size}], {word}",
            "dec {left}",
            "jnz 2b",
            from = in(reg) from,
            to = in(reg) to,
            left = inout(reg) count => _,
            word = out(reg) _,
            size = const size_of::<usize>(),
            options(nostack),
        );
    }
}

/// Stops for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off the processor sleeps until it is reset.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
