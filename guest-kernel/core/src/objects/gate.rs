//! Gates that come to lead elsewhere.

use crate::{
    mapping::{capability::Object, life::Mortal, stretch::BEREAVED_AT_ONCE},
    memory::{
        index::{GateIndex, ThreadIndex},
        machine::Machine,
    },
    objects::invocation::{Answer, Reply, require},
    threads::{
        gate::GateChain,
        kernel::Kernel,
        next::{Next, SystemCall},
        queue::ThreadList,
        state::{PendingMessage, State},
        thread::ThreadChain,
    },
};
use protocol::{
    error::ObjectError, flexpage::Rights, introspection::ThreadState, operation::thread::TakeGate,
};

impl<M: Machine> Kernel<M> {
    /// A gate leads to `thread`, which is in a task, from now on. Interrupts come in while those are seen to who wait there.
    pub(crate) fn take_gate(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        request: TakeGate,
    ) -> Answer {
        let capability = self.capability(caller, request.gate)?;
        let Object::Gate(gate) = capability.object else {
            return Err(ObjectError::InvalidArgument.into());
        };
        require(capability.rights, Rights::EXECUTE)?;
        self.gates[gate].record.label = request.label as u64;
        self.lead_to(gate, thread);
        let senders = self.take_waiting(gate, thread);
        self.queue_again(gate, thread, senders);
        Ok(Reply { words: 0, next: Next::Best })
    }

    fn lead_to(&mut self, gate: GateIndex, thread: ThreadIndex) {
        if self.gates[gate].is_unheld || self.gates[gate].is_unheld_later {
            self.mappings.look_for_holders(Mortal::Gate(gate));
        }
        if let Some(old) = self.gates[gate].receiver() {
            self.forget_news(old, gate);
            self.threads[old].gates.remove(&mut self.gates, GateChain::OfThread, gate);
        }
        self.gates[gate].lead_to(thread);
        self.threads[thread].gates.push(&mut self.gates, GateChain::OfThread, gate);
        if let Some(interrupt) = self.gates[gate].interrupt.get() {
            self.tell_if_pending(interrupt);
        }
    }

    /// Those who wait at a gate wait for whoever it led to no longer. Returns those who wait to send, in the order
    /// in which they came; all others are told that they wait in vain.
    fn take_waiting(&mut self, gate: GateIndex, thread: ThreadIndex) -> ThreadList {
        let label = self.gates[gate].label();
        let mut senders = ThreadList::EMPTY;
        let mut seen = 0;
        // Who came last is the first one.
        while let Some(waiting) = self.gates[gate].waiting.first() {
            match self.threads[waiting].state() {
                State::Sending { message, .. } if waiting != thread => {
                    let deadline = self.deadline_of(waiting);
                    self.leave_partner(waiting);
                    if self.threads[thread].accepts(waiting) {
                        self.ask_again(thread);
                    }
                    let message = PendingMessage { label, ..message };
                    self.threads[waiting].enter(State::Sending { to: thread, message });
                    self.wait_until(waiting, deadline);
                    senders.push_front::<M>(&mut self.threads, waiting);
                }
                _ => {
                    self.turn_away(gate);
                }
            }
            self.let_interrupts_in(&mut seen);
        }
        senders
    }

    /// Those who wait at a gate wait for the thread from now on that it leads to.
    fn queue_again(&mut self, gate: GateIndex, thread: ThreadIndex, senders: ThreadList) {
        let (mut next, mut seen) = (senders.first(), 0);
        while let Some(sender) = next {
            self.gates[gate].waiting.push(&mut self.threads, ThreadChain::AtGate, sender);
            next = self.threads[sender].next_waiting.get();
            self.let_interrupts_in(&mut seen);
        }
        if self.threads[thread].is(ThreadState::Stopped) {
            let mut bereaved = self.bereaved;
            bereaved.append::<M>(&mut self.threads, senders);
            self.bereaved = bereaved;
        } else {
            let mut queue = self.threads[thread].senders;
            queue.append::<M>(&mut self.threads, senders);
            self.threads[thread].senders = queue;
        }
    }

    /// There is a message for a thread that waits: it asks for it once it runs. If it waits for somebody in
    /// particular, only the thread itself knows how it has named whom.
    fn ask_again(&mut self, thread: ThreadIndex) {
        if !self.threads[thread].accepts_all() {
            return self.cancel(thread);
        }
        let SystemCall { target, tag, timeouts, .. } = self.leave_open_wait(thread);
        self.threads[thread].context.restart_system_call(target, tag.0, timeouts.0);
        self.make_ready(thread);
    }

    fn let_interrupts_in(&mut self, seen: &mut u32) {
        *seen += 1;
        if seen.is_multiple_of(BEREAVED_AT_ONCE) {
            self.mappings.stretch.open_window(&mut self.mappings.machine);
        }
    }
}
