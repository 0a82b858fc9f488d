//! Trace records of what happens, for the host.

use crate::{
    mapping::{item::Outcome, progress::Progress, walk::Tally},
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        kernel::Kernel,
        state::{Question, State},
        undertaking::{Operation, Undertaking, walker},
    },
};
use protocol::{
    flexpage::{Flexpage, Rights},
    introspection::{
        TaskRecord, ThreadRecord,
        record::{
            Gate, Handler, Ids, Kind, Map, MapStatus, NamedObject, ObjectNamed, PagersSet,
            Recorded, RegistersSet, SetBy, TaskCreated, ThreadStarted, Unmap, set_by_words,
        },
    },
    message::MapItem,
    object::CapabilityIndex,
    registers::Registers,
};

impl<M: Machine> Kernel<M> {
    /// Whether records of this kind are wanted.
    #[inline]
    pub fn traces(&self, kind: Kind) -> bool {
        self.mappings.machine.records(kind)
    }

    /// A thread and its task as records name them.
    #[inline(always)]
    pub fn ids_of(&self, thread: Option<ThreadIndex>) -> Ids {
        match thread {
            Some(thread) => Ids::new(self.threads[thread].record.task, thread.position()),
            None => Ids::NOBODY,
        }
    }

    /// Leaves a record of what happened to a thread.
    #[inline]
    pub(crate) fn trace(&mut self, time: u64, thread: ThreadIndex, event: impl Recorded) {
        self.trace_of(time, self.ids_of(Some(thread)), event);
    }

    /// Leaves a record of what happened.
    #[inline]
    pub(crate) fn trace_of(&mut self, time: u64, who: Ids, event: impl Recorded) {
        let machine = &mut self.mappings.machine;
        set_by_words!(machine.begin_record(), time, who.into(), event);
        machine.end_record();
    }

    /// Leaves a record of something that happens seldom, if that is wanted.
    fn trace_now<E: Recorded>(&mut self, who: Ids, event: impl FnOnce(&mut Self) -> E) {
        if self.traces(E::KIND) {
            let event = event(self);
            self.trace_of(self.mappings.machine.time(), who, event);
        }
    }

    /// Leaves a record of an item that arrived.
    pub(crate) fn trace_map(
        &mut self,
        arrival: Arrival,
        sender: Ids,
        item: MapItem,
        window: Flexpage,
    ) {
        let Arrival { to, fault, outcome } = arrival;
        let event = Map {
            status: outcome.status,
            grant: item.grant,
            rights: outcome.rights,
            order: outcome.order as u8,
            window: window.order() as u8,
            destination: outcome.destination as u32,
            source: outcome.source as u32,
            sent: item.flexpage,
            physical: outcome.physical.0,
            fault,
            sender,
            entries: outcome.entries,
        };
        self.trace_of(self.mappings.machine.time(), to, event);
    }

    pub(crate) fn trace_task(&mut self, task: TaskIndex, creator: Option<ThreadIndex>) {
        let who = Ids::of_task(task.position());
        self.trace_now(who, |kernel| TaskCreated { creator: kernel.ids_of(creator) });
    }

    pub(crate) fn trace_thread(&mut self, thread: ThreadIndex, creator: Option<ThreadIndex>) {
        let who = self.ids_of(Some(thread));
        self.trace_now(who, |kernel| ThreadStarted { creator: kernel.ids_of(creator) });
    }

    /// Records the name and image that a task has now.
    pub(crate) fn trace_task_name(&mut self, task: TaskIndex, by: Option<ThreadIndex>) {
        self.trace_now(Ids::of_task(task.position()), |kernel| {
            let TaskRecord { name, image, generation, .. } = kernel.mappings.tasks[task].record;
            let object = NamedObject::Task { image: image.checked_sub(1) };
            ObjectNamed { object, generation, by: kernel.ids_of(by), name }
        });
    }

    /// Records the name that a thread has now.
    pub(crate) fn trace_thread_name(&mut self, thread: ThreadIndex, by: ThreadIndex) {
        self.trace_now(self.ids_of(Some(thread)), |kernel| {
            let ThreadRecord { name, generation, .. } = *kernel.threads[thread].record;
            let by = kernel.ids_of(Some(by));
            ObjectNamed { object: NamedObject::Thread, generation, by, name }
        });
    }

    /// Records whom a thread turns to from now on.
    pub(crate) fn trace_pagers(&mut self, thread: ThreadIndex, by: Option<ThreadIndex>) {
        self.trace_now(self.ids_of(Some(thread)), |kernel| {
            let from = &kernel.threads[thread];
            let (pager, exception_handler) = (from.pager(), from.exception_handler());
            PagersSet {
                by: kernel.ids_of(by),
                pager: kernel.handler(thread, pager),
                exception_handler: kernel.handler(thread, exception_handler),
            }
        });
    }

