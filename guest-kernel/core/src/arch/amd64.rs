//! amd64: a fixed spine of one PML4 and one PDPT page, then page directories and page tables.
//!
//! The user area of 3 GiB needs three page directories. All five pages are made with the task, so
//! that the kernel manages two levels from then on, as on ia32.

use crate::{
    arch::floating_point::FloatingPoint,
    memory::{
        frames::{KernelFrame, PhysicalAddress, TableFrame},
        machine::Memory,
    },
};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::Rights,
    layout::USER_END,
    registers::{Registers, ThreadRegisters, USER_FLAGS},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries in a page table or directory frame.
pub const TABLE_ENTRIES: usize = 512;
/// Binary logarithm of what one directory entry covers: 2 MiB.
pub const TABLE_ORDER: u32 = 21;
/// Frames of directory entries that cover the user area.
pub const DIRECTORY_FRAMES: usize = 3;
/// Frames above the directories: PML4 and PDPT.
pub const SPINE_FRAMES: usize = 2;
/// Pairs that they take: the PDPT lies behind the PML4.
pub const SPINE_PAIRS: usize = 1;
/// Pages can be mapped without the right to execute (NX).
pub const HAS_EXECUTE_RIGHT: bool = true;

/// A frame of entries.
pub type Table = [Entry; TABLE_ENTRIES];

