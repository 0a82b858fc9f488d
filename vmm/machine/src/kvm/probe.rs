//! What this host's KVM can do, found out by guests of a few instructions.
//!
//! Nothing is taken on trust: each answer is what such a guest saw.

use super::{
    KvmError, Vm, call,
    exit::{Exit, Next},
    open, registers,
    vm::Running,
};
use crate::{
    layout::EXIT_PORT,
    machine::MachineError,
    memory::{Memory, RamSize},
    outcome::Outcome,
};
use kvm_bindings::{kvm_segment, kvm_sregs};
use kvm_ioctls::Kvm;
use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};
use x86_64::{
    registers::control::{Cr0Flags, Cr4Flags, EferFlags},
    structures::paging::PageTableFlags,
};

/// How long a probe may take. It needs a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the guest's processor can translate addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingMode {
    /// 64-bit: what `amd64` guests need.
    Long,
    /// 32-bit with two levels: what `ia32` guests need.
    TwoLevels,
    /// 32-bit with physical address extension.
    Pae,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It works.
    Works,
    /// It does not; what happened instead.
    Fails(String),
}

/// Where `syscall` in user mode arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyscallEntry {
    /// At the entry point in ring 0, as the processor's manual says.
    Ring0,
    /// As a page fault of user mode at the entry point: the kernel has a special case for it.
    PageFault,
    /// Somewhere else; what happened instead.
    Fails(String),
}

/// Who executes what a guest's kernel does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring0 {
    /// The processor, as all the rest.
    Native,
    /// KVM's software, instruction by instruction, which is some hundred times slower; what it says of
    /// an instruction that it does not know.
    Interpreted(String),
}

/// A KVM that can be asked.
#[derive(Debug)]
pub struct Probe {
    kvm: Kvm,
    path: PathBuf,
}

impl Probe {
    /// Opens KVM.
    pub fn open(path: &Path) -> Result<Self, KvmError> {
        Ok(Self { kvm: open(path)?, path: path.to_owned() })
    }

    /// The version of KVM's API.
    pub fn api_version(&self) -> i32 {
        self.kvm.get_api_version()
    }

    /// The processors that KVM recommends for one machine, at most.
    pub fn recommended_processors(&self) -> usize {
        self.kvm.get_nr_vcpus()
    }

    /// Whether a guest can switch a paging mode on, and whether its addresses are then translated.
    pub fn paging(&self, mode: PagingMode) -> Result<Attempt, MachineError> {
        let vm = self.vm()?;
        let plan = match mode {
            PagingMode::Long => {
                (PML4, Cr4Flags::PHYSICAL_ADDRESS_EXTENSION, EferFlags::LONG_MODE_ENABLE)
            }
            PagingMode::TwoLevels => (DIRECTORY32, Cr4Flags::empty(), EferFlags::empty()),
            PagingMode::Pae => (PDPT32, Cr4Flags::PHYSICAL_ADDRESS_EXTENSION, EferFlags::empty()),
        };
        let (table, cr4, efer) = plan;
        let tail = if mode == PagingMode::Long { ENTER_LONG_MODE } else { &[] };
        write(&vm.memory, CODE, &[SWITCH_PAGING_ON, tail].concat())?;
        write(&vm.memory, LONG_CODE, SHOW_64_BITS)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        registers::protected_mode(&mut sregs);
        set_tables(&mut sregs);
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        let mut regs = registers::at_entry(CODE as u32);
        (regs.rbx, regs.rsi, regs.rdi) = (table, cr4.bits(), efer.bits());
        call("set registers", vm.vcpu.set_regs(&regs))?;

        let mut expected = vec![MARKER];
        if mode == PagingMode::Long {
            expected.push(UPPER_HALF);
        }
        Ok(match ask(vm, 1 + expected.len())? {
            Err(failure) => Attempt::Fails(failure),
            Ok(answers) if answers[0] & Cr0Flags::PAGING.bits() as u32 == 0 => {
                Attempt::Fails("CR0.PG reads back as 0".to_owned())
            }
            Ok(answers) if answers[1..] != expected => {
                Attempt::Fails("CR0.PG is set, but addresses are not translated".to_owned())
            }
            Ok(_) => Attempt::Works,
        })
    }