    /// Records that somebody has set registers of a thread, and some that it has now.
    pub(crate) fn trace_registers(&mut self, thread: ThreadIndex, way: SetBy, by: ThreadIndex) {
        self.trace_now(self.ids_of(Some(thread)), |kernel| {
            let Registers { instruction, stack, flags, .. } =
                kernel.threads[thread].context.registers(false);
            let [instruction, stack, flags] = [instruction, stack, flags].map(|word| word as u64);
            RegistersSet { way, by: kernel.ids_of(Some(by)), instruction, stack, flags }
        });
    }

    /// Where the gate at `index` in the thread's task leads to, for a record.
    fn handler(&mut self, thread: ThreadIndex, index: CapabilityIndex) -> Handler {
        let gate = self.gate(thread, index).map(|gate| {
            let thread = self.ids_of(Some(gate.thread));
            Gate { label: gate.label as u64, thread }
        });
        Handler { capability: index.0 as u16, gate }
    }

    /// Leaves a record of what was unmapped.
    pub(crate) fn trace_unmap(
        &mut self,
        unmapping: Unmapping,
        invoker: Ids,
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
        invoker: Ids,
        replaced_for: Option<u64>,
    ) {
        let Unmapping { task, flexpage, take, own, tally } = unmapping;
        let event = Unmap {
            flexpage,
            take,
            own,
            accessed: tally.noted.is_accessed(),
            dirty: tally.noted.is_dirty(),
            replaced: replaced_for.is_some(),
            removed: tally.removed,
            reduced: tally.reduced,
            fault: replaced_for.unwrap_or(0),
            by: invoker,
        };
        let who = Ids::new(task.position(), invoker.thread());
        self.trace_of(self.mappings.machine.time(), who, event);
    }

    /// Records that a new mapping took the place of old ones where an item arrived in `task`.
    pub(crate) fn trace_replaced(
        &mut self,
        invoker: Ids,
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

impl<M: Machine> Kernel<M> {
    /// Records what a thread has done of something that it does not go on with.
    #[cold]
    pub(crate) fn trace_abandoned(&mut self, thread: ThreadIndex, undertaking: Undertaking) {
        let Undertaking { operation, progress } = undertaking;
        let Some(item) = progress.item else { return };
        let by = self.ids_of(Some(thread));
        let (to, fault, sender) = match operation {
            Operation::Unmap { task, .. } => {
                let tally = progress.tally;
                if tally.removed | tally.reduced != 0 {
                    let MapItem { grant: own, flexpage, .. } = item;
                    let (take, flexpage) =
                        (flexpage.rights(), flexpage.with_rights(Rights::empty()));
                    self.trace_unmap(Unmapping { task, flexpage, take, own, tally }, by, None);
                }
                return;
            }
            Operation::Map { task, .. } => (Ids::of_task(task.position()), 0, by),
            Operation::Transfer { sender, receiver, .. } => {
                let fault = self.answered_fault(receiver);
                (self.ids_of(Some(receiver)), fault, self.ids_of(Some(sender)))
            }
        };
        self.trace_replaced(by, &progress, TaskIndex::from_position(to.task()), item, fault);
        if progress.outcome.entries != 0 && self.traces(Kind::Map) {
            let outcome = Outcome { status: MapStatus::Done, ..progress.outcome };
            let window = self.mappings.walkers[walker(thread)].window;
            let window = window.unwrap_or(Flexpage::WHOLE_SPACE);
            self.trace_map(Arrival { to, fault, outcome }, sender, item, window);
        }
    }

    /// Number of the fault that `receiver` waits with, 0 if it has none.
    pub(crate) fn answered_fault(&self, receiver: ThreadIndex) -> u64 {
        let thread = &self.threads[receiver];
        match thread.state() {
            State::Awaiting { answer_to: Question::PageFault | Question::PortFault, .. } => {
                thread.fault.number
            }
            _ => 0,
        }
    }
}

/// What arrived, with whom, and as the answer to which fault, 0 if none.
pub(crate) struct Arrival {
    pub to: Ids,
    pub fault: u64,
    pub outcome: Outcome,
}

/// What was unmapped.
pub(crate) struct Unmapping {
    pub task: TaskIndex,
    pub flexpage: Flexpage,
    pub take: Rights,
    pub own: bool,
    pub tally: Tally,
}