/// An entry of a page table or directory (AMD64 manual volume 2, 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Entry(u64);

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const SUPERPAGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Entry {
    /// Maps nothing.
    pub const EMPTY: Self = Self(0);

    /// A page or, in a directory, a superpage.
    #[inline]
    pub fn page(physical: PhysicalAddress, rights: Rights, superpage: bool) -> Self {
        // The rights are R 4, W 2, X 1: W lies where the hardware has it. Reading comes with
        // presence: a page without the read right is not entered at all.
        let write = u64::from((rights & Rights::WRITE).bits());
        let no_execute = u64::from(!rights.contains(Rights::EXECUTE)) << 63;
        let size = if superpage { SUPERPAGE } else { 0 };
        Self(physical.0 | write | no_execute | size | USER | PRESENT)
    }

    /// The same page with no other rights than `rights`; `None` if it cannot even be read then.
    #[inline(always)]
    pub fn restricted(self, rights: Rights) -> Option<Self> {
        let restriction = Restriction::to(rights)?;
        self.is_present().then(|| restriction.of(self))
    }

    /// The same page, superpage or not, used or not, with exactly these rights, which must include
    /// reading.
    #[inline]
    pub fn with_rights(self, rights: Rights) -> Self {
        let write = u64::from((rights & Rights::WRITE).bits());
        let no_execute = u64::from(!rights.contains(Rights::EXECUTE)) << 63;
        Self(self.0 & !(WRITABLE | NO_EXECUTE) | write | no_execute)
    }

    /// A directory entry that points to a page table. Rights are decided in the table.
    #[inline]
    pub fn table(frame: KernelFrame) -> Self {
        Self(frame.address().0 | USER | WRITABLE | PRESENT)
    }

    /// Whether it maps anything.
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// The same for the page so many frames further on, which must exist.
    #[inline(always)]
    pub fn further(self, frames: usize) -> Self {
        Self(self.0 + ((frames as u64) << PAGE_ORDER))
    }

    /// For a directory entry: whether it maps a superpage.
    #[inline]
    pub fn is_superpage(self) -> bool {
        self.0 & SUPERPAGE != 0
    }

    /// For a directory entry made by [`Entry::table`]: the table.
    #[inline]
    pub fn table_frame(self) -> Option<TableFrame> {
        TableFrame::from_directory_entry(self.physical())
    }

    /// Whether the processor has used the page since this was last cleared.
    #[inline]
    pub fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// Whether the processor has written the page since this was last cleared.
    #[inline]
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// The bits of both: it tells whether the processor has used, or written, one of two pages.
    #[inline]
    pub fn joined(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The same page, as if the processor had not used it yet.
    #[inline]
    pub fn without_usage(self) -> Self {
        Self(self.0 & !(ACCESSED | DIRTY))
    }

    /// The frame that it maps or points to.
    #[inline]
    pub fn physical(self) -> PhysicalAddress {
        PhysicalAddress(self.0 & ADDRESS)
    }

    /// The rights of a present page.
    #[inline]
    pub fn rights(self) -> Rights {
        let write = (self.0 & WRITABLE) as u8;
        let execute = u8::from(self.0 & NO_EXECUTE == 0);
        Rights::from_bits_truncate(Rights::READ.bits() | write | execute)
    }
}

/// What is left of entries of pages with no other rights than some.
#[derive(Clone, Copy, Debug)]
pub struct Restriction {
    kept: u64,
    set: u64,
}

impl Restriction {
    /// `None` if reading is not among the rights: then nothing is left.
    #[inline(always)]
    pub fn to(rights: Rights) -> Option<Self> {
        let write = u64::from((rights & Rights::WRITE).bits());
        let set = u64::from(!rights.bits()) << 63;
        let kept = ADDRESS | USER | PRESENT | NO_EXECUTE | write;
        rights.contains(Rights::READ).then_some(Self { kept, set })
    }

    /// What is left of the entry of a page, which must be present: the same page, not used yet.
    #[inline(always)]
    pub fn of(self, entry: Entry) -> Entry {
        Entry(entry.0 & self.kept | self.set)
    }
}

/// Connects a new task's spine: PML4 slot 0 to the PDPT, its first entries to the directories,
/// and the kernel's half as in `kernel_root`. Returns the frame for the processor's page-table
/// register.
pub fn link_spine(
    machine: &mut impl Memory,
    [spine]: [TableFrame; SPINE_PAIRS],
    directories: [TableFrame; DIRECTORY_FRAMES],
) -> PhysicalAddress {
    let (pml4, pdpt) = (spine.entries(), spine.companion());
    machine.copy_kernel_half(pml4);
    machine.view::<Table>(pml4)[0] = Entry::table(pdpt);
    let table = machine.view::<Table>(pdpt);
    for (entry, directory) in table.iter_mut().zip(directories) {
        *entry = Entry::table(directory.entries());
    }
    pml4.address()
}

/// Clears what [`link_spine`] has entered.
pub fn unlink_spine(
    machine: &mut impl Memory,
    [spine]: [TableFrame; SPINE_PAIRS],
    directories: [TableFrame; DIRECTORY_FRAMES],
) {
    machine.clear_kernel_half(spine.entries());
    machine.view::<Table>(spine.entries())[0] = Entry::EMPTY;
    let table = machine.view::<Table>(spine.companion());
    table[..directories.len()].fill(Entry::EMPTY);
}

/// A thread's user-mode registers, as the entry code pushes them, lowest address first.
///
/// A system call saves only what its caller may expect back: `r15` to `rbx`, and what `sysret` needs
/// of the frame. All other entries save everything.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Context {
    /// The state that FXSAVE keeps: x87, MMX, SSE.
    pub fx: FloatingPoint,
    /// FS base: the address of the thread's UTCB unless it changed it.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// Preserved by system calls: r15, r14, r13, r12, rbp, rbx.
    pub preserved: [u64; 6],
    /// Not preserved by system calls: r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax.
    pub scratch: [u64; 9],
    /// Exception number, or [`Context::SYSTEM_CALL`].
    pub vector: Word,
    /// The processor's error code.
    pub error_code: Word,
    /// Instruction pointer.
    pub instruction: u64,
    /// Code segment.
    pub code_segment: u64,
    /// Flags.
    pub flags: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Stack segment.
    pub stack_segment: u64,
    /// The processor pushes downwards from here: a multiple of 16 bytes.
    pub end_of_frame: [u64; 0],
}

const _: () = assert!(core::mem::offset_of!(Context, end_of_frame) % 16 == 0);

const R11: usize = 0;
const RDI: usize = 4;
const RSI: usize = 5;
const RDX: usize = 6;
const RCX: usize = 7;
const RAX: usize = 8;

/// Flags that every thread has: interrupts on, and the bit that is always one.
const FIXED_FLAGS: u64 = 0x202;

/// Bytes of `syscall`.
const SYSTEM_CALL_LENGTH: u64 = 2;

impl Context {
    /// [`Context::vector`] of a thread that entered by a system call.
    pub const SYSTEM_CALL: Word = 256;
    /// [`Context::vector`] of a thread that goes on otherwise than behind its system call, or begins it again:
    /// all of its registers count.
    pub const RESTART: Word = 257;
    /// Selector of user code, the one that Linux uses.
    pub const USER_CODE: u64 = 0x33;
    /// Selector of user data and stacks.
    pub const USER_DATA: u64 = 0x2b;
    /// Flags of a new thread.
    const INITIAL_FLAGS: u64 = FIXED_FLAGS;

