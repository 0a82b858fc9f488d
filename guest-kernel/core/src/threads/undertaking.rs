//! Preemption points: after some steps a long map or unmap lets interrupts in. If the time slice is
//! over, its system call restarts.
//!
//! Then the thread goes back to user mode, to the very instruction that it came from. Others run;
//! later the instruction enters the kernel again, which goes on where it was, with what the thread keeps
//! of its undertaking. It may have changed its mind or its words: then it begins anew, but for the item that
//! it was in, which arrives as it was begun.

use crate::{
    mapping::{progress::Progress, stretch::Preempted},
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex, WalkerIndex},
        machine::Machine,
    },
    threads::kernel::Kernel,
};
use protocol::message::MessageTag;

/// What can be left at a preemption point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The items of a message.
    Transfer {
        /// Whose items.
        sender: ThreadIndex,
        /// Who gets them.
        receiver: ThreadIndex,
        /// Its tag.
        tag: MessageTag,
    },
    /// An item that a task is given.
    Map {
        /// Who gets it.
        task: TaskIndex,
        /// Which of those that have that number.
        generation: u32,
    },
    /// A list of flexpages.
    Unmap {
        /// In whose terms.
        task: TaskIndex,
        /// Which of those that have that number.
        generation: u32,
    },
}

/// What a thread was in when it was left at a preemption point.
#[derive(Clone, Copy, Debug)]
pub struct Undertaking {
    /// Which one.
    pub operation: Operation,
    /// How far it has come.
    pub progress: Progress,
}

/// A thread as it walks through the mapping database: before all of them comes the kernel itself.
#[inline(always)]
pub(crate) fn walker(thread: ThreadIndex) -> WalkerIndex {
    WalkerIndex::from_position(thread.position() + 1)
}

impl<M: Machine> Kernel<M> {
    /// Begins an operation of a thread, or goes on with it.
    pub(crate) fn begin(&mut self, thread: ThreadIndex, operation: Operation) -> Progress {
        self.mappings.stretch.begin(&mut self.mappings.machine);
        self.mappings.lives.set_cause(self.threads[thread].ids);
        if self.threads[thread].undertaking.is_some() {
            return self.resume(thread, operation);
        }
        Progress::new(walker(thread))
    }

    #[cold]
    fn resume(&mut self, thread: ThreadIndex, operation: Operation) -> Progress {
        match self.threads[thread].undertaking {
            Some(Undertaking { operation: begun, progress }) if begun == operation => {
                self.threads[thread].undertaking = None;
                progress
            }
            _ => {
                self.abandon(thread);
                Progress::new(walker(thread))
            }
        }
    }

    /// Whether a thread goes on with this operation.
    pub(crate) fn goes_on(&self, thread: ThreadIndex, operation: Operation) -> bool {
        let undertaking = self.threads[thread].undertaking;
        undertaking.is_some_and(|undertaking| undertaking.operation == operation)
    }

    /// Whether a thread has begun to take a message.
    pub(crate) fn is_receiving(&self, thread: ThreadIndex) -> bool {
        let undertaking = self.threads[thread].undertaking;
        undertaking.is_some_and(|undertaking| {
            matches!(undertaking.operation, Operation::Transfer { receiver, .. } if receiver == thread)
        })
    }

    /// Leaves an operation of a thread at a preemption point.
    #[cold]
    pub(crate) fn interrupt(
        &mut self,
        thread: ThreadIndex,
        operation: Operation,
        mut progress: Progress,
    ) -> Preempted {
        progress.ends = progress.ends.max(self.mappings.lives.take_news());
        self.threads[thread].undertaking = Some(Undertaking { operation, progress });
        self.mappings.stretch.end(&mut self.mappings.machine, true);
        Preempted
    }

    /// What one thread has begun another one goes on with.
    #[cold]
    pub(crate) fn hand_over_undertaking(&mut self, from: ThreadIndex, to: ThreadIndex) {
        self.abandon(to);
        let Some(mut undertaking) = self.threads[from].undertaking.take() else { return };
        self.mappings.hand_over_walk(walker(from), walker(to));
        undertaking.progress.walker = walker(to);
        self.threads[to].undertaking = Some(undertaking);
    }

    /// Forgets what a thread had begun: something else came between.
    pub(crate) fn abandon(&mut self, thread: ThreadIndex) {
        if let Some(undertaking) = self.threads[thread].undertaking.take() {
            self.trace_abandoned(thread, undertaking);
        }
        self.mappings.end_walk(walker(thread));
    }

    /// Forgets what `partner` had begun, if it was a message between it and `thread`.
    pub(crate) fn abandon_with(&mut self, partner: ThreadIndex, thread: ThreadIndex) {
        if let Some(Undertaking { operation: Operation::Transfer { sender, receiver, .. }, .. }) =
            self.threads[partner].undertaking
            && (sender == thread || receiver == thread)
        {
            self.abandon(partner);
        }
    }
}