    /// Where a `syscall` of user mode arrives.
    pub fn syscall_entry(&self) -> Result<SyscallEntry, MachineError> {
        let vm = self.vm()?;
        write(&vm.memory, CODE, ENTER_USER_MODE)?;
        write(&vm.memory, USER_CODE, SYSTEM_CALL)?;
        write(&vm.memory, ENTRY, REPORT_ENTRY)?;
        write(&vm.memory, FAULT_HANDLER, REPORT_FAULT)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        long_mode(&mut sregs);
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        let mut regs = registers::at_entry(CODE as u32);
        regs.rsp = KERNEL_STACK;
        call("set registers", vm.vcpu.set_regs(&regs))?;

        let after_syscall = USER_CODE as u32 + 2;
        Ok(match ask(vm, 3)?.as_deref() {
            Ok(&[1, place, code]) if place == after_syscall && code & 3 == 0 => SyscallEntry::Ring0,
            Ok(&[2, place, code]) if place == ENTRY as u32 && code & 3 == 3 => {
                SyscallEntry::PageFault
            }
            Ok(answers) => SyscallEntry::Fails(format!("unexpected state {answers:x?}")),
            Err(failure) => SyscallEntry::Fails(failure.clone()),
        })
    }

    /// Who executes ring 0. The guest adds with an instruction that every 64-bit processor has, and
    /// that no kernel needs: KVM's interpreter, made for accesses to devices, does not know it. Names of
    /// modules or features of the processor would only say who could.
    pub fn ring0(&self) -> Result<Ring0, MachineError> {
        let vm = self.vm()?;
        write(&vm.memory, CODE, ADD_VECTORS)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        long_mode(&mut sregs);
        sregs.cr4 |= Cr4Flags::OSFXSR.bits();
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        call("set registers", vm.vcpu.set_regs(&registers::at_entry(CODE as u32)))?;
        Ok(match ask(vm, 1)? {
            Ok(_) => Ring0::Native,
            Err(refusal) => Ring0::Interpreted(refusal),
        })
    }

    /// Whether guests see a processor with FSGSBASE, which `amd64` guests need.
    pub fn has_fsgsbase(&self) -> Result<bool, MachineError> {
        const FSGSBASE: u32 = 1;
        let vm = self.vm()?;
        write(&vm.memory, CODE, SHOW_FEATURES)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        registers::protected_mode(&mut sregs);
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        call("set registers", vm.vcpu.set_regs(&registers::at_entry(CODE as u32)))?;
        Ok(ask(vm, 1)?.is_ok_and(|answers| answers[0] & FSGSBASE != 0))
    }

    /// A machine with everything that the probes need but code.
    fn vm(&self) -> Result<Vm, MachineError> {
        let size = RamSize::new(crate::layout::RAM_MIN).expect("the minimum is large enough");
        let memory = Memory::new(size)?;
        write(&memory, MARKED, &MARKER.to_le_bytes())?;
        write_tables(&memory)?;
        write_descriptors(&memory)?;
        Ok(Vm::new(&self.kvm, &self.path, memory)?)
    }
}

/// Runs a probe until it has written `wanted` numbers to the exit port, or says why not.
fn ask(vm: Vm, wanted: usize) -> Result<Result<Vec<u32>, String>, MachineError> {
    let (sender, answers) = mpsc::channel();
    let outcomes = sender.clone();
    let mut left = wanted;
    let handle = move |exit: Exit<'_>| match exit {
        Exit::PortWrite { port: EXIT_PORT, data, .. } => {
            let number = data.try_into().map_or(0, u32::from_le_bytes);
            // Without a receiver nobody waits for the answer any more.
            let _ = sender.send(Ok(number));
            left -= 1;
            if left == 0 { Next::Exit(0) } else { Next::Run }
        }
        Exit::Fatal(cause) => Next::Crash(cause),
        _ => Next::Run,
    };
    let ended = move |outcome| {
        if let Outcome::Crash(crash) = outcome {
            let _ = outcomes.send(Err(crash.cause.to_string()));
        }
    };
    let running = Running::new(vm, handle, || {}, ended).map_err(MachineError::Thread)?;
    let answer = |_| match answers.recv_timeout(PATIENCE) {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    let result = (0..wanted).map(answer).collect();
    running.stop();
    Ok(result)
}

