//! How objects end: those whose first capability is gone are taken apart, one after the other and each in
//! bounded pieces, in between which others may run and do anything.
//!
//! All of it is in tables: what an object still has says how far it has come. So whoever goes on with it,
//! and whatever has become of others meanwhile, does the next piece of the first one in the list. What it
//! held alone ends too, and comes to stand before it; what a system call ends comes to stand behind all others.

use crate::{
    mapping::{
        database,
        life::{Mortal, Turn},
        progress::Progress,
        stretch::Preempted,
        walk::Effect,
    },
    memory::{
        index::{
            FactoryIndex, GateIndex, MaybeThread, TableIndex, TaskIndex, ThreadIndex, WalkerIndex,
        },
        machine::Machine,
        node::MaybeNode,
    },
    threads::{
        gate::GateChain,
        kernel::{Kernel, STATUS_ROOT_STOPPED},
        thread::ThreadChain,
        undertaking::Operation,
    },
};
use protocol::introspection::{
    NOBODY, TaskRecord, ThreadRecord, ThreadState,
    record::{EndedObject, Ids, Kind, ObjectEnded},
};

/// Steps that it costs to tell somebody of a loss, at most.
const TELL_STEPS: u32 = 36;

/// Steps that a piece of the end of a gate or thread costs.
const PIECE_STEPS: u32 = 24;

/// Steps that it costs to come to what a task or factory still has. Not many: there must be enough left to
/// take some of that away.
const COME_STEPS: u32 = 4;

impl<M: Machine> Kernel<M> {
    /// Whether an object waits to be taken apart, or a thread to be told of one.
    #[inline(always)]
    pub(crate) fn is_due(&self) -> bool {
        !self.bereaved.is_empty() || self.mappings.lives.is_due()
    }

    /// Takes apart all that is to be, or all up to a turn. The thread that runs may be among it: nobody does
    /// then.
    #[cold]
    #[inline(never)]
    pub(crate) fn dismantle(&mut self, last: Option<Turn>) -> Result<(), Preempted> {
        let is_waited_for = last.is_some();
        // Usually nothing has ended since.
        let last = last.filter(|last| !self.mappings.lives.is_last(*last));
        loop {
            if !self.bereaved.is_empty() {
                self.mappings.spend(TELL_STEPS)?;
                self.settle_one();
                continue;
            }
            if last.is_some_and(|last| self.mappings.lives.is_behind(last)) {
                return Ok(());
            }
            // By turns, so that none of both keeps the other one waiting.
            if let Some(Mortal::Gate(gate)) = self.mappings.lives.first_unheld() {
                self.mappings.spend(PIECE_STEPS)?;
                self.note_unheld(gate);
            }
            let Some(object) = self.mappings.lives.first_dying() else {
                if !is_waited_for && self.mappings.lives.is_due() {
                    continue;
                }
                self.mappings.end_walk(WalkerIndex::KERNEL);
                return Ok(());
            };
            let steps = match object {
                Mortal::Task(_) | Mortal::Factory(_) => COME_STEPS,
                _ => PIECE_STEPS,
            };
            self.mappings.spend(steps)?;
            self.mappings.lives.inherit_cause(object);
            match object {
                Mortal::Gate(gate) => self.dismantle_gate(gate),
                Mortal::Thread(thread) => self.dismantle_thread(thread),
                Mortal::Task(task) => self.dismantle_task(task)?,
                Mortal::Factory(factory) => self.dismantle_factory(factory)?,
                // It is nothing but its capability.
                Mortal::Reply(caller) => self.lose_set_aside(caller),
                Mortal::Interrupt(interrupt) => self.dismantle_interrupt(interrupt),
            }
        }
    }

    /// The same at the end of an operation of a thread with all that has ended by that, and what others had
    /// ended before. The thread goes on with it when it was left.
    pub(crate) fn dismantle_for(
        &mut self,
        thread: ThreadIndex,
        operation: Operation,
        progress: &mut Progress,
    ) -> Result<(), Preempted> {
        progress.ends = progress.ends.max(self.mappings.lives.take_news());
        if progress.ends.is_none() {
            return Ok(());
        }
        let done = self.dismantle(progress.ends);
        if done.is_err() && self.current == thread.into() {
            self.interrupt(thread, operation, *progress);
        }
        done
    }

    /// The next piece of a gate's end: whoever waits at it learns that.
    fn dismantle_gate(&mut self, gate: GateIndex) {
        if let Some(thread) = self.gates[gate].receiver() {
            self.lead_nowhere(gate, thread);
        } else if !self.turn_away(gate) {
            self.end_gate(gate);
        }
    }

    /// A gate leads to its thread no more. What that was not told yet is for the one that it comes to lead to.
    pub(crate) fn lead_nowhere(&mut self, gate: GateIndex, thread: ThreadIndex) {
        self.gates[gate].is_unheld_later |= self.gates[gate].is_unheld;
        self.forget_news(thread, gate);
        self.threads[thread].gates.remove(&mut self.gates, GateChain::OfThread, gate);
        self.gates[gate].lead_nowhere();
    }

    /// The last piece of the end of a gate, which leads nowhere and at which nobody waits.
    pub(crate) fn end_gate(&mut self, gate: GateIndex) {
        if let Some(interrupt) = self.gates[gate].interrupt.get() {
            self.unbind_interrupt(interrupt);
        }
        let ended = EndedObject::Gate { label: self.gates[gate].label() as u64 };
        self.finish(Mortal::Gate(gate), self.gates.price(), Ids::NOBODY, ended);
        self.gates.remove(gate);
    }

