//! The quick paths of answers that come later: to set one aside, and to give it. The same holds for them as
//! for the others.

use crate::{
    entry::quick::{OPERATION_MASK, SPECIAL},
    mapping::{
        capability::Slot,
        database::{self, Links},
        space::Spot,
    },
    memory::{
        index::{MaybeThread, TableIndex, TaskIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, thread::Thread},
};
use protocol::{
    Word,
    introspection::{ThreadState, record::Kind},
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{CAPABILITY_SHIFT, Operation},
};

impl<M: Machine> Kernel<M> {
    /// One of these two, or nothing quick.
    #[inline(always)]
    pub(crate) fn quick_reply(&mut self, target: Word, tag: Word) -> Option<&mut Thread> {
        let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
        match Operation(target & OPERATION_MASK) {
            Operation::SET_ASIDE => self.quick_set_aside(index),
            Operation::ANSWER_AND_WAIT => self.quick_later_answer(index, MessageTag(tag)),
            _ => None,
        }
    }

    /// [`Operation::SET_ASIDE`] into a slot of a table that is there, with a node that is there too.
    #[inline(always)]
    fn quick_set_aside(&mut self, index: CapabilityIndex) -> Option<&mut Thread> {
        let server = self.current.expected();
        let caller = self.threads[server].caller.get()?;
        let (from, to) = self.threads.pair(server, caller)?;
        let mappings = &mut self.mappings;
        if !to.waits_for(server) || from.undertaking.is_some() || index == CapabilityIndex::NIL {
            return None;
        }
        let task = TaskIndex::from_position(from.record.task);
        let owner = &mappings.tasks[task];
        let spot = owner.capabilities.spot(index)?;
        if spot.entry(&mut mappings.machine).is_present() {
            return None;
        }
        let factory = &mut mappings.factories[owner.factory];
        let node = database::take_node(&mut mappings.machine, factory)?;
        mappings.begin_reply(task, index, (spot, node), caller);
        to.await_reply();
        from.caller = MaybeThread::NOBODY;
        from.context.set_result(MessageTag::default(), 0);
        Some(from)
    }

    /// An answer without items to a call, which was set aside, by a server for which nobody waits.
    #[inline(always)]
    fn quick_later_answer(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
    ) -> Option<&mut Thread> {
        let server = self.current.expected();
        let (task, mappings) = (self.task_of(server), &mut self.mappings);
        let owner = &mappings.tasks[task];
        let spot: Spot<Slot> = owner.capabilities.spot(index)?;
        let caller = spot.entry(&mut mappings.machine).reply()?;
        let node = spot.node(&mut mappings.machine)?;
        let (from, to) = self.threads.pair(server, caller)?;
        if !to.is(ThreadState::Receiving)
            || !to.waits_for_reply()
            || to.answerer != MaybeThread::NOBODY
            || from.caller != MaybeThread::NOBODY
            || !from.has_nothing_to_take()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || mappings.machine.records(Kind::Message)
            // No walk has stopped there.
            || mappings.machine.node(node).following().get().is_some()
        {
            return None;
        }
        if tag.words() != 0 {
            mappings.machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        spot.take(&mut mappings.machine);
        let factory = &mut mappings.factories[owner.factory];
        database::free_node(&mut mappings.machine, factory, node);
        mappings.lives.forget_reply(caller);
        from.wait_after_answer();
        to.take_answer(tag);
        self.current = caller.into();
        Some(to)
    }
}

/// Whether a system call is one of these two, without items.
#[inline(always)]
pub(crate) fn is_reply(target: Word, tag: Word) -> bool {
    let operation = Operation(target & OPERATION_MASK);
    tag & SPECIAL == 0 && matches!(operation, Operation::SET_ASIDE | Operation::ANSWER_AND_WAIT)
}