    /// The registers of a thread before it first runs.
    pub fn new(utcb: Word) -> Self {
        Self {
            fx: FloatingPoint::new(),
            fs_base: utcb as u64,
            gs_base: 0,
            preserved: [0; 6],
            scratch: [0; 9],
            vector: 0,
            error_code: 0,
            instruction: 0,
            code_segment: Self::USER_CODE,
            flags: Self::INITIAL_FLAGS,
            stack: 0,
            stack_segment: Self::USER_DATA,
            end_of_frame: [],
        }
    }

    /// What the system call that the thread is in returns: a tag and a label.
    #[inline]
    pub fn set_result(&mut self, tag: protocol::message::MessageTag, label: Word) {
        self.scratch[RAX] = tag.0 as u64;
        self.scratch[RDX] = label as u64;
    }

    /// Whether the processor takes all of it without a fault, and gives the thread no more than it may have.
    #[cfg(test)]
    pub fn is_harmless(&self) -> bool {
        let segments = [self.code_segment, self.stack_segment];
        let flags = self.flags as Word & !USER_FLAGS;
        self.instruction() <= USER_END
            && (segments == [Self::USER_CODE, Self::USER_DATA] || self.vector == Self::SYSTEM_CALL)
            && flags == FIXED_FLAGS as Word
            && self.fx.is_harmless()
    }

    /// What [`Context::set_result`] left.
    #[cfg(test)]
    pub fn result(&self) -> (protocol::message::MessageTag, Word) {
        (protocol::message::MessageTag(self.scratch[RAX] as Word), self.scratch[RDX] as Word)
    }