fn write(memory: &Memory, address: u64, bytes: &[u8]) -> Result<(), MachineError> {
    Ok(memory.write(address, bytes).map_err(crate::LoadError::Ram)?)
}

// Where things are in a probe's memory: a page each.
const CODE: u64 = 0x1000;
const LONG_CODE: u64 = 0x1100;
const MARKED: u64 = 0x2000;
const GDT: u64 = 0x3000;
const IDT: u64 = 0x4000;
const TSS: u64 = 0x5000;
const FAULT_HANDLER: u64 = 0x6000;
const ENTRY: u64 = 0x8000;
const KERNEL_STACK: u64 = 0xA000;
const DIRECTORY32: u64 = 0x1_0000;
const TABLE32: u64 = 0x1_1000;
const WINDOW32: u64 = 0x1_2000;
const PDPT32: u64 = 0x1_3000;
const DIRECTORY: u64 = 0x1_4000;
const TABLE: u64 = 0x1_5000;
const WINDOW: u64 = 0x1_6000;
const PML4: u64 = 0x1_7000;
const PDPT: u64 = 0x1_8000;
const USER_CODE: u64 = 0x2_0000;

/// Stands at [`MARKED`] and is read through a page at 4 MiB.
const MARKER: u32 = 0x6C61_7373;

/// The upper half of a number that needs 64 bits.
const UPPER_HALF: u32 = 0x0123_4567;

/// 32-bit code. In: EBX CR3, ESI CR4, EDI EFER.
const SWITCH_PAGING_ON: &[u8] = &[
    0x0F, 0x22, 0xDB, // mov cr3, ebx
    0x0F, 0x22, 0xE6, // mov cr4, esi
    0xB9, 0x80, 0x00, 0x00, 0xC0, // mov ecx, EFER
    0x31, 0xD2, // xor edx, edx
    0x89, 0xF8, // mov eax, edi
    0x0F, 0x30, // wrmsr
    0x0F, 0x20, 0xC0, // mov eax, cr0
    0x0D, 0x00, 0x00, 0x00, 0x80, // or eax, PG
    0x0F, 0x22, 0xC0, // mov cr0, eax
    0x0F, 0x20, 0xC0, // mov eax, cr0
    0xE7, 0xF4, // out 0xf4, eax
    0xA1, 0x00, 0x00, 0x40, 0x00, // mov eax, [0x400000]
    0xE7, 0xF4, // out 0xf4, eax
];

/// 32-bit code that jumps to [`LONG_CODE`] in a 64-bit segment.
const ENTER_LONG_MODE: &[u8] = &[0xEA, 0x00, 0x11, 0x00, 0x00, 0x10, 0x00]; // jmp 0x10:0x1100

/// 64-bit code.
const SHOW_64_BITS: &[u8] = &[
    0x48, 0xB8, 0xEF, 0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 0x01, // mov rax, 0x0123456789abcdef
    0x48, 0xC1, 0xE8, 0x20, // shr rax, 32
    0xE7, 0xF4, // out 0xf4, eax
];

