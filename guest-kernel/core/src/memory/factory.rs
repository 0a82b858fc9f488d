//! Factories: quotas of kernel memory.

use crate::memory::{
    frames::NoMemory,
    index::{FactoryIndex, Table, Tenant},
    machine::Memory,
};
use protocol::{
    error::ObjectError,
    introspection::{ALIVE, UNUSED, mapping::FactoryRecord},
};

/// All factories.
pub type Factories<M> = Table<FactoryIndex, <M as Memory>::Storage<Factory>>;

/// A quota of kernel memory. Its size is a power of two, which makes finding it a shift.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Factory {
    /// What viewers see; also the kernel's own copy of these facts.
    pub record: FactoryRecord,
    /// If it is ending, how many pieces of the last pair of frames of its nodes are clear.
    pub(crate) cleared: usize,
}

const _: () = assert!(size_of::<Factory>() == 64);

impl Factory {
    /// A factory that has spent nothing yet, made from `parent`.
    pub fn new(limit: u64, parent: u16) -> Self {
        let state = ALIVE as u16;
        let record =
            FactoryRecord { limit, parent, state, generation: 1, ..FactoryRecord::default() };
        Self { record, cleared: 0 }
    }

    /// Bytes that it may still spend.
    pub fn left(&self) -> u64 {
        self.record.limit - self.record.used
    }

    /// Spends `bytes`, or nothing if that is more than is left.
    pub fn charge(&mut self, bytes: u64) -> Result<(), NoMemory> {
        if self.left() < bytes {
            return Err(NoMemory);
        }
        self.record.used += bytes;
        Ok(())
    }

    /// Takes back what was spent for nothing.
    pub fn refund(&mut self, bytes: u64) {
        self.record.used -= bytes;
    }
}

impl Tenant for Factory {
    fn generation(&mut self) -> &mut u32 {
        &mut self.record.generation
    }

    fn vacate(&mut self) {
        self.record.state = UNUSED as u16;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.record.parent
    }
}

impl From<NoMemory> for ObjectError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}
