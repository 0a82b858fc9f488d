//! ia32: the processor's own two levels, one page directory of page tables.
//!
//! The directory's last quarter is the kernel's, the same in every space.

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
    utcb::UTCB_SIZE,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries in a page table or directory frame.
pub const TABLE_ENTRIES: usize = 1024;
/// Binary logarithm of what one directory entry covers: 4 MiB.
pub const TABLE_ORDER: u32 = 22;
/// Frames of directory entries that cover the user area.
pub const DIRECTORY_FRAMES: usize = 1;
/// Frames above the directory: none.
pub const SPINE_FRAMES: usize = 0;
/// Pairs that they take.
pub const SPINE_PAIRS: usize = 0;
/// What can be read can be executed: without PAE there is no NX.
pub const HAS_EXECUTE_RIGHT: bool = false;

/// A frame of entries.
pub type Table = [Entry; TABLE_ENTRIES];

/// An entry of a page table or directory (Intel manual volume 3, 4.3).
///
/// The processor cannot withhold the right to execute. The kernel keeps that right in a bit that
/// the processor ignores, so that what a task has is still what it was given, and what it hands on
/// is no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Entry(u32);

const PRESENT: u32 = 1;
const WRITABLE: u32 = 1 << 1;
const USER: u32 = 1 << 2;
const ACCESSED: u32 = 1 << 5;
const DIRTY: u32 = 1 << 6;
const SUPERPAGE: u32 = 1 << 7;
const EXECUTABLE_SHIFT: u32 = 9;
const ADDRESS: u32 = 0xffff_f000;

impl Entry {
    /// Maps nothing.
    pub const EMPTY: Self = Self(0);

    /// A page or, in a directory, a superpage.
    #[inline]
    pub fn page(physical: PhysicalAddress, rights: Rights, superpage: bool) -> Self {
        // Reading comes with presence: a page without the read right is not entered at all.
        let size = if superpage { SUPERPAGE } else { 0 };
        Self(physical.0 as u32 | Self::right_bits(rights) | size | USER | PRESENT)
    }

    /// The same page with no other rights than `rights`; `None` if it cannot even be read then.
    #[inline(always)]
    pub fn restricted(self, rights: Rights) -> Option<Self> {
        let restriction = Restriction::to(rights)?;
        self.is_present().then(|| restriction.of(self))
    }

    /// The bits for writing and executing. The rights are R 4, W 2, X 1: W lies where the hardware
    /// has it.
    #[inline(always)]
    fn right_bits(rights: Rights) -> u32 {
        let write = u32::from((rights & Rights::WRITE).bits());
        let execute = u32::from((rights & Rights::EXECUTE).bits()) << EXECUTABLE_SHIFT;
        write | execute
    }

    /// The same page, superpage or not, used or not, with exactly these rights, which must include
    /// reading.
    #[inline]
    pub fn with_rights(self, rights: Rights) -> Self {
        let all = Self::right_bits(Rights::all());
        Self(self.0 & !all | Self::right_bits(rights))
    }

    /// A directory entry that points to a page table. Rights are decided in the table.
    #[inline]
    pub fn table(frame: KernelFrame) -> Self {
        Self(frame.address().0 as u32 | USER | WRITABLE | PRESENT)
    }

    /// Whether it maps anything.
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// The same for the page so many frames further on, which must exist.
    #[inline(always)]
    pub fn further(self, frames: usize) -> Self {
        Self(self.0 + ((frames as u32) << PAGE_ORDER))
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
        PhysicalAddress((self.0 & ADDRESS).into())
    }

    /// The rights of a present page.
    #[inline]
    pub fn rights(self) -> Rights {
        let write = (self.0 & WRITABLE) as u8;
        let execute = (self.0 >> EXECUTABLE_SHIFT) as u8 & Rights::EXECUTE.bits();
        Rights::from_bits_truncate(Rights::READ.bits() | write | execute)
    }
}

/// What is left of entries of pages with no other rights than some.
#[derive(Clone, Copy, Debug)]
pub struct Restriction {
    kept: u32,
}

