//! Where the message registers of threads are.

use crate::memory::frames::{KernelFrame, PhysicalAddress, Place};
use protocol::{Word, utcb::UTCB_SIZE};

/// A UTCB, by its place in a kernel frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcbReference(Place);

impl UtcbReference {
    /// The UTCB at a byte offset in a frame; `None` unless one begins there.
    pub fn at_offset(frame: KernelFrame, offset: Word) -> Option<Self> {
        Place::inside(frame, offset).filter(|_| offset.is_multiple_of(UTCB_SIZE)).map(Self)
    }

    /// Where it begins; there is room in the frame for a whole UTCB from there on.
    pub fn address(self) -> PhysicalAddress {
        self.0.address()
    }
}
