//! Operations of tasks: mapping into them, and taking back what was derived from what they have.

use crate::{
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    objects::invocation::{Answer, NOTHING, Reply, require},
    threads::{kernel::Kernel, trace::Unmapping, undertaking::Operation},
};
use protocol::{
    Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{
        NOBODY,
        record::{Kind, MapStatus},
    },
    message::{MapItem, MessageTag},
    object::task,
};

impl<M: Machine> Kernel<M> {
    pub(crate) fn task_operation(
        &mut self,
        caller: ThreadIndex,
        task: TaskIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        let [operation, first, second] = self.arguments(caller, tag)?;
        require(rights, Rights::WRITE)?;
        match operation {
            task::MAP => {
                let item = MapItem::from_words([first, second]);
                self.map_into(caller, task, item.ok_or(ObjectError::InvalidArgument)?)
            }
            task::UNMAP if second > task::UNMAP_MAX_FLEXPAGES => {
                Err(ObjectError::OutOfRange.into())
            }
            task::UNMAP if tag.words() < 3 + second => Err(ObjectError::MessageTooShort.into()),
            task::UNMAP => self.unmap(caller, task, first, second),
            _ => Err(ObjectError::UnknownOperation.into()),
        }
    }

    fn map_into(&mut self, caller: ThreadIndex, task: TaskIndex, item: MapItem) -> Answer {
        let (from, window) = (self.task_of(caller), Flexpage::WHOLE_SPACE);
        let generation = self.mappings.tasks[task].record.generation;
        let operation = Operation::Map { task, generation };
        let mut progress = self.begin(caller, operation);
        let item = *progress.item.get_or_insert(item);
        if let Err(preempted) = self.mappings.map_item(&mut progress, from, task, item, window) {
            self.interrupt(caller, operation, progress);
            return Err(preempted.into());
        }
        self.mappings.end_walk(progress.walker);
        self.dismantle_for(caller, operation, progress)?;
        self.mappings.end_stretch();
        self.trace_replaced(caller, &progress, task, item, 0);
        let outcome = progress.outcome;
        if self.traces(Kind::Map) {
            let mut record = self.new_record(Kind::Map, self.mappings.machine.time(), caller);
            record.task = task.position();
            record.thread = NOBODY;
            self.trace_map(record, Some(caller), item, window, outcome);
        }
        match outcome.status {
            MapStatus::Done => NOTHING,
            MapStatus::SourceEmpty => Err(ObjectError::NoSuchCapability.into()),
            MapStatus::Overflow => Err(ObjectError::InvalidArgument.into()),
            MapStatus::NoMemory => Err(ObjectError::NoMemory.into()),
            MapStatus::TooDeep => Err(ObjectError::TooDeep.into()),
        }
    }

    /// [`task::UNMAP`]: takes rights away in the terms of `task`.
    pub(crate) fn unmap(
        &mut self,
        invoker: ThreadIndex,
        task: TaskIndex,
        rights: Word,
        count: Word,
    ) -> Answer {
        let own = rights & task::UNMAP_OWN != 0 && task != TaskIndex::SIGMA0;
        let take = Rights::from_bits_truncate(rights as u8);
        let generation = self.mappings.tasks[task].record.generation;
        let operation = Operation::Unmap { task, generation };
        let mut progress = self.begin(invoker, operation);
        while progress.number < count {
            let register = 3 + progress.number;
            let flexpage = Flexpage(self.utcb(invoker).message[register]);
            let done = self.mappings.unmap_flexpage(&mut progress, task, flexpage, take, own);
            self.utcb(invoker).message[register] |= progress.tally.usage_bits();
            if done.is_ok() {
                self.mappings.end_walk(progress.walker);
            }
            match done {
                Ok(true) => {
                    let tally = progress.tally;
                    self.trace_unmap(Unmapping { task, flexpage, take, own, tally }, invoker, None);
                }
                Ok(false) => {
                    self.mappings.end_stretch();
                    return Err(ObjectError::InvalidArgument.into());
                }
                Err(preempted) => {
                    self.interrupt(invoker, operation, progress);
                    return Err(preempted.into());
                }
            }
            progress.next();
        }
        self.dismantle_for(invoker, operation, progress)?;
        self.mappings.end_stretch();
        Ok(Reply::words(3 + count))
    }
}
