//! The quick paths of answers that come later: to set one aside, and to give it. The same holds for them as
//! for the others.

use crate::{
    entry::quick::answer,
    mapping::{capability::Slot, database},
    memory::{
        index::{MaybeThread, ThreadIndex},
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
        let [operation, index, ..] = self.utcb(server).message;
        let from = &self.threads[server];
        let caller = from.caller.get()?;
        let is_plain = (operation, tag.words()) == (thread::SetAside::NUMBER, 2)
            && own.controlled_thread() == Some(server)
            && self.threads[caller].waits_for(server)
            && from.undertaking.is_none();
        if !is_plain {
            return None;
        }
        let (task, index) = (self.task_of(server), CapabilityIndex(index));
        let spot = self.mappings.tasks[task].capabilities.spot(index)?;
        let is_free =
            index != CapabilityIndex::NIL && !spot.entry(&mut self.mappings.machine).is_present();
        if !is_free {
            return None;
        }
        let factory = self.mappings.tasks[task].factory;
        let factory = &mut self.mappings.factories[factory];
        let node = database::take_node(&mut self.mappings.machine, factory)?;
        self.mappings.begin_reply(task, index, (spot, node), caller);
        self.threads[caller].await_reply();
        let from = &mut self.threads[server];
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
        let task = self.task_of(server);
        let slot = self.mappings.tasks[task].capabilities.slot(&mut self.mappings.machine, index);
        let caller = slot.reply()?;
        let (from, to) = self.threads.pair(server, caller)?;
        let machine = &mut self.mappings.machine;
        if !to.is(ThreadState::Receiving)
            || !to.waits_for_reply()
            || to.answerer != MaybeThread::NOBODY
            || from.caller != MaybeThread::NOBODY
            || !from.senders.is_empty()
            || from.undertaking.is_some()
            || self.ready.has_above(to.priority())
            || machine.records(Kind::Message)
        {
            return None;
        }
        if tag.words() != 0 {
            machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        answer(from, to);
        to.context.set_result(tag, 0);
        self.mappings.end_reply(caller);
        self.current = caller.into();
        Some(())
    }
}
