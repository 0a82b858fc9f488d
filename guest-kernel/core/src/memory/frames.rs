//! The kernel's own memory: frames from one pool, never mapped 1:1 to anybody.

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
}

/// A place in a frame of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Place(NonZeroUsize);

impl Place {
    /// The place at a byte offset in a frame, if it is inside.
    pub fn inside(frame: KernelFrame, offset: usize) -> Option<Self> {
        (offset < PAGE_SIZE).then_some(Self(frame.0 | offset))
    }

    /// Where it is.
    pub fn address(self) -> PhysicalAddress {
        PhysicalAddress(self.0.get() as u64)
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
}

/// Kernel memory, or the quota for it, is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Hands out the frames of one range: tables with their companions from its beginning, single
/// frames from its end.
///
/// A fresh machine's memory is zero (KVM and QEMU both provide it so, and no frame comes back
/// yet), so every frame that is handed out is zero: the kernel never clears memory, which would
/// be the most expensive thing that it does.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct FramePool {
    next: u64,
    end: u64,
}

impl FramePool {
    /// A pool of all whole frames in `range`, from the first one that a table can have.
    pub fn new(range: PhysicalRange) -> Self {
        let next = range.start.next_multiple_of(TABLE_SIZE);
        Self { next, end: next.max(range.end & !(PAGE_SIZE as u64 - 1)) }
    }

    /// A zeroed frame.
    pub fn allocate(&mut self) -> Result<KernelFrame, NoMemory> {
        if self.left() < PAGE_SIZE as u64 {
            return Err(NoMemory);
        }
        self.end -= PAGE_SIZE as u64;
        NonZeroUsize::new(self.end as Word).map(KernelFrame).ok_or(NoMemory)
    }

    /// A zeroed frame for entries and one for their companions.
    pub fn allocate_table(&mut self) -> Result<TableFrame, NoMemory> {
        let table = self.next;
        if self.left() < TABLE_SIZE {
            return Err(NoMemory);
        }
        self.next += TABLE_SIZE;
        NonZeroUsize::new(table as Word).map(|frame| TableFrame(KernelFrame(frame))).ok_or(NoMemory)
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.end - self.next
    }

    /// What is left.
    pub fn rest(&self) -> PhysicalRange {
        PhysicalRange { start: self.next, end: self.end }
    }
}

/// Bytes of a frame of entries and its companion. They are aligned to that, so that the companion
/// is one bit away.
const TABLE_SIZE: u64 = 2 * PAGE_SIZE as u64;

const _: () = assert!(COMPANION_OFFSET == PAGE_SIZE as u64);
