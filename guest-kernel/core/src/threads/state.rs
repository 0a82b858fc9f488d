//! What a thread does. All that says so is private to this file, so that nothing is ever said that fits
//! together badly.

use crate::{
    memory::index::{MaybeGate, MaybeThread, TableIndex, Tenant, ThreadIndex},
    threads::{queue::Queue, thread::Thread},
};
use core::ops::Deref;
use protocol::{
    Word,
    introspection::{NAME_LENGTH, NOBODY, SET_ASIDE, ThreadRecord, ThreadState},
    message::MessageTag,
    syscall::Timeout,
};

/// What a thread does, with all that belongs to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: its place in the table is free.
    Unused,
    /// Nothing yet: it has never run.
    Inactive,
    /// It runs or could run.
    Ready,
    /// It waits in the queue of `to` until that takes its message.
    Sending {
        /// Who is to get it.
        to: ThreadIndex,
        /// The message.
        message: PendingMessage,
    },
    /// It waits for a message from anybody.
    Receiving,
    /// It waits in the queue of `from` for a message from it and nobody else.
    ReceivingFrom {
        /// Whose message it waits for.
        from: ThreadIndex,
        /// The gate that it has named, unless that was the thread.
        gate: MaybeGate,
    },
    /// It waits for an answer, in no queue.
    Awaiting {
        /// What was asked.
        answer_to: Question,
        /// Who owes the answer, unless it was set aside.
        of: Option<ThreadIndex>,
    },
    /// Nothing any more: nobody has resolved its fault or exception, or it ends.
    Stopped,
}

/// What a thread waits for an answer to, with the number that viewers see then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Question {
    /// Its call.
    Call = ThreadState::Receiving as u8,
    /// Its page fault.
    PageFault = ThreadState::PageFault as u8,
    /// Its port fault.
    PortFault = ThreadState::PortFault as u8,
    /// Its exception.
    Exception = ThreadState::Exception as u8,
}

impl From<Question> for u16 {
    #[inline(always)]
    fn from(question: Question) -> Self {
        question as Self
    }
}

/// A message that waits until its receiver takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// Its tag.
    pub tag: MessageTag,
    /// Label of the gate that it was sent through.
    pub label: Word,
    /// That gate.
    pub gate: MaybeGate,
    /// What the sender does once the message was taken.
    pub then: AfterSend,
    /// How long it waits for the answer to its call.
    pub answer_within: Timeout,
}

/// What a sender does once its message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterSend {
    /// It goes on.
    Continue,
    /// It waits for the receiver's answer.
    Await(Question),
}

/// Where a thread waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose queue it is.
    pub of: ThreadIndex,
    /// Which one.
    pub queue: Queue,
    /// The gate that it waits at, unless it has named the thread.
    pub gate: MaybeGate,
}

impl State {
    /// Where it waits, if that is in a queue.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::Sending { to, message } => {
                Some(Place { of: to, queue: Queue::Senders, gate: message.gate })
            }
            Self::ReceivingFrom { from, gate } => {
                Some(Place { of: from, queue: Queue::Receivers, gate })
            }
            _ => None,
        }
    }

    /// What it waits with: a system call, as if it were a call, or a fault or exception.
    pub fn waits_with(self) -> Option<Question> {
        match self {
            Self::Awaiting { answer_to, .. } => Some(answer_to),
            Self::Sending { message, .. } => match message.then {
                AfterSend::Continue => Some(Question::Call),
                AfterSend::Await(question) => Some(question),
            },
            Self::Receiving | Self::ReceivingFrom { .. } => Some(Question::Call),
            Self::Unused | Self::Inactive | Self::Ready | Self::Stopped => None,
        }
    }
}

/// What viewers see of a thread, which is where its state is kept, and the rest of that.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[repr(C)]
pub struct StateRecord {
    record: ThreadRecord,
    /// Whether it waits in a queue, and with what.
    queued: Queued,
}

/// What belongs to waiting in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    No,
    ToSend(PendingMessage),
    ToReceive(MaybeGate),
}

