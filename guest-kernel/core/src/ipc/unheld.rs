//! Gates that nobody holds any more: their threads are told so, and can drop what they keep for whom
//! the gate was for.
//!
//! Nobody holds a gate when the last capability is gone that was derived from its first one. The message
//! waits until the thread does, in no memory but the gate, and comes before those of others. It never
//! comes if somebody holds the gate again by then.

use crate::{
    mapping::life::Mortal,
    memory::{
        index::{GateIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        kernel::Kernel,
        next::{Next, SystemCall},
    },
};
use protocol::{
    introspection::record::{Ids, Kind, Message},
    message::MessageTag,
    object::label,
};

const TAG: MessageTag = MessageTag::new(label::GATE_UNHELD, 0, 0);

impl<M: Machine> Kernel<M> {
    /// The last capability to a gate is gone that was derived from its first one: tells its thread, at
    /// once if that waits for anybody.
    pub(crate) fn note_unheld(&mut self, gate: GateIndex) {
        self.mappings.lives.clear_due(Mortal::Gate(gate));
        let Some(thread) = self.gates[gate].receiver() else {
            self.gates[gate].is_unheld_later = true;
            return;
        };
        if self.gates[gate].is_unheld || self.is_held(gate) {
            return;
        }
        if self.threads[thread].accepts_all() {
            self.tell_unheld(thread, gate);
            self.make_ready(thread);
        } else {
            self.put_among_news(thread, gate);
            self.gates[gate].is_unheld = true;
        }
    }

    /// A thread that asks for the next message learns that nobody holds a gate any more, if that is still
    /// so.
    #[cold]
    pub(crate) fn take_unheld(&mut self, call: SystemCall, gate: GateIndex) -> Next {
        let thread = call.caller;
        self.gates[gate].is_unheld = false;
        self.take_from_news(thread, gate);
        if self.is_held(gate) {
            return Next::Restart(call);
        }
        self.abandon(thread);
        self.tell_unheld(thread, gate);
        Next::Current
    }

    /// Whether anybody holds a gate; or waits at it who has held it: then its thread learns later that it is
    /// nobody, since there is a message yet with its label.
    fn is_held(&mut self, gate: GateIndex) -> bool {
        if self.mappings.is_held(gate) {
            return true;
        }
        let is_waited_at = self.gates[gate].waiting.first().is_some();
        self.gates[gate].is_unheld_later = is_waited_at;
        is_waited_at
    }

    fn tell_unheld(&mut self, thread: ThreadIndex, gate: GateIndex) {
        let label = self.gates[gate].label();
        self.threads[thread].context.set_result(TAG, label);
        if self.traces(Kind::Message) {
            let receiver = self.ids_of(Some(thread));
            let (tag, gate_label) = (TAG, label as u64);
            let event = Message { receiver, tag, gate_label, words: [0; 2] };
            self.trace_of(self.mappings.machine.time(), Ids::NOBODY, event);
        }
    }
}
