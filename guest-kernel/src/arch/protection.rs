//! What the processor can do so that tasks neither lead the kernel astray nor look at it, on both
//! architectures.
//!
//! The kernel reaches all memory through its direct map, and never through the addresses of a task. So
//! all this can be on wherever the processor has it, but for SMAP under QEMU.

use super::{
    control_bits::{CR4_SMAP, CR4_SMEP, CR4_UMIP},
    processor,
};
#[cfg(target_arch = "x86")]
use core::arch::x86 as cpu;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as cpu;

const LEAF_BASIC: u32 = 1;
/// In edx: `sysenter` exists.
const SYSENTER: u32 = 1 << 11;

const LEAF_EXTENDED: u32 = 7;
/// In ebx: the kernel executes nothing in pages of tasks.
const SMEP: u32 = 1 << 7;
/// In ebx: the kernel reads and writes nothing there.
const SMAP: u32 = 1 << 20;
/// In ecx: tasks do not learn where the kernel's tables are.
const UMIP: u32 = 1 << 2;

const SYSENTER_CS: u32 = 0x174;

/// Whether QEMU emulates the processor. Up to its version 9.0, SMAP forbids there what is none of its
/// business: the stack of far calls, far returns and `iret` in ring 3.
fn is_qemus_processor() -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    const LEAF_HYPERVISOR: u32 = 0x4000_0000;
    if cpu::__cpuid(LEAF_BASIC).ecx & HYPERVISOR == 0 {
        return false;
    }
    let name = cpu::__cpuid(LEAF_HYPERVISOR);
    let words = [*b"TCGT", *b"CGTC", *b"GTCG"].map(u32::from_le_bytes);
    [name.ebx, name.ecx, name.edx] == words
}

/// Switches on what there is, and off a way into the kernel that nobody uses.
pub fn enable() {
    let (highest, _) = cpu::__get_cpuid_max(0);
    let mut bits = 0;
    if highest >= LEAF_EXTENDED {
        let features = cpu::__cpuid_count(LEAF_EXTENDED, 0);
        for (has, bit) in [
            (features.ebx & SMEP != 0, CR4_SMEP),
            (features.ebx & SMAP != 0 && !is_qemus_processor(), CR4_SMAP),
            (features.ecx & UMIP != 0, CR4_UMIP),
        ] {
            bits |= if has { bit } else { 0 };
        }
    }
    // SAFETY: the processor has it, and the kernel needs nothing of what it forbids.
    unsafe { processor::set_control_bits(bits) }
    if cpu::__cpuid(LEAF_BASIC).edx & SYSENTER != 0 {
        // SAFETY: without a code segment `sysenter` is a general protection fault.
        unsafe { processor::write_msr(SYSENTER_CS, 0) }
    }
}
