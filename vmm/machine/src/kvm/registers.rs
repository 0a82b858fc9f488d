//! How the processor enters a PVH kernel: 32-bit protected mode, flat, without paging.

use crate::layout::START_INFO;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use x86_64::registers::control::Cr0Flags;

/// Bit 1 of RFLAGS is always set.
const RFLAGS_FIXED: u64 = 1 << 1;

/// General registers at the kernel's entry: EBX has the address of the start info.
pub fn at_entry(entry: u32) -> kvm_regs {
    kvm_regs {
        rip: u64::from(entry),
        rbx: START_INFO.0,
        rflags: RFLAGS_FIXED,
        ..Default::default()
    }
}

/// Turns reset-state system registers into those of flat protected mode.
pub fn protected_mode(sregs: &mut kvm_sregs) {
    sregs.cr0 = (Cr0Flags::PROTECTED_MODE_ENABLE | Cr0Flags::EXTENSION_TYPE).bits();
    sregs.cr4 = 0;
    sregs.efer = 0;
    sregs.cs = flat(0x08, CODE_READ);
    for data in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *data = flat(0x10, DATA_WRITE);
    }
    sregs.tr = kvm_segment {
        limit: 0x67,
        selector: 0x18,
        type_: TSS_BUSY,
        present: 1,
        ..Default::default()
    };
}

/// Descriptor types: code that can be read, accessed; data that can be written, accessed; a task
/// state segment in use.
const CODE_READ: u8 = 0xB;
const DATA_WRITE: u8 = 0x3;
const TSS_BUSY: u8 = 0xB;

/// A 32-bit segment over the whole 4 GiB.
fn flat(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        limit: 0xFFFF_FFFF,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_entered_flat_and_unpaged() {
        let mut sregs = kvm_sregs { cr4: !0, efer: !0, ..Default::default() };
        protected_mode(&mut sregs);
        assert_eq!((sregs.cr0, sregs.cr4, sregs.efer), (0x11, 0, 0));
        assert_eq!((sregs.cs.base, sregs.cs.limit, sregs.cs.l), (0, 0xFFFF_FFFF, 0));
        assert_eq!((sregs.ss.base, sregs.ss.dpl), (0, 0));
        assert_eq!((sregs.tr.limit, sregs.tr.s), (0x67, 0));
        let regs = at_entry(0x10_0000);
        assert_eq!((regs.rip, regs.rbx, regs.rflags), (0x10_0000, 0x6000, 2));
    }
}
