//! The kernel's own memory: frames from one pool, never mapped 1:1 to anybody.

use crate::memory::machine::Memory;
use core::num::NonZeroUsize;
use protocol::{PAGE_SIZE, Word, introspection::mapping::COMPANION_OFFSET, kip::PhysicalRange};

/// A guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct PhysicalAddress(pub u64);

/// A frame of the pool. Only [`FramePool`] makes these, each once, so holding one proves that the
/// frame belongs to the kernel. The pool lies where a machine word reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct KernelFrame(NonZeroUsize);

impl KernelFrame {
    /// Where it is.
    #[inline]
    pub fn address(self) -> PhysicalAddress {
        PhysicalAddress(self.0.get() as u64)
    }

    /// The same as a word.
    pub(crate) fn number(self) -> NonZeroUsize {
        self.0
    }
}

/// Two frames, one right behind the other, the first of which lies at a multiple of both: what the pool
/// hands out. There is one of these for each, so that what was handed out is given back once.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone))]
#[repr(transparent)]
pub struct FramePair(KernelFrame);

impl FramePair {
    /// The one at the lower address.
    #[inline]
    pub fn first(&self) -> KernelFrame {
        self.0
    }

    /// The other one.
    #[inline]
    pub fn second(&self) -> KernelFrame {
        KernelFrame(self.0.0 | PAGE_SIZE as Word)
    }

    /// The pair as entries with their companions.
    #[inline(always)]
    pub fn table(&self) -> TableFrame {
        TableFrame(self.0)
    }

    /// The same for one that a space has from now on, and only there it stands. [`TableFrame::into_pair`]
    /// makes it a pair again.
    #[inline]
    pub fn into_table(self) -> TableFrame {
        TableFrame(self.0)
    }

    /// One that a list which only the kernel writes leads to.
    pub(crate) fn from_link(address: u64) -> Option<Self> {
        NonZeroUsize::new(address as Word).map(|frame| Self(KernelFrame(frame)))
    }
}

/// A frame of entries and its companion, the frame right behind it
/// ([`protocol::introspection::mapping`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct TableFrame(KernelFrame);

impl TableFrame {
    /// The entries.
    #[inline(always)]
    pub fn entries(self) -> KernelFrame {
        self.0
    }

    /// The nodes of the entries.
    #[inline(always)]
    pub fn companion(self) -> KernelFrame {
        KernelFrame(self.0.0 | COMPANION_OFFSET as Word)
    }

    /// The table that a directory entry points to. Directories lie in kernel frames that no task
    /// can write, and only [`crate::arch::Entry::table`] makes such entries, out of a table.
    #[inline]
    pub(crate) fn from_directory_entry(address: PhysicalAddress) -> Option<Self> {
        NonZeroUsize::new(address.0 as Word).map(|frame| Self(KernelFrame(frame)))
    }

    /// What a table is made of that no directory entry points to any more.
    pub fn into_pair(self) -> FramePair {
        FramePair(self.0)
    }
}

/// Kernel memory, or the quota for it, is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// The kernel's memory, as long as nobody has it: pairs of frames. All kernel memory comes in pairs, so
/// that what is free can always be had, in whatever order it came back.
///
/// Every pair that is handed out is zero. A fresh machine's memory is (KVM and QEMU both provide it so),
/// and whoever gives a pair back has cleared it, which takes longer than a stretch may be.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct FramePool {
    /// What was never handed out.
    fresh: PhysicalRange,
    /// The first of those that came back. Each begins with the address of the next one.
    free: Option<FramePair>,
    /// Bytes that came back.
    returned: u64,
}

impl FramePool {
    /// A pool of all whole pairs in `range`.
    pub fn new(range: PhysicalRange) -> Self {
        let start = range.start.next_multiple_of(PAIR_SIZE);
        let end = start.max(range.end & !(PAIR_SIZE - 1));
        Self { fresh: PhysicalRange { start, end }, free: None, returned: 0 }
    }

    /// A zeroed pair.
    pub fn allocate(&mut self, machine: &mut impl Memory) -> Result<FramePair, NoMemory> {
        if let Some(pair) = self.free.take() {
            let next = core::mem::take(machine.view::<u64>(pair.first()));
            self.free = FramePair::from_link(next);
            self.returned -= PAIR_SIZE;
            return Ok(pair);
        }
        let start = self.fresh.start;
        let next = start + PAIR_SIZE;
        if next > self.fresh.end {
            return Err(NoMemory);
        }
        self.fresh.start = next;
        FramePair::from_link(start).ok_or(NoMemory)
    }

    /// Takes a pair back, which must be zero again.
    pub fn give_back(&mut self, machine: &mut impl Memory, pair: FramePair) {
        debug_assert!(
            [pair.first(), pair.second()].iter().all(|frame| is_zero(machine, *frame)),
            "{pair:?} is not zero"
        );
        *machine.view::<u64>(pair.first()) = self.first_free();
        self.free = Some(pair);
        self.returned += PAIR_SIZE;
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.fresh.end - self.fresh.start + self.returned
    }

    /// What was never handed out.
    pub fn fresh(&self) -> PhysicalRange {
        self.fresh
    }

    /// Address of the first pair that came back, or 0. Each begins with that of the next one.
    pub fn first_free(&self) -> u64 {
        self.free.as_ref().map_or(0, |pair| pair.first().address().0)
    }
}

/// Bytes of a pair.
pub const PAIR_SIZE: u64 = 2 * PAGE_SIZE as u64;

const _: () = assert!(COMPANION_OFFSET == PAGE_SIZE as u64);

/// Whether there is nothing in a frame.
fn is_zero(machine: &mut impl Memory, frame: KernelFrame) -> bool {
    machine.view::<[Word; PAGE_SIZE / size_of::<Word>()]>(frame).iter().all(|word| *word == 0)
}
