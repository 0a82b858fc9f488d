//! Where the message registers of threads are.

use crate::memory::frames::KernelFrame;
use protocol::{PAGE_SIZE, Word, utcb::UTCB_SIZE};

/// A UTCB, by its physical address in a kernel frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcbReference {
    frame: KernelFrame,
    offset: u16,
}

impl UtcbReference {
    /// The UTCB at a byte offset in a frame; `None` unless one begins there.
    pub fn at_offset(frame: KernelFrame, offset: Word) -> Option<Self> {
        if offset >= PAGE_SIZE || !offset.is_multiple_of(UTCB_SIZE) {
            return None;
        }
        Some(Self { frame, offset: offset as u16 })
    }

    /// Its frame.
    #[inline]
    pub fn frame(self) -> KernelFrame {
        self.frame
    }

    /// Where it begins in the frame; there is room for a whole UTCB from there on.
    #[inline]
    pub fn offset(self) -> u64 {
        self.offset.into()
    }
}
