//! IPC gates.

use crate::memory::index::{TableIndex, Tenant, ThreadIndex};
use protocol::{
    Word,
    introspection::{ALIVE, UNUSED, mapping::GateRecord},
};

/// An IPC gate: a thread under a label, which is how servers tell their clients apart.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Gate(GateRecord);

impl Gate {
    /// A gate to `thread`.
    pub fn new(thread: ThreadIndex, label: Word) -> Self {
        let (label, thread, state) = (label as u64, thread.position(), ALIVE as u16);
        Self(GateRecord { label, thread, state, generation: 1 })
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

impl Tenant for Gate {
    fn generation(&mut self) -> &mut u32 {
        &mut self.0.generation
    }

    fn vacate(&mut self) {
        self.0.state = UNUSED as u16;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.0.thread
    }
}
