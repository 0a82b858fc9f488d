//! Accesses to I/O ports that the processor does not allow.
//!
//! The processor knows only some ports of one task, those that it was told last
//! ([`install_ports`](crate::memory::machine::Processor::install_ports)). So the kernel looks at the
//! instruction: ports that the task may use are told to the processor, and the instruction is tried again.
//! For the others the kernel sends a message to the faulting thread's pager, as for a page fault.

use crate::{
    arch::Entry,
    ipc::page_fault::NewFault,
    mapping::space::{DirectoryEntry, Pages, Spot, table_index},
    memory::{
        frames::PhysicalAddress,
        index::{TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, next::Next, state::Question},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::{Access, PortFault},
    flexpage::{Flexpage, Rights},
    layout::USER_END,
};

/// The processor's number for general protection faults.
pub const GENERAL_PROTECTION_VECTOR: u8 = 13;

/// Ports are told to the processor in words of so many.
pub const PORTS_IN_WORD: u16 = u64::BITS as u16;

/// The most bytes of an instruction.
const INSTRUCTION_LENGTH: usize = 15;

/// What an I/O instruction accesses: at most four ports, none beyond the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortAccess {
    first: u16,
    last: u16,
    write: bool,
}

impl PortAccess {
    /// Decodes IN, OUT, INS or OUTS (AMD64 manual volume 3, "Opcode and Operand Encodings"); `dx` is
    /// the register with the port. `None` for all other instructions.
    ///
    /// What is a REX prefix in 64-bit mode are instructions of their own in 32-bit mode, which never
    /// raise a general protection fault; so nothing has to be known of the mode.
    fn decode(code: impl Iterator<Item = u8>, dx: u16) -> Option<Self> {
        let mut code = code.take(INSTRUCTION_LENGTH);
        let (mut operand_size, mut rex) = (false, 0);
        let opcode = loop {
            match code.next()? {
                prefix @ 0x40..=0x4f => rex = prefix,
                // REP and REPNE, six segments, address size: none matters; a REX prefix counts only
                // right before the opcode.
                0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67 => rex = 0,
                0x66 => (operand_size, rex) = (true, 0),
                opcode => break opcode,
            }
        };
        let first = match opcode {
            0xe4..=0xe7 => code.next()?.into(),
            0xec..=0xef | 0x6c..=0x6f => dx,
            _ => return None,
        };
        let rex_w = rex & 8 != 0;
        let width = match (opcode & 1, operand_size && !rex_w) {
            (0, _) => 1,
            (_, true) => 2,
            (_, false) => 4,
        };
        Some(Self { first, last: first.checked_add(width - 1)?, write: opcode & 2 != 0 })
    }

    /// The smallest flexpage that holds all of its ports.
    fn flexpage(self) -> Flexpage {
        let order = u16::BITS - (self.first ^ self.last).leading_zeros();
        Flexpage::io_ports(self.first.into(), order)
    }

    /// How it stands in trace records.
    fn kind(self) -> Access {
        if self.write { Access::PORT | Access::WRITE } else { Access::PORT }
    }

    /// The words that its first and its last port lie in.
    fn words(self) -> [u16; 2] {
        [self.first / PORTS_IN_WORD, self.last / PORTS_IN_WORD]
    }
}

impl<M: Machine> Kernel<M> {
    /// A thread raised a general protection fault. `None` if that has nothing to do with ports, or
    /// not with who may use them.
    #[cold]
    #[inline(never)]
    pub(crate) fn try_port_access(&mut self, thread: ThreadIndex) -> Option<Next> {
        let time = self.mappings.machine.time();
        let task = self.task_of(thread);
        if self.mappings.machine.resume_ports(task) {
            return Some(Next::Current);
        }
        let access = self.port_access(thread)?;
        if task == TaskIndex::SIGMA0 {
            self.fabricate_ports(access);
        }
        let Some(words) = self.usable_words(task, access) else {
            return Some(self.port_fault(thread, access, time));
        };
        let mut news = false;
        for (word, usable) in words {
            news |= self.mappings.machine.install_ports(task, word, usable);
        }
        news.then_some(Next::Current)
    }

    /// sigma0 has all ports that the kernel does not keep, from the moment when it uses them.
    fn fabricate_ports(&mut self, access: PortAccess) {
        for port in access.first..=access.last {
            // Without memory the port is not there, which shows in a moment.
            let _ = self.mappings.fabricate(Pages::Ports, Word::from(port) << PAGE_ORDER);
        }
    }

