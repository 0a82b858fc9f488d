//! Threads that wait for another one: in queues, each in at most one, and what becomes of them when that
//! one stops or forgets them.
//!
//! Whoever learns that may be one that others wait for in turn, in chains as long as there are threads.
//! So nobody is told at once: the bereaved stand in a list, and are told one after the other.

use crate::{
    mapping::{life::Mortal, stretch::BEREAVED_AT_ONCE},
    memory::{
        index::{GateIndex, MaybeGate, MaybeThread, ThreadIndex},
        machine::Machine,
    },
    threads::{
        kernel::{Kernel, STATUS_ROOT_STOPPED},
        queue::{Queue, ThreadList},
        thread::{AfterSend, ThreadChain},
    },
};
use protocol::{
    error::IpcError,
    introspection::{ThreadState, record::Unresolved},
};

impl<M: Machine> Kernel<M> {
    /// A thread begins to wait in a queue of its partner, at its end or, if it had its turn already, at
    /// its beginning. A gate is what it has named, unless that was the partner.
    pub(crate) fn enter_queue(
        &mut self,
        thread: ThreadIndex,
        queue: Queue,
        gate: MaybeGate,
        first: bool,
    ) {
        let Some(partner) = self.threads[thread].partner() else { return };
        self.threads[thread].queue = Some(queue);
        self.threads[thread].gate = gate;
        if let Some(gate) = gate.get() {
            self.gates[gate].waiting.push(&mut self.threads, ThreadChain::AtGate, thread);
        }
        let mut list = *self.threads[partner].queue_mut(queue);
        match first {
            true => list.push_front::<M>(&mut self.threads, thread),
            false => list.push_back::<M>(&mut self.threads, thread),
        }
        *self.threads[partner].queue_mut(queue) = list;
    }

    /// A thread waits in no queue any more.
    pub(crate) fn leave_queue(&mut self, thread: ThreadIndex) {
        let Some(queue) = self.threads[thread].queue.take() else { return };
        self.leave_gate(thread);
        let Some(partner) = self.threads[thread].partner() else { return };
        let mut list = *self.threads[partner].queue_mut(queue);
        list.remove::<M>(&mut self.threads, thread);
        *self.threads[partner].queue_mut(queue) = list;
    }

    /// A thread waits at no gate any more.
    fn leave_gate(&mut self, thread: ThreadIndex) {
        if let Some(gate) = self.threads[thread].gate.take() {
            self.gates[gate].waiting.remove(&mut self.threads, ThreadChain::AtGate, thread);
            let gone = &mut self.gates[gate];
            if gone.is_unheld_later && gone.waiting.first().is_none() {
                gone.is_unheld_later = false;
                self.mappings.look_for_holders(Mortal::Gate(gate));
            }
        }
    }

    /// A thread waits for nobody any more, in a queue or for an answer.
    pub(crate) fn leave_partner(&mut self, thread: ThreadIndex) {
        self.leave_queue(thread);
        self.end_reply(thread);
        if let Some(partner) = self.threads[thread].partner() {
            self.abandon_with(partner, thread);
            if self.threads[partner].caller == thread.into() {
                self.threads[partner].caller = MaybeThread::NOBODY;
            }
        }
    }

