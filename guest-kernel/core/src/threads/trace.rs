//! Trace records of what happens, for the host.

use crate::{
    mapping::{item::Outcome, progress::Progress, walk::Tally},
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::kernel::Kernel,
};
use protocol::{
    flexpage::{Flexpage, Rights, low_mask},
    introspection::{
        NOBODY,
        record::{Kind, Record, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED, ids},
    },
    message::MapItem,
};

impl<M: Machine> Kernel<M> {
    /// Whether records of this kind are wanted.
    #[inline]
    pub fn traces(&self, kind: Kind) -> bool {
        self.mappings.machine.records(kind)
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

    /// Leaves a record of an item that arrived in `record.task`.
    pub(crate) fn trace_map(
        &mut self,
        mut record: Record,
        sender: Option<ThreadIndex>,
        item: MapItem,
        window: Flexpage,
        outcome: Outcome,
    ) {
        let grant = u8::from(item.grant) << 3;
        record.flags = outcome.rights.bits() | grant | (outcome.status as u8) << 4;
        record.order = outcome.order as u8;
        record.cpu = window.order() as u8;
        record.a = outcome.destination as u64 | (outcome.source as u64) << 32;
        record.b = item.flexpage.0 as u64;
        record.c = outcome.physical.0;
        record.e = self.ids_of(sender) << 32 | u64::from(outcome.entries);
        self.mappings.machine.record(record);
    }

    pub(crate) fn trace_creation(
        &mut self,
        kind: Kind,
        task: TaskIndex,
        thread: Option<ThreadIndex>,
        creator: Option<ThreadIndex>,
    ) {
        if !self.traces(kind) {
            return;
        }
        self.mappings.machine.record(Record {
            time: self.mappings.machine.time(),
            kind: kind as u8,
            task: task.position(),
            thread: thread.map_or(NOBODY, TableIndex::position),
            a: self.ids_of(creator),
            ..Record::default()
        });
    }

    /// Leaves a record of what was unmapped.
    pub(crate) fn trace_unmap(
        &mut self,
        unmapping: Unmapping,
        invoker: ThreadIndex,
        replaced_for: Option<u64>,
    ) {
        if self.traces(Kind::Unmap) {
            self.record_unmap(unmapping, invoker, replaced_for);
        }
    }

    /// The same if that is wanted anyway. `replaced_for` is the number of the fault whose answer took the
    /// place of what was unmapped, or 0.
    #[inline(never)]
    pub(crate) fn record_unmap(
        &mut self,
        unmapping: Unmapping,
        invoker: ThreadIndex,
        replaced_for: Option<u64>,
    ) {
        let Unmapping { task, flexpage, take, own, tally } = unmapping;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut record = self.new_record(Kind::Unmap, self.mappings.machine.time(), invoker);
        record.task = task.position();
        record.flags = take.bits()
            | flag(own, UNMAP_OWN)
            | flag(tally.noted.is_accessed(), UNMAP_ACCESSED)
            | flag(tally.noted.is_dirty(), UNMAP_DIRTY)
            | flag(replaced_for.is_some(), UNMAP_REPLACED);
        record.order = flexpage.order() as u8;
        record.a = (flexpage.address() & !low_mask(flexpage.order())) as u64;
        record.b = flexpage.0 as u64;
        record.c = u64::from(tally.removed) << 32 | u64::from(tally.reduced);
        record.e = self.ids_of(Some(invoker));
        record.d = replaced_for.unwrap_or(0);
        self.mappings.machine.record(record);
    }

    /// Records that a new mapping took the place of old ones where an item arrived in `task`.
    pub(crate) fn trace_replaced(
        &mut self,
        invoker: ThreadIndex,
        progress: &Progress,
        task: TaskIndex,
        item: MapItem,
        answered_fault: u64,
    ) {
        let tally = progress.tally;
        if tally.removed != 0 {
            let arrived = progress.outcome.arrived(item.flexpage.kind());
            let flexpage = arrived.with_rights(Rights::empty());
            let unmapping = Unmapping { task, flexpage, take: Rights::all(), own: true, tally };
            self.trace_unmap(unmapping, invoker, Some(answered_fault));
        }
    }
}

/// What was unmapped.
pub(crate) struct Unmapping {
    pub task: TaskIndex,
    pub flexpage: Flexpage,
    pub take: Rights,
    pub own: bool,
    pub tally: Tally,
}