impl StateRecord {
    /// Of a thread that is bound to no task yet.
    pub fn new(priority: u8, factory: u16, bookmark: u32) -> Self {
        Self {
            record: ThreadRecord {
                state: ThreadState::Inactive as u16,
                timeout: Timeout::NEVER.0,
                generation: 1,
                task: NOBODY,
                partner: NOBODY,
                priority: priority.into(),
                pager: 0,
                exception_handler: 0,
                factory,
                bookmark,
                time: 0,
                name: [0; NAME_LENGTH],
            },
            queued: Queued::No,
        }
    }

    /// Notes the task, or [`NOBODY`].
    pub fn set_task(&mut self, task: u16) {
        self.record.task = task;
    }

    /// Notes the priority.
    pub fn set_priority(&mut self, priority: u8) {
        self.record.priority = priority.into();
    }

    /// Notes the gate to its pager.
    pub fn set_pager(&mut self, gate: u16) {
        self.record.pager = gate;
    }

    /// Notes the gate to its exception handler.
    pub fn set_exception_handler(&mut self, gate: u16) {
        self.record.exception_handler = gate;
    }

    /// Notes the name.
    pub fn set_name(&mut self, name: [u8; NAME_LENGTH]) {
        self.record.name = name;
    }
}

impl Deref for StateRecord {
    type Target = ThreadRecord;

    #[inline(always)]
    fn deref(&self) -> &ThreadRecord {
        &self.record
    }
}

impl Thread {
    /// What it does.
    pub fn state(&self) -> State {
        let record = &self.record;
        let (partner, of) = (ThreadIndex::from_position(record.partner), self.partner());
        match record.queued {
            Queued::ToSend(message) => return State::Sending { to: partner, message },
            Queued::ToReceive(gate) => return State::ReceivingFrom { from: partner, gate },
            Queued::No => {}
        }
        let answer_to = match ThreadState::from_u16(record.state) {
            Some(ThreadState::Inactive) => return State::Inactive,
            Some(ThreadState::Ready) => return State::Ready,
            Some(ThreadState::Receiving) if record.partner == NOBODY => return State::Receiving,
            Some(ThreadState::Stopped) => return State::Stopped,
            Some(ThreadState::Receiving) => Question::Call,
            Some(ThreadState::PageFault) => Question::PageFault,
            Some(ThreadState::PortFault) => Question::PortFault,
            Some(ThreadState::Exception) => Question::Exception,
            Some(ThreadState::Sending | ThreadState::Unused) | None => return State::Unused,
        };
        State::Awaiting { answer_to, of }
    }

    /// Does something else. If it waits in a queue it must have [left](Self::leave) that.
    #[inline(always)]
    pub fn enter(&mut self, state: State) {
        let kept = &mut self.record;
        debug_assert!(kept.queued == Queued::No, "it waits in a queue");
        let (seen_as, partner) = match state {
            State::Unused => (ThreadState::Unused as u16, NOBODY),
            State::Inactive => (ThreadState::Inactive as u16, NOBODY),
            State::Ready => (ThreadState::Ready as u16, NOBODY),
            State::Sending { to, message } => {
                kept.queued = Queued::ToSend(message);
                (ThreadState::Sending as u16, to.position())
            }
            State::Receiving => (ThreadState::Receiving as u16, NOBODY),
            State::ReceivingFrom { from, gate } => {
                kept.queued = Queued::ToReceive(gate);
                (ThreadState::Receiving as u16, from.position())
            }
            State::Awaiting { answer_to, of } => {
                (answer_to.into(), of.map_or(SET_ASIDE, TableIndex::position))
            }
            State::Stopped => (ThreadState::Stopped as u16, NOBODY),
        };
        (kept.record.state, kept.record.timeout) = (seen_as, Timeout::NEVER.0);
        kept.record.partner = partner;
    }

    /// Waits, in the state that it has [entered](Self::enter), until that time of the kernel clock at most.
    pub fn wait_until(&mut self, deadline: u64) {
        self.record.record.timeout = Timeout::BEGUN.0;
        self.note_deadline(deadline);
    }

