//! What the kernel wants of the processor beyond 64-bit mode.
//!
//! `CR4.OSXSAVE` stays clear: where the processor heeds that, the instructions of AVX are undefined for
//! tasks, and FXSAVE keeps all that remains.

use crate::arch::{control_bits::CR4_FSGSBASE, processor};

const LEAF_FEATURES: u32 = 7;
const FSGSBASE: u32 = 1;

/// Lets threads and the kernel set the FS and GS base without model-specific registers.
pub fn enable() -> Result<(), &'static str> {
    let features = core::arch::x86_64::__cpuid_count(LEAF_FEATURES, 0);
    if features.ebx & FSGSBASE == 0 {
        return Err("the processor has no FSGSBASE; under QEMU use -cpu max");
    }
    // SAFETY: the processor has the feature, and the bit only allows four more instructions.
    unsafe { processor::set_control_bits(CR4_FSGSBASE) }
    Ok(())
}
