//! The ready queue: one doubly linked list for each of 256 priorities, and a bitmap of those that
//! are not empty. All operations are O(1). The running thread is not in it.

use crate::{
    memory::index::{MaybeThread, Storage, Table, ThreadIndex},
    threads::thread::Thread,
};

const PRIORITIES: usize = 256;

/// Threads that could run.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct ReadyQueue {
    heads: [MaybeThread; PRIORITIES],
    tails: [MaybeThread; PRIORITIES],
    occupied: [u64; PRIORITIES / 64],
    /// Highest occupied priority; -1 if no thread is ready.
    highest: i32,
}

impl ReadyQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            heads: [MaybeThread::NOBODY; PRIORITIES],
            tails: [MaybeThread::NOBODY; PRIORITIES],
            occupied: [0; PRIORITIES / 64],
            highest: -1,
        }
    }

    /// Whether a thread of higher priority than `priority` is ready.
    #[inline]
    pub fn has_above(&self, priority: u8) -> bool {
        self.highest > i32::from(priority)
    }

    /// Whether a thread of at least `priority` is ready.
    #[inline]
    pub fn has_at_least(&self, priority: u8) -> bool {
        self.highest >= i32::from(priority)
    }

    /// Puts a thread behind all others of its priority.
    pub fn push_back<S: Storage<Object = Thread>>(
        &mut self,
        threads: &mut Table<ThreadIndex, S>,
        thread: ThreadIndex,
    ) {
        let priority = threads[thread].priority();
        let level = usize::from(priority);
        let tail = self.tails[level];
        threads[thread].ready_previous = tail;
        threads[thread].ready_next = MaybeThread::NOBODY;
        match tail.get() {
            Some(last) => threads[last].ready_next = thread.into(),
            None => self.heads[level] = thread.into(),
        }
        self.tails[level] = thread.into();
        self.mark_occupied(priority);
    }

    /// Puts a thread before all others of its priority.
    pub fn push_front<S: Storage<Object = Thread>>(
        &mut self,
        threads: &mut Table<ThreadIndex, S>,
        thread: ThreadIndex,
    ) {
        let priority = threads[thread].priority();
        let level = usize::from(priority);
        let head = self.heads[level];
        threads[thread].ready_next = head;
        threads[thread].ready_previous = MaybeThread::NOBODY;
        match head.get() {
            Some(first) => threads[first].ready_previous = thread.into(),
            None => self.tails[level] = thread.into(),
        }
        self.heads[level] = thread.into();
        self.mark_occupied(priority);
    }

    /// Takes the first thread of the highest priority.
    pub fn pop<S: Storage<Object = Thread>>(
        &mut self,
        threads: &mut Table<ThreadIndex, S>,
    ) -> Option<ThreadIndex> {
        let level = usize::try_from(self.highest).ok()?;
        let thread = self.heads[level].get()?;
        self.remove(threads, thread);
        Some(thread)
    }

    /// Takes a thread that is in the queue out of it.
    pub fn remove<S: Storage<Object = Thread>>(
        &mut self,
        threads: &mut Table<ThreadIndex, S>,
        thread: ThreadIndex,
    ) {
        let level = usize::from(threads[thread].priority());
        let next = threads[thread].ready_next.take();
        let previous = threads[thread].ready_previous.take();
        match previous {
            Some(previous) => threads[previous].ready_next = maybe(next),
            None => self.heads[level] = maybe(next),
        }
        match next {
            Some(next) => threads[next].ready_previous = maybe(previous),
            None => self.tails[level] = maybe(previous),
        }
        if self.heads[level] == MaybeThread::NOBODY {
            self.mark_empty(level);
        }
    }

    /// All threads in the queue.
    #[cfg(test)]
    pub fn members<S: Storage<Object = Thread>>(
        &self,
        threads: &Table<ThreadIndex, S>,
    ) -> Vec<ThreadIndex> {
        let mut members = Vec::new();
        for head in self.heads {
            let mut walk = head;
            while let Some(thread) = walk.get() {
                members.push(thread);
                walk = threads[thread].ready_next;
            }
        }
        members
    }

    fn mark_occupied(&mut self, priority: u8) {
        self.occupied[usize::from(priority / 64)] |= 1 << (priority % 64);
        self.highest = self.highest.max(priority.into());
    }

    fn mark_empty(&mut self, level: usize) {
        self.occupied[level / 64] &= !(1 << (level % 64));
        self.highest = self
            .occupied
            .iter()
            .enumerate()
            .rev()
            .find(|(_, bits)| **bits != 0)
            .map_or(-1, |(word, bits)| (word as u32 * 64 + bits.ilog2()) as i32);
    }
}

impl Default for ReadyQueue {
    fn default() -> Self {
        Self::new()
    }
}

fn maybe(thread: Option<ThreadIndex>) -> MaybeThread {
    thread.map_or(MaybeThread::NOBODY, MaybeThread::from)
}
