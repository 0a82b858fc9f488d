//! Threads that wait for another one: in queues, each in at most one, and what becomes of them when that
//! one stops or forgets them.
//!
//! Whoever learns that may be one that others wait for in turn, in chains as long as there are threads.
//! So nobody is told at once: the bereaved stand in a list, and are told one after the other.

use crate::{
    index::{MaybeThread, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    stretch::BEREAVED_AT_ONCE,
    thread::{AfterSend, Threads},
};
use protocol::{
    error::IpcError,
    introspection::{ThreadState, record::Unresolved},
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

    /// The first one.
    #[inline(always)]
    pub fn first(&self) -> Option<ThreadIndex> {
        self.first.get()
    }

    fn push_back<M: Machine>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
        let link = &mut threads[thread];
        (link.previous_waiting, link.next_waiting) = (self.last, MaybeThread::NOBODY);
        match self.last.get() {
            Some(last) => threads[last].next_waiting = thread.into(),
            None => self.first = thread.into(),
        }
        self.last = thread.into();
    }

    fn push_front<M: Machine>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
        let link = &mut threads[thread];
        (link.previous_waiting, link.next_waiting) = (MaybeThread::NOBODY, self.first);
        match self.first.get() {
            Some(first) => threads[first].previous_waiting = thread.into(),
            None => self.last = thread.into(),
        }
        self.first = thread.into();
    }

    /// Takes one out that is in the list.
    fn remove<M: Machine>(&mut self, threads: &mut Threads<M>, thread: ThreadIndex) {
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
    fn append<M: Machine>(&mut self, threads: &mut Threads<M>, other: Self) {
        let Some(first) = other.first.get() else { return };
        threads[first].previous_waiting = self.last;
        match self.last.get() {
            Some(last) => threads[last].next_waiting = first.into(),
            None => self.first = first.into(),
        }
        self.last = other.last;
    }
}

impl<M: Machine> Kernel<M> {
    /// A thread begins to wait in a queue of its partner, at its end or, if it had its turn already, at
    /// its beginning.
    pub(crate) fn enter_queue(&mut self, thread: ThreadIndex, queue: Queue, first: bool) {
        let Some(partner) = self.threads[thread].partner() else { return };
        self.threads[thread].queue = Some(queue);
        let mut list = *self.threads[partner].queue_mut(queue);
        match first {
            true => list.push_front::<M>(&mut self.threads, thread),
            false => list.push_back::<M>(&mut self.threads, thread),
        }
        *self.threads[partner].queue_mut(queue) = list;
    }

    /// A thread waits in no queue any more.
    pub(crate) fn leave_queue(&mut self, thread: ThreadIndex) {
        let Some(queue) = self.threads[thread].queue.take() else { return };
        let Some(partner) = self.threads[thread].partner() else { return };
        let mut list = *self.threads[partner].queue_mut(queue);
        list.remove::<M>(&mut self.threads, thread);
        *self.threads[partner].queue_mut(queue) = list;
    }

    /// A thread waits for nobody any more, in a queue or for an answer.
    pub(crate) fn leave_partner(&mut self, thread: ThreadIndex) {
        self.leave_queue(thread);
        if let Some(partner) = self.threads[thread].partner() {
            self.abandon_with(partner, thread);
            if self.threads[partner].caller == thread.into() {
                self.threads[partner].caller = MaybeThread::NOBODY;
            }
        }
    }

    /// The server will never answer a thread that waits for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose_reply(&mut self, waiting: ThreadIndex, server: ThreadIndex) {
        let thread = &self.threads[waiting];
        if thread.waits_for(server) && thread.queue.is_none() {
            let mut bereaved = self.bereaved;
            bereaved.push_back::<M>(&mut self.threads, waiting);
            self.bereaved = bereaved;
        }
    }

    /// Stops a thread for good: whoever waits for it learns that before the kernel is left.
    pub(crate) fn stop(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        self.leave_partner(thread);
        self.threads[thread].set_state(ThreadState::Stopped, MaybeThread::NOBODY);
        if let Some(caller) = self.threads[thread].caller.take() {
            self.lose_reply(caller, thread);
        }
        for queue in [Queue::Senders, Queue::Receivers] {
            let all = core::mem::replace(self.threads[thread].queue_mut(queue), ThreadList::EMPTY);
            let mut bereaved = self.bereaved;
            bereaved.append::<M>(&mut self.threads, all);
            self.bereaved = bereaved;
        }
        // Without sigma0 or the root task nobody could ever end the machine.
        if self.is_root(thread) {
            self.machine.shut_down(crate::start::STATUS_ROOT_STOPPED);
        }
    }

    /// Tells all the bereaved, and those who are bereaved by that. Interrupts come in between.
    pub(crate) fn settle(&mut self) {
        let mut told = 0;
        while let Some(thread) = self.bereaved.first() {
            let mut bereaved = self.bereaved;
            bereaved.remove::<M>(&mut self.threads, thread);
            self.bereaved = bereaved;
            self.tell_loss(thread);
            told += 1;
            if told % BEREAVED_AT_ONCE == 0 {
                self.stretch.open_window(&mut self.machine);
            }
        }
    }

    /// Tells a thread that whoever it waits for will do no more for it.
    fn tell_loss(&mut self, thread: ThreadIndex) {
        let waited = &mut self.threads[thread];
        let queue = waited.queue.take();
        let state = ThreadState::from_u32(waited.record.state);
        let then = waited.pending.then;
        match (state, queue) {
            (Some(ThreadState::Receiving), None) => self.wake(thread, IpcError::ReplyLost),
            (Some(ThreadState::Receiving), Some(_)) => self.wake(thread, IpcError::NoPartner),
            (Some(ThreadState::PageFault | ThreadState::PortFault), _) => {
                self.unresolved_later(thread, Unresolved::ReplyLost, IpcError::ReplyLost as u64);
            }
            (Some(ThreadState::Exception), _) => {
                self.stop_unhandled(thread, Unresolved::ReplyLost, IpcError::ReplyLost as u64);
            }
            (Some(ThreadState::Sending), _) => match then {
                AfterSend::Continue | AfterSend::AwaitReply => {
                    self.wake(thread, IpcError::NoPartner);
                }
                AfterSend::AwaitPager => {
                    let answer = IpcError::NoPartner as u64;
                    self.unresolved_later(thread, Unresolved::NoPager, answer);
                }
                AfterSend::AwaitHandler => {
                    let answer = IpcError::NoPartner as u64;
                    self.stop_unhandled(thread, Unresolved::NoPager, answer);
                }
            },
            _ => {}
        }
    }

    /// A waiting thread goes on with an error.
    pub(crate) fn wake(&mut self, thread: ThreadIndex, error: IpcError) {
        self.fail(thread, error);
        self.make_ready(thread);
    }
}