/// 64-bit code: sets the entry point for system calls and goes to user mode.
const ENTER_USER_MODE: &[u8] = &[
    0xB9, 0x81, 0x00, 0x00, 0xC0, // mov ecx, STAR
    0x31, 0xC0, // xor eax, eax
    0xBA, 0x10, 0x00, 0x23, 0x00, // mov edx, 0x00230010
    0x0F, 0x30, // wrmsr
    0xB9, 0x82, 0x00, 0x00, 0xC0, // mov ecx, LSTAR
    0xB8, 0x00, 0x80, 0x00, 0x00, // mov eax, ENTRY
    0x31, 0xD2, // xor edx, edx
    0x0F, 0x30, // wrmsr
    0x6A, 0x2B, // push user data segment
    0x68, 0x00, 0x10, 0x02, 0x00, // push user stack
    0x6A, 0x02, // push flags
    0x6A, 0x33, // push user code segment
    0x68, 0x00, 0x00, 0x02, 0x00, // push USER_CODE
    0x48, 0xCF, // iretq
];

/// 64-bit code.
const ADD_VECTORS: &[u8] = &[
    0x0F, 0x58, 0xC0, // addps xmm0, xmm0
    0xE7, 0xF4, // out 0xf4, eax
];

/// 32-bit code.
const SHOW_FEATURES: &[u8] = &[
    0xB8, 0x07, 0x00, 0x00, 0x00, // mov eax, 7
    0x31, 0xC9, // xor ecx, ecx
    0x0F, 0xA2, // cpuid
    0x89, 0xD8, // mov eax, ebx
    0xE7, 0xF4, // out 0xf4, eax
];

const SYSTEM_CALL: &[u8] = &[0x0F, 0x05, 0x0F, 0x0B]; // syscall; ud2

/// 64-bit code: writes 1, the return address and the code segment.
const REPORT_ENTRY: &[u8] = &[
    0xB8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
    0xE7, 0xF4, // out 0xf4, eax
    0x89, 0xC8, // mov eax, ecx
    0xE7, 0xF4, // out 0xf4, eax
    0x8C, 0xC8, // mov eax, cs
    0xE7, 0xF4, // out 0xf4, eax
];

/// 64-bit code: writes 2, the faulting instruction and its code segment.
const REPORT_FAULT: &[u8] = &[
    0xB8, 0x02, 0x00, 0x00, 0x00, // mov eax, 2
    0xE7, 0xF4, // out 0xf4, eax
    0x48, 0x8B, 0x44, 0x24, 0x08, // mov rax, [rsp + 8]
    0xE7, 0xF4, // out 0xf4, eax
    0x48, 0x8B, 0x44, 0x24, 0x10, // mov rax, [rsp + 16]
    0xE7, 0xF4, // out 0xf4, eax
];

/// Page tables of all modes: the first 2 MiB are mapped 1:1, a page at 4 MiB shows [`MARKED`].
/// Only the page of [`USER_CODE`] is open to user mode.
fn write_tables(memory: &Memory) -> Result<(), MachineError> {
    let supervisor = (PageTableFlags::PRESENT | PageTableFlags::WRITABLE).bits();
    let user = supervisor | PageTableFlags::USER_ACCESSIBLE.bits();
    let entry64 =
        |table: u64, index: u64, value: u64| write(memory, table + index * 8, &value.to_le_bytes());
    let entry32 = |table: u64, index: u64, value: u64| {
        write(memory, table + index * 4, &(value as u32).to_le_bytes())
    };
    for page in 0..512 {
        let address = page << protocol::PAGE_ORDER;
        let rights = if address == USER_CODE { user } else { supervisor };
        entry64(TABLE, page, address | rights)?;
        entry32(TABLE32, page, address | rights)?;
    }
    entry64(DIRECTORY, 0, TABLE | user)?;
    entry64(DIRECTORY, 2, WINDOW | supervisor)?;
    entry64(WINDOW, 0, MARKED | supervisor)?;
    entry64(PDPT, 0, DIRECTORY | user)?;
    entry64(PML4, 0, PDPT | user)?;
    // In a 32-bit page directory pointer table, all bits but this one are reserved.
    entry64(PDPT32, 0, DIRECTORY | PageTableFlags::PRESENT.bits())?;
    entry32(DIRECTORY32, 0, TABLE32 | supervisor)?;
    entry32(DIRECTORY32, 1, WINDOW32 | supervisor)?;
    entry32(WINDOW32, 0, MARKED | supervisor)
}

