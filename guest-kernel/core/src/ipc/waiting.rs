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
        state::{Place, Question, State},
        thread::ThreadChain,
    },
};
use protocol::{
    error::{IpcError, IpcFailure},
    introspection::{ThreadState, record::Unresolved},
};

impl<M: Machine> Kernel<M> {
    /// A thread begins to wait, if that is in a queue at its end or, if it had its turn already, at its
    /// beginning.
    pub(crate) fn begin_to_wait(&mut self, thread: ThreadIndex, state: State, first: bool) {
        self.threads[thread].enter(state);
        let Some(Place { of, queue, gate }) = state.place() else { return };
        if let Some(gate) = gate.get() {
            self.gates[gate].waiting.push(&mut self.threads, ThreadChain::AtGate, thread);
        }
        let mut list = *self.threads[of].queue_mut(queue);
        match first {
            true => list.push_front::<M>(&mut self.threads, thread),
            false => list.push_back::<M>(&mut self.threads, thread),
        }
        *self.threads[of].queue_mut(queue) = list;
    }

    /// A thread waits in no queue any more. If it did it is ready.
    pub(crate) fn leave_queue(&mut self, thread: ThreadIndex) {
        if let Some(place) = self.threads[thread].state().place() {
            self.leave_place(thread, place);
        }
    }

    fn leave_place(&mut self, thread: ThreadIndex, Place { of, queue, gate }: Place) {
        let mut list = *self.threads[of].queue_mut(queue);
        list.remove::<M>(&mut self.threads, thread);
        *self.threads[of].queue_mut(queue) = list;
        self.leave_gate(thread, gate);
    }

    /// A thread that is in a queue no more waits at no gate any more either, and is ready.
    fn leave_gate(&mut self, thread: ThreadIndex, gate: MaybeGate) {
        self.threads[thread].leave();
        if let Some(gate) = gate.get() {
            self.gates[gate].waiting.remove(&mut self.threads, ThreadChain::AtGate, thread);
            let gone = &mut self.gates[gate];
            if gone.is_unheld_later && gone.waiting.first().is_none() {
                gone.is_unheld_later = false;
                self.mappings.look_for_holders(Mortal::Gate(gate));
            }
        }
    }

    /// A thread waits for nobody any more, in a queue or for an answer. Returns what it did.
    pub(crate) fn leave_partner(&mut self, thread: ThreadIndex) -> State {
        let state = self.threads[thread].state();
        match state {
            State::Awaiting { of: None, .. } => self.end_reply(thread),
            State::Awaiting { of: Some(server), .. } => {
                self.abandon_with(server, thread);
                if self.threads[server].caller == thread.into() {
                    self.threads[server].caller = MaybeThread::NOBODY;
                }
            }
            _ => {
                if let Some(place) = state.place() {
                    self.leave_place(thread, place);
                    self.abandon_with(place.of, thread);
                }
            }
        }
        state
    }

    /// The server will never answer a thread that waits for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose_reply(&mut self, waiting: ThreadIndex, server: ThreadIndex) {
        if let State::Awaiting { of, .. } = self.threads[waiting].state()
            && of == Some(server)
        {
            self.bereave(waiting);
        }
    }

    /// A thread that waits in no queue will be told that it waits in vain.
    pub(crate) fn bereave(&mut self, waiting: ThreadIndex) {
        let mut bereaved = self.bereaved;
        bereaved.push_back::<M>(&mut self.threads, waiting);
        self.bereaved = bereaved;
    }

    /// Stops a thread for good: whoever waits for it learns that before the kernel is left.
    pub(crate) fn stop(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        self.leave_partner(thread);
        self.threads[thread].enter(State::Stopped);
        if let Some(caller) = self.threads[thread].caller.take() {
            self.lose_reply(caller, thread);
        }
        for queue in [Queue::Senders, Queue::Receivers] {
            if self.threads[thread].queue_mut(queue).is_empty() {
                continue;
            }
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
        let state = self.threads[thread].state();
        if let Some(place) = state.place() {
            self.leave_gate(thread, place.gate);
        }
        self.tell_loss(thread, state);
        true
    }

    /// The first of those that wait at a gate which leads nowhere any more waits no longer. False if there
    /// is none.
    pub(crate) fn turn_away(&mut self, gate: GateIndex) -> bool {
        let Some(thread) = self.gates[gate].waiting.first() else { return false };
        let state = self.leave_partner(thread);
        self.tell_loss(thread, state);
        true
    }

    /// Tells a thread that whoever it waits for, or has waited for in a queue, will do no more for it.
    fn tell_loss(&mut self, thread: ThreadIndex, state: State) {
        let (error, reason) = match state {
            State::Awaiting { .. } => (IpcError::ReplyLost, Unresolved::ReplyLost),
            _ => (IpcError::NoPartner, Unresolved::NoPager),
        };
        match state.waits_with() {
            Some(Question::Call) => self.wake(thread, error),
            Some(Question::PageFault | Question::PortFault) => {
                self.unresolved_later(thread, reason, error as u64);
            }
            Some(Question::Exception) => self.stop_unhandled(thread, reason, error as u64),
            None => {}
        }
    }

    /// A waiting thread goes on with an error.
    pub(crate) fn wake(&mut self, thread: ThreadIndex, failure: impl Into<IpcFailure>) {
        self.fail(thread, failure);
        self.make_ready(thread);
    }

    /// Ends whatever a thread waits for and makes it ready.
    pub(crate) fn cancel(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        if self.threads[thread].is(ThreadState::Ready) {
            return;
        }
        // One that waits with a fault is in no system call: its registers are its own.
        if self.leave_partner(thread).waits_with() == Some(Question::Call) {
            self.fail(thread, IpcError::Cancelled);
        }
        self.make_ready(thread);
    }
}