    /// Whether the task of a thread that waits with a port fault may by now do what it tried.
    pub(crate) fn port_access_is_possible(&mut self, thread: ThreadIndex) -> bool {
        let task = self.task_of(thread);
        let access = self.port_access(thread);
        access.is_some_and(|access| self.usable_words(task, access).is_some())
    }

    /// What the instruction that a thread is at accesses, if it is an I/O instruction.
    fn port_access(&mut self, thread: ThreadIndex) -> Option<PortAccess> {
        let dx = self.threads[thread].context.port();
        PortAccess::decode(self.code_at(thread), dx)
    }

    /// The bytes from the thread's instruction pointer on, as far as its task has them.
    pub(crate) fn code_at(&mut self, thread: ThreadIndex) -> impl Iterator<Item = u8> {
        let task = self.task_of(thread);
        let instruction = self.threads[thread].context.instruction();
        (0..).map_while(move |offset| self.code_byte(task, instruction.checked_add(offset)?))
    }

    /// A byte of the task's memory; `None` where it has none.
    fn code_byte(&mut self, task: TaskIndex, address: Word) -> Option<u8> {
        if address >= USER_END {
            return None;
        }
        let entry = self.mappings.tasks[task].space.page_entry(
            &mut self.mappings.machine,
            Pages::Memory,
            address,
        );
        let physical = entry.physical().0 + (address % PAGE_SIZE) as u64;
        let there = entry.is_present() && physical < self.mappings.sigma0.ram_end;
        there.then(|| self.mappings.machine.user_byte(PhysicalAddress(physical)))
    }

    /// What the task may use of the two words that an access lies in (they may be the same one);
    /// `None` if the access is none of it.
    fn usable_words(&mut self, task: TaskIndex, access: PortAccess) -> Option<[(u16, u64); 2]> {
        let [first, last] = access.words();
        let low = self.usable_ports(task, first * PORTS_IN_WORD);
        let high = if last == first { low } else { self.usable_ports(task, last * PORTS_IN_WORD) };
        let all = (access.first..=access.last).all(|port| {
            let word = if port / PORTS_IN_WORD == first { low } else { high };
            word >> (port % PORTS_IN_WORD) & 1 != 0
        });
        all.then_some([(first, low), (last, high)])
    }

    /// Which of the 64 ports from `first_of_64` on the task may use: bit 0 is the first one.
    pub(crate) fn usable_ports(&mut self, task: TaskIndex, first_of_64: u16) -> u64 {
        let machine = &mut self.mappings.machine;
        let space = &self.mappings.tasks[task].space;
        let address = Word::from(first_of_64) << PAGE_ORDER;
        match space.directory_entry(machine, Pages::Ports, address) {
            DirectoryEntry::Empty => 0,
            DirectoryEntry::Superpage(entry) if is_usable(entry) => u64::MAX,
            DirectoryEntry::Superpage(_) => 0,
            // All of them are in one table.
            DirectoryEntry::Table(table) => {
                (0..usize::from(PORTS_IN_WORD)).rev().fold(0, |usable, port| {
                    let entry =
                        Spot::<Entry>::new(table, table_index(address) + port).entry(machine);
                    usable << 1 | u64::from(is_usable(entry))
                })
            }
        }
    }

    /// The task may not use all these ports: its pager is asked.
    fn port_fault(&mut self, faulter: ThreadIndex, access: PortAccess, time: u64) -> Next {
        let instruction = self.threads[faulter].context.instruction();
        let message = PortFault { ports: access.flexpage(), instruction }.to_words();
        let fault = NewFault { address: access.first.into(), access: access.kind(), message, time };
        self.ask_pager(faulter, fault, PortFault::TAG, Question::PortFault)
    }
}

