//! Operations of tasks: mapping into them, and taking back what was derived from what they have.

use crate::{
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    objects::invocation::{Answer, Reply, require},
    threads::{
        kernel::Kernel,
        next::Next,
        trace::{Arrival, Unmapping},
        undertaking::Operation,
    },
};
use protocol::{
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::record::{Ids, Kind, MapStatus},
    message::{MapItem, MessageTag},
    operation::task::{Map, Request, Unmap},
};

impl<M: Machine> Kernel<M> {
    pub(crate) fn task_operation(
        &mut self,
        caller: ThreadIndex,
        task: TaskIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        require(rights, Rights::WRITE)?;
        match Request::decode(self.words(caller, tag))? {
            Request::Map(Map { item }) => self.map_into(caller, task, item),
            Request::Unmap(unmap) if tag.words() < Unmap::FIRST_FLEXPAGE + unmap.flexpages => {
                Err(ObjectError::MessageTooShort.into())
            }
            Request::Unmap(unmap) => self.unmap(caller, task, unmap),
        }
    }

    fn map_into(&mut self, caller: ThreadIndex, task: TaskIndex, item: MapItem) -> Answer {
        let (from, window) = (self.task_of(caller), Flexpage::WHOLE_SPACE);
        let generation = self.mappings.tasks[task].record.generation;
        let operation = Operation::Map { task, generation };
        let mut progress = self.begin(caller, operation);
        let ids = self.threads[caller].ids;
        let item = *progress.item.get_or_insert(item);
        if let Err(preempted) = self.mappings.map_item(&mut progress, from, task, item, window) {
            self.interrupt(caller, operation, progress);
            return Err(preempted.into());
        }
        self.mappings.end_walk(progress.walker);
        self.dismantle_for(caller, operation, &mut progress)?;
        self.mappings.end_stretch();
        self.trace_replaced(ids, &progress, task, item, 0);
        let outcome = progress.outcome;
        if self.traces(Kind::Map) {
            let arrival = Arrival { to: Ids::of_task(task.position()), fault: 0, outcome };
            self.trace_map(arrival, ids, item, window);
        }
        match outcome.status {
            MapStatus::Done => Ok(Reply { words: 0, next: Next::Best }),
            MapStatus::SourceEmpty => Err(ObjectError::NoSuchCapability.into()),
            MapStatus::Overflow => Err(ObjectError::InvalidArgument.into()),
            MapStatus::NoMemory => Err(ObjectError::NoMemory.into()),
            MapStatus::TooDeep => Err(ObjectError::TooDeep.into()),
        }
    }

    /// Takes rights away in the terms of `task`.
    fn unmap(&mut self, invoker: ThreadIndex, task: TaskIndex, unmap: Unmap) -> Answer {
        let Unmap { take, own_too, flexpages } = unmap;
        let own = own_too && task != TaskIndex::SIGMA0;
        let generation = self.mappings.tasks[task].record.generation;
        let operation = Operation::Unmap { task, generation };
        let mut progress = self.begin(invoker, operation);
        let ids = self.threads[invoker].ids;
        // One that was begun goes on as it was, whatever the words say by now.
        while usize::from(progress.number) < flexpages || progress.item.is_some() {
            let register = Unmap::FIRST_FLEXPAGE + usize::from(progress.number);
            let flexpage = Flexpage(self.utcb(invoker).message[register]);
            let MapItem { grant: own, flexpage, .. } = progress.begin_unmap(flexpage, take, own);
            let (take, flexpage) = (flexpage.rights(), flexpage.with_rights(Rights::empty()));
            let done = self.mappings.unmap_flexpage(&mut progress, task, flexpage, take, own);
            self.utcb(invoker).message[register] |= progress.tally.usage_bits();
            if done.is_ok() {
                self.mappings.end_walk(progress.walker);
            }
            match done {
                Ok(true) => {
                    let tally = progress.tally;
                    self.trace_unmap(Unmapping { task, flexpage, take, own, tally }, ids, None);
                }
                Ok(false) => {
                    self.dismantle_for(invoker, operation, &mut progress)?;
                    self.mappings.end_stretch();
                    return Err(ObjectError::InvalidArgument.into());
                }
                Err(preempted) => {
                    self.interrupt(invoker, operation, progress);
                    return Err(preempted.into());
                }
            }
            progress.end_unmap();
        }
        self.dismantle_for(invoker, operation, &mut progress)?;
        self.mappings.end_stretch();
        // Whom it has told of an end may be more important.
        Ok(Reply { words: Unmap::FIRST_FLEXPAGE + flexpages, next: Next::Best })
    }
}
