//! Interrupts as messages: whoever has bound one to a gate of its own is told that it has come.
//!
//! It is masked from then on until it is acknowledged, so that there is never more than one message of it. If
//! nobody waits for that, the interrupt is pending. Who asks for messages is told of its interrupts before it
//! gets those of others, but of no two in a row while somebody waits to send to it; and of each in turn.

use crate::{
    memory::{
        index::{GateIndex, InterruptIndex, MaybeGate, MaybeInterrupt, TableIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        gate::Gate,
        kernel::Kernel,
        next::{Next, SystemCall},
    },
};
use protocol::{
    introspection::{
        mapping::InterruptRecord,
        record::{self, Kind},
    },
    message::MessageTag,
    object::label,
    operation::interrupts::INTERRUPTS,
};

const TAG: MessageTag = MessageTag::new(label::INTERRUPT, 0, 0);

impl<M: Machine> Kernel<M> {
    /// An interrupt has come, and its controller masks it.
    pub(crate) fn note_interrupt(&mut self, index: InterruptIndex) {
        let interrupt = &mut self.interrupts[index];
        if !interrupt.exists() {
            return;
        }
        if !interrupt.take(InterruptRecord::OPEN) {
            interrupt.set(InterruptRecord::MISSED);
            return;
        }
        self.make_pending(index);
    }

    /// An interrupt is to be told to whom it is bound to: at once, if that waits for anybody.
    fn make_pending(&mut self, index: InterruptIndex) {
        let time = if self.traces(Kind::Interrupt) { self.mappings.machine.time() } else { 0 };
        let interrupt = &mut self.interrupts[index];
        interrupt.set(InterruptRecord::PENDING);
        interrupt.came = time;
        self.tell_or_wait(index);
    }

    fn tell_or_wait(&mut self, index: InterruptIndex) {
        let Some(gate) = self.interrupts[index].gate() else { return };
        let Some(thread) = self.gates[gate].receiver() else { return };
        if self.threads[thread].accepts_all() {
            self.tell_interrupt(thread, gate, index);
            self.make_ready(thread);
        } else {
            self.put_among_news(thread, gate);
            self.gates[gate].is_interrupted = true;
        }
    }

    /// Whether a thread is to get the message of somebody else before it is told of the interrupt of a gate.
    #[cold]
    pub(crate) fn comes_behind_senders(&mut self, thread: ThreadIndex, gate: GateIndex) -> bool {
        let thread = &mut self.threads[thread];
        let owes = core::mem::take(&mut thread.owes_sender);
        owes && self.gates[gate].is_interrupted && !thread.senders.is_empty()
    }

    /// A thread that asks for the next message is told of one of its interrupts.
    pub(crate) fn take_interrupt(&mut self, call: SystemCall) -> Next {
        let thread = call.caller;
        let Some((gate, index)) = self.next_interrupt(thread) else { return Next::Restart(call) };
        self.abandon(thread);
        self.gates[gate].is_interrupted = false;
        self.take_from_news(thread, gate);
        self.threads[thread].owes_sender = true;
        self.tell_interrupt(thread, gate, index);
        Next::Current
    }

    /// The first one that a thread is to be told of, behind the one that it was told of last.
    fn next_interrupt(&self, thread: ThreadIndex) -> Option<(GateIndex, InterruptIndex)> {
        let last = self.threads[thread].last_interrupt.get().map_or(0, TableIndex::position);
        (1..=INTERRUPTS).find_map(|step| {
            let index = InterruptIndex::from_position((last + step) % INTERRUPTS);
            let gate = self.interrupts[index].gate()?;
            let Gate { is_interrupted, .. } = self.gates[gate];
            let is_due = is_interrupted && self.gates[gate].receiver() == Some(thread);
            is_due.then_some((gate, index))
        })
    }

    fn tell_interrupt(&mut self, thread: ThreadIndex, gate: GateIndex, index: InterruptIndex) {
        let label = self.gates[gate].label();
        self.threads[thread].last_interrupt = index.into();
        self.threads[thread].context.set_result(TAG, label);
        let interrupt = &mut self.interrupts[index];
        interrupt.take(InterruptRecord::PENDING);
        interrupt.record.told = interrupt.record.told.wrapping_add(1);
        if self.traces(Kind::Interrupt) {
            let interrupt = &self.interrupts[index];
            let event = record::Interrupt {
                number: index.position(),
                gate_label: label as u64,
                came: interrupt.came,
                told: interrupt.record.told,
            };
            self.trace(self.mappings.machine.time(), thread, event);
        }
    }

    /// An interrupt is bound to a gate, instead of whatever it was bound to. If it is pending, that is told of
    /// it.
    pub(crate) fn bind_interrupt(&mut self, index: InterruptIndex, gate: GateIndex) {
        self.unbind_interrupt(index);
        self.interrupts[index].set_gate(gate.into());
        self.gates[gate].interrupt = index.into();
        self.tell_if_pending(index);
    }

    /// An interrupt is bound to another gate, or its gate leads elsewhere: if it is pending, that is told of it.
    pub(crate) fn tell_if_pending(&mut self, index: InterruptIndex) {
        if self.interrupts[index].is(InterruptRecord::PENDING) {
            self.tell_or_wait(index);
        }
    }

    /// An interrupt is bound to nothing any more.
    pub(crate) fn unbind_interrupt(&mut self, index: InterruptIndex) {
        let Some(gate) = self.interrupts[index].gate() else { return };
        self.interrupts[index].set_gate(MaybeGate::NOBODY);
        self.gates[gate].interrupt = MaybeInterrupt::NOBODY;
        if core::mem::take(&mut self.gates[gate].is_interrupted)
            && let Some(thread) = self.gates[gate].receiver()
        {
            self.take_from_news(thread, gate);
        }
    }

    /// An interrupt must not come.
    pub(crate) fn mask_interrupt(&mut self, index: InterruptIndex) {
        self.interrupts[index].take(InterruptRecord::OPEN);
        self.mappings.machine.mask(index);
    }

    /// An interrupt may come, or come again. If it has done so already it is told at once.
    pub(crate) fn unmask_interrupt(&mut self, index: InterruptIndex) {
        if self.interrupts[index].take(InterruptRecord::MISSED) {
            self.make_pending(index);
        } else {
            self.interrupts[index].set(InterruptRecord::OPEN);
            self.mappings.machine.unmask(index);
        }
    }
}
