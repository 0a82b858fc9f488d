//! A processor's registers as people want to see them when a guest has failed.

use kvm_bindings::{kvm_regs, kvm_sregs};
use std::fmt;

/// The registers of a stopped vCPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
}

impl CpuState {
    pub(crate) fn new(regs: kvm_regs, sregs: kvm_sregs) -> Self {
        Self { regs, sregs }
    }

    /// The address of the instruction.
    pub fn instruction_pointer(&self) -> u64 {
        self.regs.rip
    }

    /// Physical address of the top-level page table.
    pub fn page_table(&self) -> u64 {
        self.sregs.cr3
    }

    /// Whether this is where a processor begins after a reset (AMD manual volume 2, 14.1.3): 16 bytes
    /// below 4 GiB, in real mode.
    pub(crate) fn is_reset(&self) -> bool {
        const BASE: u64 = 0xFFFF_0000;
        const OFFSET: u64 = 0xFFF0;
        const PROTECTED: u64 = 1;
        let is_real = self.sregs.cr0 & PROTECTED == 0;
        is_real && (self.sregs.cs.base, self.regs.rip) == (BASE, OFFSET)
    }

    /// Whether the processor was in the kernel's privilege level.
    pub fn in_kernel(&self) -> bool {
        self.sregs.cs.dpl == 0
    }
}

impl fmt::Display for CpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (r, s) = (&self.regs, &self.sregs);
        let rows = [
            [("rip", r.rip), ("rsp", r.rsp), ("rflags", r.rflags)],
            [("rax", r.rax), ("rbx", r.rbx), ("rcx", r.rcx)],
            [("rdx", r.rdx), ("rsi", r.rsi), ("rdi", r.rdi)],
            [("rbp", r.rbp), ("r8", r.r8), ("r9", r.r9)],
            [("r10", r.r10), ("r11", r.r11), ("r12", r.r12)],
            [("r13", r.r13), ("r14", r.r14), ("r15", r.r15)],
            [("cr0", s.cr0), ("cr2", s.cr2), ("cr3", s.cr3)],
            [("cr4", s.cr4), ("efer", s.efer), ("cs", u64::from(s.cs.selector))],
            [("gdt", s.gdt.base), ("idt", s.idt.base), ("tss", s.tr.base)],
        ];
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for (column, (name, value)) in row.iter().enumerate() {
                let gap = if column > 0 { "  " } else { "" };
                write!(f, "{gap}{name:<6} {value:016x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::kvm_segment;

    #[test]
    fn a_reset_processor_is_known_by_its_place() {
        let regs = kvm_regs { rip: 0xFFF0, ..Default::default() };
        let cs = kvm_segment { base: 0xFFFF_0000, selector: 0xF000, ..Default::default() };
        let sregs = kvm_sregs { cs, cr0: 0x6000_0010, ..Default::default() };
        assert!(CpuState::new(regs, sregs).is_reset());
        let elsewhere = kvm_regs { rip: 0x10_0007, ..regs };
        assert!(!CpuState::new(elsewhere, sregs).is_reset());
        let protected = kvm_sregs { cr0: 0x11, ..sregs };
        assert!(!CpuState::new(regs, protected).is_reset());
    }
}
