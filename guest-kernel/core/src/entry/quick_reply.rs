//! The quick paths of answers that come later: to set one aside, and to give it. The same holds for them as
//! for the others.

use crate::{
    entry::quick::answer,
    mapping::{
        capability::Slot,
        database::{self, Links},
        space::Spot,
    },
    memory::{
        index::{MaybeThread, TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::kernel::Kernel,
};
use protocol::{
    introspection::{ThreadState, record::Kind},
    message::MessageTag,
    object::CapabilityIndex,
    operation::{Operation as _, thread},
};

impl<M: Machine> Kernel<M> {
    /// [`SetAside`](thread::SetAside) into a slot of a table that is there, with a node that is there too.
    #[inline(never)]
    pub(super) fn quick_set_aside(
        &mut self,
        server: ThreadIndex,
        own: Slot,
        tag: MessageTag,
    ) -> Option<()> {
        let caller = self.threads[server].caller.get()?;
        let (from, to) = self.threads.pair(server, caller)?;
        let mappings = &mut self.mappings;
        let [operation, index, ..] = mappings.machine.utcb(from.utcb).message;
        let is_plain = (operation, tag.words()) == (thread::SetAside::NUMBER, 2)
            && own.controlled_thread() == Some(server)
            && to.waits_for(server)
            && from.undertaking.is_none();
        let index = CapabilityIndex(index);
        if !is_plain || index == CapabilityIndex::NIL {
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
        Some(())
    }

    /// An answer without items to a call, which was set aside, by a server for which nobody waits.
    #[inline(never)]
    pub(super) fn quick_later_answer(
        &mut self,
        index: CapabilityIndex,
        tag: MessageTag,
    ) -> Option<()> {
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
            || !from.senders.is_empty()
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
        answer(from, to);
        to.context.set_result(tag, 0);
        self.current = caller.into();
        Some(())
    }
}
