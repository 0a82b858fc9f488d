//! Trace records of what happens, for the host.

use crate::{
    index::{TableIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
};
use protocol::introspection::{
    NOBODY,
    record::{Kind, Record, ids},
};

impl<M: Machine> Kernel<M> {
    /// Whether records of this kind are wanted.
    #[inline]
    pub fn traces(&self, kind: Kind) -> bool {
        self.machine.records(kind)
    }

    /// A record about `thread` with the rest still zero.
    #[inline]
    pub fn new_record(&self, kind: Kind, time: u64, thread: ThreadIndex) -> Record {
        self.threads[thread].new_record(kind, time, thread)
    }

    /// A thread and its task as records name them.
    #[inline(always)]
    pub fn ids_of(&self, thread: Option<ThreadIndex>) -> u64 {
        match thread {
            Some(thread) => ids(self.threads[thread].record.task, thread.position()),
            None => ids(NOBODY, NOBODY),
        }
    }
}
