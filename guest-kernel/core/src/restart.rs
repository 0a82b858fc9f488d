//! Preemption points: after some steps a long map or unmap lets interrupts in. If the time slice is
//! over, its system call restarts.
//!
//! Then the thread goes back to user mode, to the very instruction that it came from. Others run;
//! later the instruction enters the kernel again, which goes on where it was. All that is kept in
//! between is the thread's [`Progress`] and, in the mapping database, its bookmark.

use crate::{
    database::{self, MaybeNode, NodeIndex},
    index::{TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    map::Outcome,
    stretch::Preempted,
    walk::{Tally, Walk},
};
use protocol::{Word, introspection::mapping::Place};

/// What can be left at a preemption point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The items of a message.
    Transfer {
        /// Whose items.
        sender: ThreadIndex,
        /// Who gets them.
        receiver: ThreadIndex,
    },
    /// An item that a task is given.
    Map {
        /// Who gets it.
        task: TaskIndex,
    },
    /// A list of flexpages.
    Unmap {
        /// In whose terms.
        task: TaskIndex,
    },
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which one.
    pub operation: Operation,
    /// Number of the item or flexpage.
    pub number: usize,
    /// Bytes of it that are done (ports and capabilities count as pages).
    pub done: Word,
    /// Whether one of the items before allows what had faulted.
    pub resolved: bool,
    /// What became of the item so far.
    pub outcome: Outcome,
    /// What was unmapped of the flexpage so far, or in favour of the item.
    pub tally: Tally,
    /// The walk over a tree that is under way.
    pub walk: Option<Walk>,
}

impl Progress {
    /// None at all.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            number: 0,
            done: 0,
            resolved: false,
            outcome: Outcome::NOTHING,
            tally: Tally::default(),
            walk: None,
        }
    }

    /// The next item or flexpage.
    pub fn next(&mut self) {
        let resolved = self.resolved;
        *self = Self { number: self.number + 1, resolved, ..Self::new(self.operation) };
    }
}

impl<M: Machine> Kernel<M> {
    /// Begins an operation of the current thread, or goes on with it.
    pub(crate) fn begin(&mut self, operation: Operation) -> Progress {
        self.stretch.begin(&mut self.machine);
        if let Some(current) = self.current.get()
            && self.threads[current].progress.is_some()
        {
            return self.resume(current, operation);
        }
        Progress::new(operation)
    }

    #[cold]
    fn resume(&mut self, current: ThreadIndex, operation: Operation) -> Progress {
        match self.threads[current].progress {
            Some(progress) if progress.operation == operation => {
                self.threads[current].progress = None;
                progress
            }
            _ => {
                self.abandon(current);
                Progress::new(operation)
            }
        }
    }

    /// Whether the current thread goes on with this operation.
    pub(crate) fn goes_on(&self, operation: Operation) -> bool {
        let progress = self.current.get().and_then(|current| self.threads[current].progress);
        progress.is_some_and(|progress| progress.operation == operation)
    }

    /// Takes some steps, if need be in the next stretch; or says that it is time for others.
    #[inline(always)]
    pub(crate) fn spend(&mut self, steps: u32) -> Result<(), Preempted> {
        self.stretch.need(&mut self.machine, steps)?;
        self.stretch.account(steps);
        Ok(())
    }

    /// Makes sure of some steps, if need be in the next stretch; or says that it is time for others.
    #[inline(always)]
    pub(crate) fn need(&mut self, steps: u32) -> Result<(), Preempted> {
        self.stretch.need(&mut self.machine, steps)
    }

    /// The operation is done.
    #[inline]
    pub(crate) fn end_stretch(&mut self) {
        self.stretch.end(&mut self.machine, false);
    }

    /// Leaves an operation of the current thread at a preemption point.
    #[cold]
    pub(crate) fn interrupt(&mut self, progress: Progress) -> Preempted {
        if let Some(current) = self.current.get() {
            self.threads[current].progress = Some(progress);
        }
        self.stretch.end(&mut self.machine, true);
        Preempted
    }

    /// What one thread has begun another one goes on with.
    #[cold]
    pub(crate) fn hand_over_progress(&mut self, from: ThreadIndex, to: ThreadIndex) {
        self.abandon(to);
        let Some(progress) = self.threads[from].progress.take() else { return };
        if progress.walk.is_some()
            && let Some(behind) = self.take_bookmark(from).0.get()
        {
            self.put_bookmark(to, behind);
        }
        self.threads[to].progress = Some(progress);
    }

    /// Forgets what a thread had begun: something else came between.
    pub(crate) fn abandon(&mut self, thread: ThreadIndex) {
        if let Some(progress) = self.threads[thread].progress.take()
            && progress.walk.is_some()
        {
            self.take_bookmark(thread);
        }
    }

    /// Forgets what `partner` had begun, if it was a message between it and `thread`.
    pub(crate) fn abandon_with(&mut self, partner: ThreadIndex, thread: ThreadIndex) {
        if let Some(Progress { operation: Operation::Transfer { sender, receiver }, .. }) =
            self.threads[partner].progress
            && (sender == thread || receiver == thread)
        {
            self.abandon(partner);
        }
    }

    /// The item or flexpage is done or given up. If a walk was under way that nothing went on with,
    /// because others had taken what it was for, its bookmark must not stay behind.
    #[inline]
    pub(crate) fn end_walk(&mut self, progress: &mut Progress) {
        if progress.walk.take().is_some()
            && let Some(current) = self.current.get()
        {
            self.take_bookmark(current);
        }
    }

    /// Puts the thread's bookmark behind a node.
    pub(crate) fn put_bookmark(&mut self, thread: ThreadIndex, behind: NodeIndex) {
        let bookmark = MaybeNode::from_raw(self.threads[thread].record.bookmark);
        if let Some(bookmark) = bookmark.get() {
            let number = thread.position();
            database::insert_bookmark(&mut self.machine, behind, bookmark, number);
            self.interrupted_walks += 1;
        }
    }

    /// Takes the thread's bookmark out of its list. Returns the nodes before and behind it.
    pub(crate) fn take_bookmark(&mut self, thread: ThreadIndex) -> (MaybeNode, MaybeNode) {
        let bookmark = MaybeNode::from_raw(self.threads[thread].record.bookmark);
        match bookmark.get() {
            Some(bookmark) => {
                self.interrupted_walks -= 1;
                database::remove_bookmark(&mut self.machine, bookmark)
            }
            None => (MaybeNode::NONE, MaybeNode::NONE),
        }
    }

    /// A mapping goes, or moves to another place or tree: interrupted walks that would come back to
    /// it must not take what is there then for it.
    #[inline(always)]
    pub(crate) fn forget_walks(&mut self, node: NodeIndex, place: Place) {
        if place.is_watched() && self.interrupted_walks != 0 {
            self.find_walks(node);
        }
    }

    #[cold]
    #[inline(never)]
    fn find_walks(&mut self, node: NodeIndex) {
        for number in 0..self.threads.used() {
            let thread = ThreadIndex::from_position(number);
            let Some(progress) = &mut self.threads[thread].progress else { continue };
            let Some(walk) = &mut progress.walk else { continue };
            if walk.is_of(node) {
                progress.walk = None;
                self.take_bookmark(thread);
            } else {
                walk.forget_top(node);
            }
        }
    }
}
