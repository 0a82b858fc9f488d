//! Where the message registers of threads are.

use crate::memory::frames::{KernelFrame, PhysicalAddress};
use core::num::NonZeroUsize;
use protocol::{PAGE_SIZE, Word, utcb::UTCB_SIZE};

/// A UTCB, by its physical address, which lies in a kernel frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct UtcbReference(NonZeroUsize);

impl UtcbReference {
    /// The UTCB at a byte offset in a frame; `None` unless one begins there.
    pub fn at_offset(frame: KernelFrame, offset: Word) -> Option<Self> {
        if offset >= PAGE_SIZE || !offset.is_multiple_of(UTCB_SIZE) {
            return None;
        }
        Some(Self(frame.number() | offset))
    }

    /// The first one of a frame.
    pub fn first_of(frame: KernelFrame) -> Self {
        Self(frame.number())
    }

    /// Where it begins.
    pub fn address(self) -> PhysicalAddress {
        PhysicalAddress(self.0.get() as u64)
    }

    /// Where it begins in its frame; there is room for a whole UTCB from there on.
    #[inline]
    pub fn offset(self) -> usize {
        self.0.get() % PAGE_SIZE
    }

    /// Whether it lies in a frame.
    pub fn is_in(self, frame: KernelFrame) -> bool {
        self.0.get() - self.offset() == frame.number().get()
    }
}
