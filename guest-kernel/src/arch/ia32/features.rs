//! What the kernel wants of the processor beyond protected mode and 4 MiB pages.
//!
//! `CR4.OSFXSR` stays clear: the instructions of SSE are undefined for tasks, and FXSAVE keeps all
//! that remains.

use crate::arch::{control_bits::CR4_PGE, processor};
use core::arch::x86::__cpuid;

const LEAF_FEATURES: u32 = 1;
const LOCAL_APIC: u32 = 1 << 9;
const GLOBAL_PAGES: u32 = 1 << 13;
const FXSAVE: u32 = 1 << 24;

/// Lets the translations of the kernel's pages survive changes of the space, where the processor
/// can do that.
pub fn enable() -> Result<(), &'static str> {
    let features = __cpuid(LEAF_FEATURES).edx;
    if features & FXSAVE == 0 {
        return Err("the processor has no FXSAVE; under QEMU use -cpu max");
    }
    if features & LOCAL_APIC == 0 {
        return Err("the processor has no local APIC; under QEMU use -cpu max");
    }
    if features & GLOBAL_PAGES != 0 {
        // SAFETY: the processor has the feature, and all global pages are the kernel's.
        unsafe { processor::set_control_bits(CR4_PGE) }
    }
    Ok(())
}
