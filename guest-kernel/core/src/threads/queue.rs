//! Queues of threads that wait for one and the same thread.

use crate::{
    memory::{
        index::{MaybeThread, ThreadIndex},
        machine::Memory,
    },
    threads::thread::Threads,
};

/// In which queue of its partner a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// To send to it.
    Senders,
    /// For a message from it and nobody else.
    Receivers,
}

/// Threads in a row, linked both ways.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ThreadList {
    first: MaybeThread,
    last: MaybeThread,
}

impl ThreadList {
    /// Nobody.
    pub const EMPTY: Self = Self { first: MaybeThread::NOBODY, last: MaybeThread::NOBODY };

    /// Whether nobody is in it.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.first == MaybeThread::NOBODY
    }

    /// The number of the first one, or nobody's.
    #[inline(always)]
    pub fn first_raw(&self) -> u16 {
        self.first.raw()
    }

    /// The first one.
    #[inline(always)]
    pub fn first(&self) -> Option<ThreadIndex> {
        self.first.get()
    }

    /// Puts one at the end who is in no list.
    pub fn push_back<M: Memory>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
        let link = &mut threads[thread];
        (link.previous_waiting, link.next_waiting) = (self.last, MaybeThread::NOBODY);
        match self.last.get() {
            Some(last) => threads[last].next_waiting = thread.into(),
            None => self.first = thread.into(),
        }
        self.last = thread.into();
    }

    /// Puts one at the beginning who is in no list.
    pub fn push_front<M: Memory>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
        let link = &mut threads[thread];
        (link.previous_waiting, link.next_waiting) = (MaybeThread::NOBODY, self.first);
        match self.first.get() {
            Some(first) => threads[first].previous_waiting = thread.into(),
            None => self.last = thread.into(),
        }
        self.first = thread.into();
    }

    /// Takes one out that is in the list.
    pub fn remove<M: Memory>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
        let link = &mut threads[thread];
        let (previous, next) = (link.previous_waiting, link.next_waiting);
        (link.previous_waiting, link.next_waiting) = (MaybeThread::NOBODY, MaybeThread::NOBODY);
        match previous.get() {
            Some(previous) => threads[previous].next_waiting = next,
            None => self.first = next,
        }
        match next.get() {
            Some(next) => threads[next].previous_waiting = previous,
            None => self.last = previous,
        }
    }

    /// Takes all of another list, behind its own.
    pub fn append<M: Memory>(&mut self, threads: &mut Threads<M>, other: Self) {
        let Some(first) = other.first.get() else { return };
        threads[first].previous_waiting = self.last;
        match self.last.get() {
            Some(last) => threads[last].next_waiting = first.into(),
            None => self.first = first.into(),
        }
        self.last = other.last;
    }
}