const KERNEL_CODE: u16 = 0x10;

fn write_descriptors(memory: &Memory) -> Result<(), MachineError> {
    let segments: [u64; 7] = [
        0,
        0x00CF_9B00_0000_FFFF, // 0x08: 32-bit code
        0x00AF_9B00_0000_FFFF, // 0x10: 64-bit code
        0x00CF_9300_0000_FFFF, // 0x18: data
        0x00CF_FB00_0000_FFFF, // 0x20: 32-bit code of user mode
        0x00CF_F300_0000_FFFF, // 0x28: data of user mode
        0x00AF_FB00_0000_FFFF, // 0x30: 64-bit code of user mode
    ];
    write(memory, GDT, &segments.map(u64::to_le_bytes).concat())?;
    /// A present 64-bit interrupt gate.
    const GATE: u64 = 0x8E00 << 32;
    const PAGE_FAULT: u64 = 14;
    let gate = FAULT_HANDLER | u64::from(KERNEL_CODE) << 16 | GATE;
    write(memory, IDT + PAGE_FAULT * 16, &gate.to_le_bytes())?;
    // The stack that a fault in user mode switches to.
    write(memory, TSS + 4, &KERNEL_STACK.to_le_bytes())
}

fn set_tables(sregs: &mut kvm_sregs) {
    (sregs.gdt.base, sregs.gdt.limit) = (GDT, 7 * 8 - 1);
    (sregs.idt.base, sregs.idt.limit) = (IDT, 256 * 16 - 1);
}

/// 64-bit mode with paging and system calls.
fn long_mode(sregs: &mut kvm_sregs) {
    registers::protected_mode(sregs);
    set_tables(sregs);
    let cr0 = Cr0Flags::PROTECTED_MODE_ENABLE | Cr0Flags::EXTENSION_TYPE | Cr0Flags::PAGING;
    let efer = EferFlags::LONG_MODE_ENABLE
        | EferFlags::LONG_MODE_ACTIVE
        | EferFlags::SYSTEM_CALL_EXTENSIONS;
    sregs.cr0 = cr0.bits();
    sregs.cr3 = PML4;
    sregs.cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.bits();
    sregs.efer = efer.bits();
    sregs.cs = kvm_segment { selector: KERNEL_CODE, l: 1, db: 0, ..sregs.cs };
    sregs.ss.selector = 0x18;
    sregs.tr = kvm_segment { base: TSS, ..sregs.tr };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        Probe::open(Path::new(crate::KVM_DEVICE))
            .unwrap_or_else(|error| panic!("this test asks KVM: {error}"))
    }

    #[test]
    fn every_kvm_has_long_mode_and_this_api() {
        let probe = probe();
        assert_eq!(probe.api_version(), 12);
        assert_eq!(probe.paging(PagingMode::Long).unwrap(), Attempt::Works);
    }

    #[test]
    fn a_system_call_arrives_in_one_of_the_two_known_ways() {
        let entry = probe().syscall_entry().unwrap();
        assert!(!matches!(entry, SyscallEntry::Fails(_)), "{entry:?}");
    }

    /// Both are seen by the same processor: what runs ring 0 itself gets there by `syscall`, too.
    #[test]
    fn ring_0_is_native_where_system_calls_arrive_there() {
        let probe = probe();
        let is_native = probe.ring0().unwrap() == Ring0::Native;
        assert_eq!(is_native, probe.syscall_entry().unwrap() == SyscallEntry::Ring0);
        assert!(probe.has_fsgsbase().unwrap(), "this test boots amd64 guests");
    }

    #[test]
    fn thirty_two_bit_paging_works_or_fails_for_both_kinds() {
        let probe = probe();
        let two_levels = probe.paging(PagingMode::TwoLevels).unwrap();
        let pae = probe.paging(PagingMode::Pae).unwrap();
        assert_eq!(two_levels == Attempt::Works, pae == Attempt::Works, "{two_levels:?} {pae:?}");
    }
}