impl Restriction {
    /// `None` if reading is not among the rights: then nothing is left.
    #[inline(always)]
    pub fn to(rights: Rights) -> Option<Self> {
        let kept = ADDRESS | USER | PRESENT | Entry::right_bits(rights);
        rights.contains(Rights::READ).then_some(Self { kept })
    }

    /// What is left of the entry of a page, which must be present: the same page, not used yet.
    #[inline(always)]
    pub fn of(self, entry: Entry) -> Entry {
        Entry(entry.0 & self.kept)
    }
}

/// Connects a new task's spine, which there is none of: only the kernel's part of the directory
/// comes from elsewhere. Returns the frame for the processor's page-table register.
pub fn link_spine(
    machine: &mut impl Memory,
    []: [TableFrame; SPINE_PAIRS],
    [directory]: [TableFrame; DIRECTORY_FRAMES],
) -> PhysicalAddress {
    machine.copy_kernel_half(directory.entries());
    directory.entries().address()
}

/// Clears what [`link_spine`] has entered.
pub fn unlink_spine(
    machine: &mut impl Memory,
    []: [TableFrame; SPINE_PAIRS],
    [directory]: [TableFrame; DIRECTORY_FRAMES],
) {
    machine.clear_kernel_half(directory.entries());
}

/// A thread's user-mode registers, as the entry code pushes them, lowest address first.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Context {
    /// The state that FXSAVE keeps: x87, MMX.
    pub fx: FloatingPoint,
    /// The descriptor of the FS segment, which is the thread's UTCB.
    pub utcb_segment: [u32; 2],
    /// Room for a frame that begins with the data segments, as after virtual-8086 mode.
    pub data_segments: [u32; Self::DATA_SEGMENTS],
    /// edi, esi, ebp, nothing, ebx, edx, ecx, eax: what PUSHAD pushes.
    pub general: [u32; 8],
    /// Exception number, or [`Context::SYSTEM_CALL`].
    pub vector: Word,
    /// The processor's error code.
    pub error_code: Word,
    /// Instruction pointer.
    pub instruction: u32,
    /// Code segment.
    pub code_segment: u32,
    /// Flags.
    pub flags: u32,
    /// Stack pointer.
    pub stack: u32,
    /// Stack segment.
    pub stack_segment: u32,
    /// The processor pushes downwards from here.
    pub end_of_frame: [u32; 0],
}

/// Flags that every thread has: interrupts on, and the bit that is always one.
const FIXED_FLAGS: u32 = 0x202;

const EDX: usize = 5;
const ECX: usize = 6;
const EAX: usize = 7;

/// Bytes of `int 0x30`.
const SYSTEM_CALL_LENGTH: u32 = 2;

impl Context {
    /// Data segment registers: ES, DS, FS, GS.
    pub const DATA_SEGMENTS: usize = 4;
    /// [`Context::vector`] of a thread that entered by a system call.
    pub const SYSTEM_CALL: Word = 256;
    /// Selector of user code.
    pub const USER_CODE: u32 = 0x1b;
    /// Selector of user data and stacks.
    pub const USER_DATA: u32 = 0x23;
    /// Flags of a new thread.
    const INITIAL_FLAGS: u32 = FIXED_FLAGS;

    /// The registers of a thread before it first runs.
    pub fn new(utcb: Word) -> Self {
        Self {
            fx: FloatingPoint::new(),
            utcb_segment: data_segment(utcb as u32, UTCB_SIZE as u32),
            data_segments: [0; Self::DATA_SEGMENTS],
            general: [0; 8],
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
        self.general[EAX] = tag.0 as u32;
        self.general[EDX] = label as u32;
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
        (protocol::message::MessageTag(self.general[EAX] as Word), self.general[EDX] as Word)
    }

    /// Lets the system call that the thread is in begin again, with these arguments.
    pub fn restart_system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        self.general[EAX] = target as u32;
        self.general[EDX] = tag as u32;
        self.general[ECX] = timeouts as u32;
        self.instruction = self.instruction.wrapping_sub(SYSTEM_CALL_LENGTH);
    }

