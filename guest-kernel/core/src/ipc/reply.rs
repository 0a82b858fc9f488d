//! Answers that may come later: what a thread owes becomes a capability, and the thread can serve the next.
//!
//! There is one capability to each answer that was set aside, always: it is granted but never mapped. Whoever
//! waits for it waits for no thread. Its object is that waiting, and ends with it, in whatever way.

use crate::{
    ipc::transfer::Transfer,
    mapping::stretch::Preempted,
    memory::{
        index::{MaybeThread, ThreadIndex},
        machine::Machine,
    },
    threads::{
        kernel::Kernel,
        next::{Next, SystemCall},
    },
};
use protocol::{error::IpcError, message::MessageTag};

impl<M: Machine> Kernel<M> {
    /// [`Operation::SET_ASIDE`](protocol::syscall::Operation::SET_ASIDE).
    pub(crate) fn set_aside(&mut self, call: SystemCall) -> Next {
        let (server, slot) = (call.caller, call.capability());
        let caller = self.threads[server].caller.get();
        let waits = |caller: &ThreadIndex| self.threads[*caller].waits_for(server);
        let Some(caller) = caller.filter(waits) else {
            return self.refuse(call, IpcError::NoPartner);
        };
        let task = self.task_of(server);
        if !self.mappings.tasks[task].capabilities.is_free(&mut self.mappings.machine, slot) {
            return self.refuse(call, IpcError::InvalidArgument);
        }
        if self.mappings.give_reply(task, slot, caller).is_err() {
            return self.refuse(call, IpcError::MapFailed);
        }
        // An answer that was begun is another one.
        self.abandon(server);
        self.threads[caller].await_reply();
        let thread = &mut self.threads[server];
        thread.caller = MaybeThread::NOBODY;
        thread.context.set_result(MessageTag::default(), 0);
        Next::Current
    }

    /// Answers a thread that waits for what was set aside. Returns it, ready but not queued, if it goes on
    /// now.
    pub(crate) fn answer_later(
        &mut self,
        call: SystemCall,
        caller: ThreadIndex,
    ) -> Result<Option<ThreadIndex>, Preempted> {
        if !self.threads[caller].waits_for_reply() {
            return Ok(None);
        }
        if self.threads[caller].answerer != call.caller.into() {
            self.forget_answerer(caller);
        }
        let answered = self.answer(Transfer::of_sender(call.caller, caller), call.tag);
        match answered {
            Ok(_) => self.end_reply(caller),
            Err(Preempted) => self.threads[caller].answerer = call.caller.into(),
        }
        answered
    }

    /// A thread does not wait for what was set aside any more: the capability to that is gone.
    pub(crate) fn end_reply(&mut self, caller: ThreadIndex) {
        self.forget_answerer(caller);
        self.mappings.end_reply(caller);
    }

    /// Whoever was interrupted in the answer to a thread begins anew: it is another answer, or somebody
    /// else's.
    fn forget_answerer(&mut self, caller: ThreadIndex) {
        if let Some(answerer) = self.threads[caller].answerer.take() {
            self.abandon_with(answerer, caller);
        }
    }

    /// Nobody can answer a thread any more: what was set aside for it is gone.
    pub(crate) fn lose_set_aside(&mut self, caller: ThreadIndex) {
        self.end_reply(caller);
        if self.threads[caller].waits_for_reply() {
            self.bereave(caller);
        }
    }
}