fn is_usable(port: Entry) -> bool {
    port.is_present() && port.rights().contains(Rights::READ_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DX: u16 = 0x3f8;
    const NOP: u8 = 0x90;
    const OPERAND_SIZE: u8 = 0x66;
    const OTHER_LEGACY_PREFIXES: [u8; 9] = [0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67];

    fn decode(code: &[u8]) -> Option<PortAccess> {
        PortAccess::decode(code.iter().copied(), DX)
    }

    fn access(first: u16, width: u16, write: bool) -> PortAccess {
        PortAccess { first, last: first + (width - 1), write }
    }

    /// The table of the manual, instruction by instruction; `wide` is the width of those that do
    /// not access one byte.
    fn expected(opcode: u8, immediate: u8, wide: u16) -> Option<PortAccess> {
        let immediate = immediate.into();
        Some(match opcode {
            0x6c => access(DX, 1, false),
            0x6d => access(DX, wide, false),
            0x6e => access(DX, 1, true),
            0x6f => access(DX, wide, true),
            0xe4 => access(immediate, 1, false),
            0xe5 => access(immediate, wide, false),
            0xe6 => access(immediate, 1, true),
            0xe7 => access(immediate, wide, true),
            0xec => access(DX, 1, false),
            0xed => access(DX, wide, false),
            0xee => access(DX, 1, true),
            0xef => access(DX, wide, true),
            _ => return None,
        })
    }

    #[test]
    fn every_opcode_behind_every_two_prefixes() {
        let mut prefixes = vec![None, Some(OPERAND_SIZE)];
        prefixes.extend(OTHER_LEGACY_PREFIXES.map(Some));
        prefixes.extend((0x40..=0x4f).map(Some));
        for (one, two) in prefixes.iter().flat_map(|one| prefixes.iter().map(move |two| (one, two)))
        {
            let before: Vec<u8> = [*one, *two].into_iter().flatten().collect();
            // REX.W has an effect if it is the last prefix, and then it is the stronger one.
            let rex_w = before.last().is_some_and(|last| (0x48..=0x4f).contains(last));
            let wide = if before.contains(&OPERAND_SIZE) && !rex_w { 2 } else { 4 };
            for opcode in 0..=u8::MAX {
                let code = [&before[..], &[opcode, NOP]].concat();
                assert_eq!(decode(&code), expected(opcode, NOP, wide), "{code:x?}");
                for length in 0..code.len() - 1 {
                    assert_eq!(decode(&code[..length]), None, "the beginning of {code:x?}");
                }
            }
        }
    }

    #[test]
    fn every_immediate_port() {
        for port in 0..=u8::MAX {
            assert_eq!(decode(&[0xe5, port]), Some(access(port.into(), 4, false)));
            assert_eq!(decode(&[OPERAND_SIZE, 0xe7, port]), Some(access(port.into(), 2, true)));
        }
        assert_eq!(decode(&[0xe4]), None);
    }

    #[test]
    fn an_instruction_has_at_most_fifteen_bytes() {
        let long = |prefixes, instruction: &[u8]| [&[0x2e].repeat(prefixes), instruction].concat();
        assert_eq!(decode(&long(14, &[0xec])), Some(access(DX, 1, false)));
        assert_eq!(decode(&long(15, &[0xec])), None);
        assert_eq!(decode(&long(13, &[0xe6, 7])), Some(access(7, 1, true)));
        assert_eq!(decode(&long(14, &[0xe6, 7])), None);
        assert_eq!(decode(&long(100, &[])), None);
    }

    #[test]
    fn behind_the_last_port_there_is_none() {
        let at = |opcode, port| PortAccess::decode([OPERAND_SIZE, opcode].into_iter(), port);
        let four = |port| PortAccess::decode([0xef].into_iter(), port);
        assert_eq!(at(0xec, 0xffff), Some(access(0xffff, 1, false)));
        assert_eq!(at(0xed, 0xfffe), Some(access(0xfffe, 2, false)));
        assert_eq!(at(0xed, 0xffff), None);
        assert_eq!(four(0xfffc), Some(access(0xfffc, 4, true)));
        for port in 0xfffd..=0xffff {
            assert_eq!(four(port), None);
        }
    }

    #[test]
    fn the_flexpage_is_the_smallest_that_holds_the_access() {
        for (first, width) in (0..0xfffc).flat_map(|first| [1, 2, 4].map(|width| (first, width))) {
            let access = access(first, width, false);
            let page = access.flexpage();
            let holds = |order: u32| access.first >> order == access.last >> order;
            let order = (0..16).find(|order| holds(*order)).unwrap_or(16);
            assert_eq!((page.order(), page.address() >> order), (order, (first as Word) >> order));
            assert!(page.port_area().is_some());
        }
    }
}
