//! What the kernel needs from the processor and from memory.

use crate::memory::{
    frames::{FramePool, KernelFrame, PhysicalAddress, TableFrame},
    index::{Storage, TaskIndex},
    node::{MaybeNode, NodeIndex},
    utcb::UtcbReference,
};
use core::fmt::Debug;
use protocol::{
    Word,
    introspection::{
        mapping::MappingNode,
        record::{Kind, Record},
    },
    utcb::Utcb,
};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// How many objects exist.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Tasks made so far.
    pub tasks: u16,
    /// Threads made so far.
    pub threads: u16,
    /// Gates made so far.
    pub gates: u16,
    /// Factories made so far.
    pub factories: u16,
    /// The node that is the kernel's own bookmark.
    pub bookmark: MaybeNode,
}

/// The hardware, or a model of it in tests.
pub trait Machine {
    /// Where the objects of one kind lie.
    type Storage<T: Debug>: Storage<Object = T> + Debug;

    /// The contents of a kernel frame. `T` is at most a page long.
    fn view<T: FromBytes + IntoBytes + KnownLayout>(&mut self, frame: KernelFrame) -> &mut T;

    /// The nodes of a frame of entries. `T` is at most a page long.
    fn companion<T: FromBytes + IntoBytes + KnownLayout>(&mut self, table: TableFrame) -> &mut T;

    /// A node of the mapping database.
    fn node(&mut self, node: NodeIndex) -> &mut MappingNode;

    /// A thread's message registers.
    fn utcb(&mut self, utcb: UtcbReference) -> &mut Utcb;

    /// Copies the first `words` message registers from one UTCB to another.
    fn copy_message(&mut self, from: UtcbReference, to: UtcbReference, words: usize);

    /// Copies the part of the top-level page table that maps the kernel into a new one.
    fn copy_kernel_half(&mut self, root: KernelFrame);

    /// Clears that part.
    fn clear_kernel_half(&mut self, root: KernelFrame);

    /// The space with the top-level page table `space` ends: if the processor works in it, it works in
    /// `other` from now on, and holds the registers of no thread.
    fn leave_space(&mut self, space: PhysicalAddress, other: PhysicalAddress);

    /// The thread ends whose registers these are: what the processor may still hold of them is nobody's,
    /// neither kept for it nor found by another one at the same place.
    fn forget_registers<R>(&mut self, registers: &R);

    /// Forgets what the processor may have cached for a page of the space with this top-level page
    /// table. It caches only entries of the space that it works in: the switch to another one forgets
    /// everything of this one.
    fn flush_page(&mut self, root: PhysicalAddress, address: Word);

    /// A byte of RAM.
    fn user_byte(&mut self, physical: PhysicalAddress) -> u8;

    /// Tells the processor that the current thread and all others of its task, `owner`, may use
    /// those of the 64 ports from `64 * word` on whose bit is set in `usable`. It may forget the
    /// ports of other tasks, and of this one too, but not the last two words. False if it knew.
    fn install_ports(&mut self, owner: TaskIndex, word: u16, usable: u64) -> bool;

    /// The current thread's task, `owner`, gets back what the processor was told of its ports and
    /// does not allow since another task has run. False if there is nothing to get back.
    fn resume_ports(&mut self, owner: TaskIndex) -> bool;

    /// Takes back all that the processor was told of the ports of `owner`.
    fn forget_ports(&mut self, owner: TaskIndex);

    /// Lets an interrupt in that waits. True if the timer's did: the time slice is over.
    fn open_interrupt_window(&mut self) -> bool;

    /// Whether quick paths are gone where there are some. What they do the general ways do too.
    fn goes_quick(&self) -> bool;

    /// The time stamp counter.
    fn time(&self) -> u64;

    /// The next slot of the trace ring, marked as invalid, for
    /// [`set_by_words`](protocol::set_by_words); [`Machine::end_record`] must follow.
    fn begin_record(&mut self) -> &mut Record;

    /// Makes the record in the slot of [`Machine::begin_record`] valid; sets its sequence number.
    fn end_record(&mut self);

    /// Which kinds of records are wanted: bit `1 << kind`. 0 when tracing is off.
    fn enabled_records(&self) -> u64;

    /// Whether records of this kind are wanted.
    #[inline(always)]
    fn records(&self, kind: Kind) -> bool {
        self.enabled_records() >> kind as u8 & 1 != 0
    }

    /// Tells the host how many objects exist.
    fn publish_counts(&mut self, counts: Counts);

    /// Tells the host what nobody has of the pool.
    fn publish_pool(&mut self, pool: &FramePool);

    /// Tells the host how long a map or unmap took to the next preemption point, or to its end, and
    /// which of them it was.
    fn publish_stretch(&mut self, ticks: u64, at_point: bool);

    /// Writes a byte to the console.
    fn write_console(&mut self, byte: u8);

    /// Ends the machine.
    fn shut_down(&mut self, status: u8);
}