    /// Lets the system call that the thread is in begin again, with these arguments.
    pub fn restart_system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        // What an earlier trap left there is nobody's business.
        self.scratch = [0; 9];
        self.scratch[RDI] = target as u64;
        self.scratch[RSI] = tag as u64;
        self.scratch[RDX] = timeouts as u64;
        self.instruction = self.instruction.wrapping_sub(SYSTEM_CALL_LENGTH);
        self.vector = Self::RESTART;
        // Nor do system calls leave segments there.
        self.code_segment = Self::USER_CODE;
        self.stack_segment = Self::USER_DATA;
    }

    /// What [`Context::restart_system_call`] left.
    #[cfg(test)]
    pub fn arguments(&self) -> [Word; 3] {
        [self.scratch[RDI] as Word, self.scratch[RSI] as Word, self.scratch[RDX] as Word]
    }

    /// The instruction pointer.
    #[inline]
    pub fn instruction(&self) -> Word {
        self.instruction as Word
    }

    /// The register with the port of an I/O instruction: dx.
    pub fn port(&self) -> u16 {
        self.scratch[RDX] as u16
    }

    /// The stack pointer.
    #[inline]
    pub fn stack(&self) -> Word {
        self.stack as Word
    }

    /// Goes on so many bytes behind where it is.
    pub fn skip(&mut self, bytes: usize) {
        self.instruction = self.instruction.wrapping_add(bytes as u64);
    }

    /// The general registers. One in a system call has those that this keeps, and what it comes back with
    /// if that is known.
    pub fn registers(&self, has_result: bool) -> Registers {
        let [r15, r14, r13, r12, bp, bx] = self.preserved;
        let scratch = if self.vector == Self::SYSTEM_CALL {
            self.scratch_behind_system_call(has_result)
        } else {
            self.scratch
        };
        let [r11, r10, r9, r8, di, si, dx, cx, ax] = scratch;
        let word = |register: u64| register as Word;
        Registers {
            instruction: word(self.instruction),
            stack: word(self.stack),
            flags: word(self.flags),
            ax: word(ax),
            bx: word(bx),
            cx: word(cx),
            dx: word(dx),
            si: word(si),
            di: word(di),
            bp: word(bp),
            r: [r8, r9, r10, r11, r12, r13, r14, r15].map(word),
        }
    }

    /// What `sysret` leaves of the registers that a system call does not keep.
    fn scratch_behind_system_call(&self, has_result: bool) -> [u64; 9] {
        let mut scratch = [0; 9];
        (scratch[RCX], scratch[R11]) = (self.instruction, self.flags);
        if has_result {
            (scratch[RAX], scratch[RDX]) = (self.scratch[RAX], self.scratch[RDX]);
        }
        scratch
    }

    /// From now on all of its registers count: a thread that has come to the end of a system call goes on
    /// as after a trap.
    pub fn leave_system_call(&mut self) {
        if self.vector == Self::SYSTEM_CALL {
            self.scratch = self.scratch_behind_system_call(true);
            self.code_segment = Self::USER_CODE;
            self.stack_segment = Self::USER_DATA;
            self.vector = Self::RESTART;
        }
    }

    /// Sets the general registers, but for flags that are none of a task's; those that a system call does not
    /// keep have no effect on a thread that is in one. No instruction pointer leads beyond the user area.
    pub fn set_registers(&mut self, new: &Registers) {
        let wide = |register: Word| register as u64;
        self.set_pointers(new.instruction.min(USER_END), new.stack);
        self.set_flags(new.flags);
        let [r8, r9, r10, r11, r12, r13, r14, r15] = new.r.map(wide);
        self.preserved = [r15, r14, r13, r12, wide(new.bp), wide(new.bx)];
        if self.vector != Self::SYSTEM_CALL {
            let [di, si, dx, cx, ax] = [new.di, new.si, new.dx, new.cx, new.ax].map(wide);
            self.scratch = [r11, r10, r9, r8, di, si, dx, cx, ax];
        }
    }

    fn set_flags(&mut self, new: Word) {
        self.flags = (new & USER_FLAGS) as u64 | FIXED_FLAGS;
    }

    /// All registers but the floating-point state.
    pub fn thread_registers(&self, has_result: bool) -> ThreadRegisters {
        ThreadRegisters {
            general: self.registers(has_result),
            fs_base: self.fs_base as Word,
            gs_base: self.gs_base as Word,
        }
    }

    /// Sets them, as [`Self::set_registers`] does; no segment lies beyond the user area either.
    pub fn set_thread_registers(&mut self, new: &ThreadRegisters) {
        self.set_registers(&new.general);
        let [fs, gs] = [new.fs_base, new.gs_base].map(|base| base.min(USER_END) as u64);
        (self.fs_base, self.gs_base) = (fs, gs);
    }

    /// Sets instruction and stack pointer, with the segments that every thread begins with: whatever
    /// mode the thread has got itself into ends.
    pub fn set_pointers(&mut self, instruction: Word, stack: Word) {
        self.instruction = instruction as u64;
        self.stack = stack as u64;
        self.code_segment = Self::USER_CODE;
        self.stack_segment = Self::USER_DATA;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that the entry did not save are of an earlier trap.
    #[test]
    fn a_restart_leaks_no_register() {
        let mut context = Context::new(0);
        context.scratch = [0xdead; 9];
        (context.code_segment, context.stack_segment) = (0xdead, 0xdead);
        context.restart_system_call(1, 2, 3);
        let mut wanted = [0; 9];
        (wanted[RDI], wanted[RSI], wanted[RDX]) = (1, 2, 3);
        assert_eq!(context.scratch, wanted);
        let segments = (context.code_segment, context.stack_segment);
        assert_eq!(segments, (Context::USER_CODE, Context::USER_DATA));
    }

    #[test]
    fn rights_survive_the_entry() {
        for bits in [4, 5, 6, 7] {
            let rights = Rights::from_bits_truncate(bits);
            let entry = Entry::page(PhysicalAddress(0x1234_5000), rights, false);
            assert_eq!((entry.rights(), entry.physical().0), (rights, 0x1234_5000));
            assert!(entry.is_present() && !entry.is_superpage());
        }
        assert!(Entry::page(PhysicalAddress(0), Rights::READ, true).is_superpage());
        for (has, asked) in (0..8).flat_map(|has| (0..8).map(move |asked| (has, asked))) {
            let (has, asked) = (Rights::from_bits_truncate(has), Rights::from_bits_truncate(asked));
            let has = has | Rights::READ;
            let entry = Entry::page(PhysicalAddress(0x5000), has, false);
            let expected = asked
                .contains(Rights::READ)
                .then(|| Entry::page(PhysicalAddress(0x5000), has & asked, false));
            assert_eq!(entry.restricted(asked), expected);
        }
        assert_eq!(Entry::EMPTY.restricted(Rights::all()), None);
        assert!(!Entry::EMPTY.is_present());
    }
}
