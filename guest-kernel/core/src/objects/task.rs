//! Operations of tasks: mapping into them, and taking back what was derived from what they have.

use crate::{
    mapping::{database, walk::Tally},
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        node::MaybeNode,
    },
    objects::invocation::{Answer, NOTHING, Reply, require},
    threads::{kernel::Kernel, trace::Unmapping, undertaking::Operation},
};
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    flexpage::{Flexpage, Kind as FlexpageKind, Rights},
    introspection::{
        NOBODY,
        mapping::MappingNode,
        record::{Kind, MapStatus},
    },
    layout::MAPPABLE_END,
    message::{MapItem, MessageTag},
    object::task,
};

impl<M: Machine> Kernel<M> {
    #[inline(never)]
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
        let mut progress = self.begin(caller, Operation::Map { task });
        if let Err(preempted) = self.mappings.map_item(&mut progress, from, task, item, window) {
            self.interrupt(caller, Operation::Map { task }, progress);
            return Err(preempted.into());
        }
        self.mappings.end_walk(progress.walker);
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
        let mut progress = self.begin(invoker, Operation::Unmap { task });
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
                    self.interrupt(invoker, Operation::Unmap { task }, progress);
                    return Err(preempted.into());
                }
            }
            progress.next();
        }
        self.mappings.end_stretch();
        Ok(Reply::words(3 + count))
    }

    /// The hot case of [`task::UNMAP`]: all of one page of memory from which little was derived.
    /// False, with nothing done, in every other case.
    #[inline(never)]
    pub(crate) fn unmap_one_page(
        &mut self,
        invoker: ThreadIndex,
        task: TaskIndex,
        tag: MessageTag,
    ) -> bool {
        let [operation, rights, count, word, ..] = self.utcb(invoker).message;
        let flexpage = Flexpage(word);
        let plain = (operation, count, tag.words()) == (task::UNMAP, 1, 4)
            && rights & Word::from(Rights::READ.bits()) != 0
            && flexpage.kind() == FlexpageKind::Memory
            && flexpage.order() == PAGE_ORDER
            && flexpage.address() < MAPPABLE_END
            && self.threads[invoker].undertaking.is_none();
        if !plain {
            return false;
        }
        let Some(spot) = self.mappings.small_page(task, flexpage.address() >> PAGE_ORDER) else {
            return false;
        };
        let Some(node) = spot.node(&mut self.mappings.machine) else { return false };
        let mut tally = Tally::default();
        match database::last_or_leaf(&mut self.mappings.machine, node).map(MaybeNode::get) {
            Some(None) => {}
            Some(Some(child)) => {
                let MappingNode { task, place, .. } = *self.mappings.machine.node(child);
                let (task, number) = (TaskIndex::from_position(task), place.number() as Word);
                let Some(spot) = self.mappings.small_page(task, number) else { return false };
                self.mappings.remove_page(&mut tally, child, task, spot);
            }
            None => match self.mappings.take_few(node) {
                Some(taken) => tally = taken,
                None => return false,
            },
        }
        let own = rights & task::UNMAP_OWN != 0 && task != TaskIndex::SIGMA0;
        if own {
            self.mappings.remove(&mut tally, node);
        }
        self.utcb(invoker).message[3] |= tally.usage_bits();
        self.threads[invoker].context.set_result(MessageTag::new(0, 4, 0), 0);
        if self.traces(Kind::Unmap) {
            let take = Rights::from_bits_truncate(rights as u8);
            self.record_unmap(Unmapping { task, flexpage, take, own, tally }, invoker, None);
        }
        true
    }
}
