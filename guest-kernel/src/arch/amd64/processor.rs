//! Single instructions that only ring 0 has, one function each.

use core::arch::asm;

/// Reads the time stamp counter.
#[inline]
pub fn time() -> u64 {
    // SAFETY: reading the counter has no effect on memory or on other state.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The address of the last page fault.
#[inline]
pub fn fault_address() -> usize {
    let address;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    address
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

const CR4_FSGSBASE: u64 = 1 << 16;
const LEAF_FEATURES: u32 = 7;
const FSGSBASE: u32 = 1;

/// Lets threads and the kernel set the FS and GS base without model-specific registers.
pub fn enable_features() -> Result<(), &'static str> {
    let features = core::arch::x86_64::__cpuid_count(LEAF_FEATURES, 0);
    if features.ebx & FSGSBASE == 0 {
        return Err("the processor has no FSGSBASE; under QEMU use -cpu max");
    }
    // SAFETY: the processor has the feature, and the bit only allows four more instructions.
    unsafe {
        asm!(
            "mov {scratch}, cr4",
            "or {scratch}, {bit}",
            "mov cr4, {scratch}",
            scratch = out(reg) _,
            bit = const CR4_FSGSBASE,
            options(nostack),
        );
    }
    Ok(())
}

/// Stops for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off the processor sleeps until it is reset.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