    /// The server will never answer a thread that waits for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose_reply(&mut self, waiting: ThreadIndex, server: ThreadIndex) {
        let thread = &self.threads[waiting];
        if thread.waits_for(server) && thread.queue.is_none() {
            let mut bereaved = self.bereaved;
            bereaved.push_back::<M>(&mut self.threads, waiting);
            self.bereaved = bereaved;
        }
    }

    /// Stops a thread for good: whoever waits for it learns that before the kernel is left.
    pub(crate) fn stop(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        self.leave_partner(thread);
        self.threads[thread].set_state(ThreadState::Stopped, MaybeThread::NOBODY);
        if let Some(caller) = self.threads[thread].caller.take() {
            self.lose_reply(caller, thread);
        }
        for queue in [Queue::Senders, Queue::Receivers] {
            let all = core::mem::replace(self.threads[thread].queue_mut(queue), ThreadList::EMPTY);
            let mut bereaved = self.bereaved;
            bereaved.append::<M>(&mut self.threads, all);
            self.bereaved = bereaved;
        }
        // Without sigma0 or the root task nobody could ever end the machine.
        if self.is_root(thread) {
            self.mappings.machine.shut_down(STATUS_ROOT_STOPPED);
        }
    }

    /// Tells all the bereaved, and those who are bereaved by that. Interrupts come in between.
    pub(crate) fn settle(&mut self) {
        let mut told = 0;
        while self.settle_one() {
            told += 1;
            if told % BEREAVED_AT_ONCE == 0 {
                self.mappings.stretch.open_window(&mut self.mappings.machine);
            }
        }
    }

    /// Tells the first of the bereaved. False if there is none.
    pub(crate) fn settle_one(&mut self) -> bool {
        let Some(thread) = self.bereaved.first() else { return false };
        let mut bereaved = self.bereaved;
        bereaved.remove::<M>(&mut self.threads, thread);
        self.bereaved = bereaved;
        let queue = self.threads[thread].queue.take();
        self.leave_gate(thread);
        self.tell_loss(thread, queue);
        true
    }

    /// The first of those that wait at a gate which leads nowhere any more waits no longer. False if there
    /// is none.
    pub(crate) fn turn_away(&mut self, gate: GateIndex) -> bool {
        let Some(thread) = self.gates[gate].waiting.first() else { return false };
        let queue = self.threads[thread].queue;
        self.leave_partner(thread);
        self.tell_loss(thread, queue);
        true
    }

    /// Tells a thread that whoever it waits for, or has waited for in a queue, will do no more for it.
    fn tell_loss(&mut self, thread: ThreadIndex, queue: Option<Queue>) {
        let waited = &self.threads[thread];
        let state = ThreadState::from_u32(waited.record.state);
        let then = waited.pending.then;
        match (state, queue) {
            (Some(ThreadState::Receiving), None) => self.wake(thread, IpcError::ReplyLost),
            (Some(ThreadState::Receiving), Some(_)) => self.wake(thread, IpcError::NoPartner),
            (Some(ThreadState::PageFault | ThreadState::PortFault), _) => {
                self.unresolved_later(thread, Unresolved::ReplyLost, IpcError::ReplyLost as u64);
            }
            (Some(ThreadState::Exception), _) => {
                self.stop_unhandled(thread, Unresolved::ReplyLost, IpcError::ReplyLost as u64);
            }
            (Some(ThreadState::Sending), _) => match then {
                AfterSend::Continue | AfterSend::AwaitReply => {
                    self.wake(thread, IpcError::NoPartner);
                }
                AfterSend::AwaitPager => {
                    let answer = IpcError::NoPartner as u64;
                    self.unresolved_later(thread, Unresolved::NoPager, answer);
                }
                AfterSend::AwaitHandler => {
                    let answer = IpcError::NoPartner as u64;
                    self.stop_unhandled(thread, Unresolved::NoPager, answer);
                }
            },
            _ => {}
        }
    }

    /// A waiting thread goes on with an error.
    pub(crate) fn wake(&mut self, thread: ThreadIndex, error: IpcError) {
        self.fail(thread, error);
        self.make_ready(thread);
    }

    /// Ends whatever a thread waits for and makes it ready.
    pub(crate) fn cancel(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        if self.threads[thread].is(ThreadState::Ready) {
            return;
        }
        self.leave_partner(thread);
        let cancelled = &self.threads[thread];
        let is_sender = cancelled.is(ThreadState::Sending)
            && matches!(cancelled.pending.then, AfterSend::Continue | AfterSend::AwaitReply);
        // One that waits with a fault is in no system call: its registers are its own.
        if is_sender || cancelled.is(ThreadState::Receiving) {
            self.fail(thread, IpcError::Cancelled);
        }
        self.make_ready(thread);
    }
}
