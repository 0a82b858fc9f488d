//! IPC gates.

use crate::memory::index::{TableIndex, ThreadIndex};
use protocol::{Word, introspection::mapping::GateRecord};

/// An IPC gate: a thread under a label, which is how servers tell their clients apart.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Gate(GateRecord);

impl Gate {
    /// A gate to `thread`.
    pub fn new(thread: ThreadIndex, label: Word) -> Self {
        Self(GateRecord { label: label as u64, thread: thread.position(), reserved: [0; 3] })
    }

    /// Who receives.
    #[inline(always)]
    pub fn thread(self) -> ThreadIndex {
        ThreadIndex::from_position(self.0.thread)
    }

    /// What the receiver gets to see.
    #[inline(always)]
    pub fn label(self) -> Word {
        self.0.label as Word
    }
}
