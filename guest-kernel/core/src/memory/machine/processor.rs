//! What the processor keeps for itself of spaces, threads and ports.

use crate::memory::{frames::PhysicalAddress, index::TaskIndex, machine::Came};
use protocol::Word;

/// The processor.
///
/// It may keep copies of what the kernel has in memory, until it is told. Callers answer for telling it:
/// [`Self::flush_page`] once an entry allows less than before, [`Self::leave_space`] before the frames of a
/// space go, [`Self::forget_ports`] once a task has fewer ports. And they answer for one address, as the
/// processor goes by it and nobody can check it: the `other` of [`Self::leave_space`] is the root of a space
/// that lives. An implementation answers for the rest: of all else that it may be told, nothing harms the
/// kernel's memory.
pub trait Processor {
    /// The space with the top-level page table `space` ends: if the processor works in it, it works in
    /// `other` from now on, and holds the registers of no thread.
    fn leave_space(&mut self, space: PhysicalAddress, other: PhysicalAddress);

    /// The thread ends whose registers these are: what the processor may still hold of them is nobody's,
    /// neither kept for it nor found by another one at the same place.
    fn forget_registers<R>(&mut self, registers: &R);

    /// The function that takes the system calls of threads, foreign ones or others, by the lower half of its
    /// address. The entry goes where the thread says, which must be one of these.
    fn system_calls_go_to(&self, is_foreign: bool) -> u32;

    /// Forgets what the processor may have cached for a page of the space with this top-level page
    /// table. It caches only entries of the space that it works in: the switch to another one forgets
    /// everything of this one.
    fn flush_page(&mut self, root: PhysicalAddress, address: Word);

    /// Tells the processor that the current thread and all others of its task, `owner`, may use
    /// those of the 64 ports from `64 * word` on whose bit is set in `usable`. It may forget the
    /// ports of other tasks, and of this one too, but not the last two words. False if it knew.
    fn install_ports(&mut self, owner: TaskIndex, word: u16, usable: u64) -> bool;

    /// The current thread's task, `owner`, gets back what the processor was told of its ports and
    /// does not allow since another task has run. False if there is nothing to get back.
    fn resume_ports(&mut self, owner: TaskIndex) -> bool;

    /// Takes back all that the processor was told of the ports of `owner`.
    fn forget_ports(&mut self, owner: TaskIndex);

    /// Lets interrupts in that wait. If the timer's is among them it comes again soon unless it is
    /// [set anew](Self::set_timer).
    fn open_interrupt_window(&mut self) -> Came;

    /// Lets the timer interrupt once, in so many microseconds or before, and not when it was to do so.
    fn set_timer(&mut self, microseconds: u64);

    /// The time stamp counter.
    fn time(&self) -> u64;
}