    /// What [`Context::restart_system_call`] left.
    #[cfg(test)]
    pub fn arguments(&self) -> [Word; 3] {
        [self.general[EAX] as Word, self.general[EDX] as Word, self.general[ECX] as Word]
    }

    /// The instruction pointer.
    #[inline]
    pub fn instruction(&self) -> Word {
        self.instruction as Word
    }

    /// The register with the port of an I/O instruction: dx.
    pub fn port(&self) -> u16 {
        self.general[EDX] as u16
    }

    /// The stack pointer.
    #[inline]
    pub fn stack(&self) -> Word {
        self.stack as Word
    }

    /// Goes on so many bytes behind where it is.
    pub fn skip(&mut self, bytes: usize) {
        self.instruction = self.instruction.wrapping_add(bytes as u32);
    }

    /// The general registers, which every entry saves. One in a system call has a result only once that
    /// is known.
    pub fn registers(&self, _has_result: bool) -> Registers {
        let [di, si, bp, _, bx, dx, cx, ax] = self.general.map(|register| register as Word);
        Registers {
            instruction: self.instruction(),
            stack: self.stack(),
            flags: self.flags as Word,
            ax,
            bx,
            cx,
            dx,
            si,
            di,
            bp,
        }
    }

    /// All of its registers count anyway.
    pub fn leave_system_call(&mut self) {}

    /// Sets the general registers, but for flags that are none of a task's. No instruction pointer leads
    /// beyond the user area.
    pub fn set_registers(&mut self, new: &Registers) {
        self.set_pointers(new.instruction.min(USER_END), new.stack);
        self.flags = (new.flags & USER_FLAGS) as u32 | FIXED_FLAGS;
        let all = [new.di, new.si, new.bp, 0, new.bx, new.dx, new.cx, new.ax];
        self.general = all.map(|register| register as u32);
    }

    /// All registers but the floating-point state.
    pub fn thread_registers(&self, has_result: bool) -> ThreadRegisters {
        ThreadRegisters { general: self.registers(has_result) }
    }

    /// Sets them, as [`Self::set_registers`] does.
    pub fn set_thread_registers(&mut self, new: &ThreadRegisters) {
        self.set_registers(&new.general);
    }

    /// Sets instruction and stack pointer, with the segments that every thread begins with: whatever
    /// mode the thread has got itself into ends.
    pub fn set_pointers(&mut self, instruction: Word, stack: Word) {
        self.instruction = instruction as u32;
        self.stack = stack as u32;
        self.code_segment = Self::USER_CODE;
        self.stack_segment = Self::USER_DATA;
    }
}

/// The descriptor of a writable segment of ring 3 (Intel manual volume 3, 3.4.5); `size` is less
/// than 1 MiB.
const fn data_segment(base: u32, size: u32) -> [u32; 2] {
    const USER_DATA_32: u32 = 0x0040_f200;
    let limit = size - 1;
    let high = base & 0xff00_0000 | limit & 0x000f_0000 | USER_DATA_32 | base >> 16 & 0xff;
    [base << 16 | limit & 0xffff, high]
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Present, writable, user, size, the kernel's own bit for executing, the address.
    #[test]
    fn the_bits_of_an_entry_are_the_processors() {
        let entry =
            |rights, superpage| Entry::page(PhysicalAddress(0xbfc0_0000), rights, superpage);
        assert_eq!(entry(Rights::READ, false).0, 0xbfc0_0005);
        assert_eq!(entry(Rights::READ_WRITE, false).0, 0xbfc0_0007);
        assert_eq!(entry(Rights::READ_EXECUTE, true).0, 0xbfc0_0285);
    }

    #[test]
    fn a_segment_descriptor_has_its_base_and_limit_in_pieces() {
        assert_eq!(data_segment(0xbfff_0200, 0x200), [0x0200_01ff, 0xbf40_f2ff]);
        assert_eq!(data_segment(0x1234_5678, 0xa_bcde + 1), [0x5678_bcde, 0x124a_f234]);
    }
}