    /// Waits, in the state that it has entered, for that relative time at most. It began when the time stamp
    /// counter stood at `since`.
    #[inline(always)]
    pub fn wait_within(&mut self, timeout: Timeout, since: u64) {
        (self.record.record.timeout, self.record.record.time) = (timeout.0, since);
    }

    /// Notes until when it will wait in a system call that begins again.
    pub fn note_deadline(&mut self, deadline: u64) {
        self.record.record.time = deadline;
    }

    /// Waits as long as it takes, from now on.
    pub fn wait_for_ever(&mut self) {
        self.record.record.timeout = Timeout::NEVER.0;
    }

    /// It was taken out of the queue that it has waited in, and is ready.
    pub fn leave(&mut self) {
        self.record.queued = Queued::No;
        self.enter(State::Ready);
    }

    /// Whether viewers see it in `state`.
    #[inline]
    pub fn is(&self, state: ThreadState) -> bool {
        self.record.state == state as u16
    }

    /// Whether it waits in a queue.
    #[inline(always)]
    pub fn is_queued(&self) -> bool {
        self.record.queued != Queued::No
    }

    /// Whether a message from `sender` can be given to it now.
    #[inline]
    pub fn accepts(&self, sender: ThreadIndex) -> bool {
        self.is(ThreadState::Receiving) && (self.record.partner == NOBODY || self.waits_for(sender))
    }

    /// Whether it waits for a message from anybody.
    #[inline(always)]
    pub fn accepts_all(&self) -> bool {
        self.is(ThreadState::Receiving) && self.record.partner == NOBODY
    }

    /// Whether it waits for a message from anybody, and owes nobody an answer.
    #[inline(always)]
    pub fn takes_calls(&self) -> bool {
        self.accepts_all() && self.caller == MaybeThread::NOBODY
    }

    /// Whether it waits for this answer. It does not wait in a queue of who owes that.
    #[inline(always)]
    pub fn awaits(&self, answer_to: Question, of: Option<ThreadIndex>) -> bool {
        let partner = of.map_or(SET_ASIDE, TableIndex::position);
        self.record.state == u16::from(answer_to) && self.record.partner == partner
    }

    /// The message that it waits with until `receiver` takes it.
    pub fn message_to(&self, receiver: ThreadIndex) -> Option<PendingMessage> {
        match self.state() {
            State::Sending { to, message } if to == receiver => Some(message),
            _ => None,
        }
    }

    /// The thread that it waits for, if it waits for one.
    pub fn partner(&self) -> Option<ThreadIndex> {
        let partner = self.record.partner;
        (partner < SET_ASIDE).then_some(ThreadIndex::from_position(partner))
    }

    /// Whether it waits for `partner`, in whatever state.
    #[inline]
    pub fn waits_for(&self, partner: ThreadIndex) -> bool {
        self.record.partner == partner.position()
    }

    /// Whether it waits for an answer that was set aside, and for no thread.
    #[inline(always)]
    pub fn waits_for_reply(&self) -> bool {
        self.record.partner == SET_ASIDE
    }

    /// The answer that it waits for is set aside.
    #[inline(always)]
    pub fn await_reply(&mut self) {
        self.record.record.partner = SET_ASIDE;
    }

    /// Goes on with a call that it waited for, and owes `caller` an answer from now on.
    #[inline(always)]
    pub fn take_call(&mut self, caller: ThreadIndex, tag: MessageTag, label: Word) {
        self.enter(State::Ready);
        self.context.set_result(tag, label);
        self.caller = caller.into();
    }

    /// Waits for anybody after it has answered.
    pub fn wait_after_answer(&mut self) {
        self.caller = MaybeThread::NOBODY;
        self.enter(State::Receiving);
    }

    /// Goes on with the answer to its call.
    pub fn take_answer(&mut self, tag: MessageTag) {
        self.enter(State::Ready);
        self.context.set_result(tag, 0);
    }
}

impl Tenant for Thread {
    fn generation(&mut self) -> &mut u32 {
        &mut self.record.record.generation
    }

    fn vacate(&mut self) {
        self.enter(State::Unused);
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.record.record.task
    }
}