    /// The next piece of a thread's end.
    fn dismantle_thread(&mut self, thread: ThreadIndex) {
        if !self.threads[thread].is(ThreadState::Stopped) {
            self.stop_for_good(thread);
        } else if let Some(gate) = self.threads[thread].gates.first() {
            self.lead_nowhere(gate, thread);
        } else {
            self.end_thread(thread);
        }
    }

    /// The last piece of the end of a thread, which is stopped and to which no gate leads.
    pub(crate) fn end_thread(&mut self, thread: ThreadIndex) {
        let ThreadRecord { task, factory, bookmark, name, .. } = *self.threads[thread].record;
        self.unbind(thread);
        if let Some(bookmark) = MaybeNode::from_raw(bookmark).get() {
            let factory = &mut self.mappings.factories[FactoryIndex::from_position(factory)];
            database::free_node(&mut self.mappings.machine, factory, bookmark);
        }
        let (who, ended) = (Ids::new(task, thread.position()), EndedObject::Thread { name });
        self.finish(Mortal::Thread(thread), self.threads.price(), who, ended);
        self.threads.remove(thread);
    }

    /// The next piece of a task's end.
    fn dismantle_task(&mut self, task: TaskIndex) -> Result<(), Preempted> {
        if matches!(task, TaskIndex::SIGMA0 | TaskIndex::ROOT) {
            self.end_machine(Mortal::Task(task));
        } else if let Some(thread) = self.mappings.tasks[task].threads.first() {
            self.mappings.spend(PIECE_STEPS)?;
            self.stop_for_good(thread);
            self.unbind(thread);
        } else {
            self.mappings.empty_task(WalkerIndex::KERNEL, task)?;
            let TaskRecord { name, image, .. } = self.mappings.tasks[task].record;
            let ended = EndedObject::Task { name, image: image.checked_sub(1) };
            let who = Ids::of_task(task.position());
            self.finish(Mortal::Task(task), self.mappings.tasks.price(), who, ended);
            self.mappings.tasks.remove(task);
        }
        Ok(())
    }

    /// The next piece of a factory's end: all that it has made ends before.
    fn dismantle_factory(&mut self, factory: FactoryIndex) -> Result<(), Preempted> {
        if self.mappings.factories[factory].record.parent == NOBODY {
            // All that there is was made from it.
            self.end_machine(Mortal::Factory(factory));
            return Ok(());
        }
        if let Some(object) = self.mappings.first_made(factory) {
            return match self.mappings.lives.of(object).root() {
                Some(root) => {
                    let mut progress = Progress::new(WalkerIndex::KERNEL);
                    self.mappings.unmap_tree(&mut progress, root, Effect::REMOVE, true)
                }
                None => {
                    // It may be among the dying already, by somebody else: its turn comes earlier now.
                    self.mappings.lives.put_before_dying(object);
                    Ok(())
                }
            };
        }
        self.mappings.give_back_nodes(factory)?;
        let price = self.mappings.factories[factory].record.limit + self.mappings.factories.price();
        self.finish(Mortal::Factory(factory), price, Ids::NOBODY, EndedObject::Factory);
        self.mappings.factories.remove(factory);
        Ok(())
    }

    /// Stops a thread, whatever it is in, if it is not stopped already.
    pub(crate) fn stop_for_good(&mut self, thread: ThreadIndex) {
        if self.threads[thread].is(ThreadState::Stopped) {
            return;
        }
        if self.current == thread.into() {
            self.current = MaybeThread::NOBODY;
        } else if self.threads[thread].is(ThreadState::Ready) {
            self.ready.remove(&mut self.threads, thread);
        }
        self.stop(thread);
    }

    /// A stopped thread runs in no task any more.
    fn unbind(&mut self, thread: ThreadIndex) {
        let Some(task) = self.threads[thread].bound_task() else { return };
        let owner = &mut self.mappings.tasks[task];
        owner.threads.remove(&mut self.threads, ThreadChain::InTask, thread);
        owner.give_up_utcb(self.threads[thread].utcb);
        self.mappings.machine.forget_registers(&self.threads[thread].context);
        self.threads[thread].leave_task(self.mappings.sigma0.kernel_info_page);
    }

    /// An object is in pieces: its price goes back to who has paid it. `ended` says what only it knew, and
    /// `who` is the task or thread that it was.
    pub(crate) fn finish(&mut self, object: Mortal, price: u64, who: Ids, ended: EndedObject) {
        if self.traces(Kind::ObjectEnded) {
            let (_, number) = object.kind();
            let (generation, by) = (self.generation(object), self.mappings.lives.cause_ids());
            let event = ObjectEnded { object: ended, number, generation, by };
            self.trace_of(self.mappings.machine.time(), who, event);
        }
        if let Some(factory) = self.mappings.end_life(object) {
            self.mappings.factories[factory].refund(price);
        }
    }

    fn generation(&self, object: Mortal) -> u32 {
        match object {
            Mortal::Gate(gate) => self.gates[gate].record.generation,
            Mortal::Factory(factory) => self.mappings.factories[factory].record.generation,
            Mortal::Reply(thread) | Mortal::Thread(thread) => {
                self.threads[thread].record.generation
            }
            Mortal::Task(task) => self.mappings.tasks[task].record.generation,
            Mortal::Interrupt(interrupt) => self.interrupts[interrupt].record.generation,
        }
    }

    /// What all others come from is not taken apart: the machine ends.
    fn end_machine(&mut self, object: Mortal) {
        self.mappings.lives.clear_due(object);
        self.mappings.machine.shut_down(STATUS_ROOT_STOPPED);
    }
}
