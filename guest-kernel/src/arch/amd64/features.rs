//! What the kernel wants of the processor beyond 64-bit mode.

use core::arch::asm;

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
pub fn enable() -> Result<(), &'static str> {
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
