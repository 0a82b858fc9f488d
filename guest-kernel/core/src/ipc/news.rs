//! What a thread is to learn of its gates: that nobody holds one any more, or that its interrupt has come.
//! It waits until the thread does, in no memory but the gate.

use crate::{
    memory::{
        index::{GateIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        gate::GateChain,
        kernel::Kernel,
        next::{Next, SystemCall},
    },
};

impl<M: Machine> Kernel<M> {
    /// A thread is to learn of a gate, which says next why.
    pub(crate) fn put_among_news(&mut self, thread: ThreadIndex, gate: GateIndex) {
        if !self.gates[gate].is_news() {
            self.threads[thread].news.push(&mut self.gates, GateChain::News, gate);
        }
    }

    /// A thread has learned something of a gate. If that was all it is to learn of it no more.
    pub(crate) fn take_from_news(&mut self, thread: ThreadIndex, gate: GateIndex) {
        if !self.gates[gate].is_news() {
            self.threads[thread].news.remove(&mut self.gates, GateChain::News, gate);
        }
    }

    /// A thread is not to learn of a gate any more, if it was.
    pub(crate) fn forget_news(&mut self, thread: ThreadIndex, gate: GateIndex) {
        if self.gates[gate].is_news() {
            self.threads[thread].news.remove(&mut self.gates, GateChain::News, gate);
            let gate = &mut self.gates[gate];
            (gate.is_unheld, gate.is_interrupted) = (false, false);
        }
    }

    /// A thread that asks for the next message learns of a gate.
    #[cold]
    pub(crate) fn take_news(&mut self, call: SystemCall, gate: GateIndex) -> Next {
        match self.gates[gate].is_interrupted {
            true => self.take_interrupt(call),
            false => self.take_unheld(call, gate),
        }
    }
}
