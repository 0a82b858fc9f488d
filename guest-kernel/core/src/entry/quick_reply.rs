//! The quick paths of answers that come later: to set one aside, and to give it. The same holds for them as
//! for the others.

use crate::{
    mapping::database::{self, Links},
    memory::{
        index::{MaybeThread, TableIndex, TaskIndex},
        machine::Machine,
    },
    threads::{kernel::Kernel, state::Question, thread::Thread},
};
use protocol::{introspection::record::Kind, message::MessageTag, object::CapabilityIndex};

impl<M: Machine> Kernel<M> {
    /// [`Operation::SET_ASIDE`](protocol::syscall::Operation::SET_ASIDE) into one of the first slots, with a node that is there.
    #[inline(always)]
    pub(crate) fn quick_set_aside(&mut self, index: CapabilityIndex) -> Option<&mut Thread> {
        let server = self.current.expected();
        let mut threads = self.threads.all();
        let from = &threads[server];
        let mappings = &mut self.mappings;
        let task = TaskIndex::from_position(from.record.task);
        let owner = &mappings.tasks[task];
        let factory = owner.factory;
        let spot = owner.capabilities.first_spot(index)?;
        // Nobody is beyond the table.
        let caller = from.caller.expected();
        if !threads.get(caller)?.waits_for(server)
            || from.undertaking.is_some()
            || index == CapabilityIndex::NIL
            || spot.entry(&mut mappings.machine).is_present()
        {
            return None;
        }
        let factory = &mut mappings.factories[factory];
        let node = database::take_node(&mut mappings.machine, factory)?;
        mappings.begin_reply(task, index, (spot, node), caller);
        threads[caller].await_reply();
        let from = threads.only(server);
        from.caller = MaybeThread::NOBODY;
        from.context.set_result(MessageTag::default(), 0);
        Some(from)
    }

    /// An answer without items to a call, which was set aside, by a server for which nobody waits.
    #[inline(always)]
    pub(crate) fn quick_later_answer(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
    ) -> Option<&mut Thread> {
        let server = self.current.expected();
        let mut threads = self.threads.all();
        let from = &threads[server];
        let mappings = &mut self.mappings;
        let owner = &mappings.tasks[TaskIndex::from_position(from.record.task)];
        let factory = owner.factory;
        let spot = owner.capabilities.first_spot(index)?;
        let caller = spot.entry(&mut mappings.machine).reply()?;
        let node = spot.node(&mut mappings.machine)?;
        let to = threads.get(caller)?;
        if !to.awaits(Question::Call, None)
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
        spot.clear(&mut mappings.machine).is_unknown();
        database::free_node(&mut mappings.machine, &mut mappings.factories[factory], node);
        mappings.lives.forget_reply(caller);
        threads[server].wait_after_answer();
        let to = threads.only(caller);
        to.take_answer(tag);
        self.current = caller.into();
        Some(to)
    }
}
