//! Threads.

use crate::{
    arch::Context,
    memory::{
        chain::{Chain, Linked, Links},
        frames::{KernelFrame, PhysicalAddress},
        index::{
            FactoryIndex, GateIndex, MaybeGate, MaybeThread, Table, TableIndex, TaskIndex, Tenant,
            ThreadIndex,
        },
        machine::Machine,
        node::MaybeNode,
        utcb::UtcbReference,
    },
    threads::{
        queue::{Queue, ThreadList},
        undertaking::Undertaking,
    },
};
use protocol::{
    Word,
    fault::{Access, PageFault},
    introspection::{
        NAME_LENGTH, NOBODY, SET_ASIDE, ThreadRecord, ThreadState,
        record::{Ids, Whom},
    },
    message::MessageTag,
    object::CapabilityIndex,
};

/// All threads.
pub type Threads<M> = Table<ThreadIndex, <M as Machine>::Storage<Thread>>;

/// A message that waits until its receiver takes it.
#[derive(Clone, Copy, Debug)]
pub struct PendingMessage {
    /// Its tag.
    pub tag: MessageTag,
    /// Label of the gate that it was sent through.
    pub label: Word,
    /// That gate.
    pub gate: MaybeGate,
    /// What the sender does once the message was taken.
    pub then: AfterSend,
}

/// What a sender does once its message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterSend {
    /// It goes on.
    Continue,
    /// It waits for the receiver's answer.
    AwaitReply,
    /// It has faulted and waits for its pager's answer.
    AwaitPager,
    /// It has raised an exception and waits for its handler's answer.
    AwaitHandler,
}

/// The fault or exception that a thread waits with, or its last one.
#[derive(Clone, Copy, Debug)]
pub struct FaultState {
    /// Counts all faults and exceptions of the machine, from 1.
    pub number: u64,
    /// The address, 0 for exceptions.
    pub address: Word,
    /// The instruction.
    pub instruction: Word,
    /// The access, empty for exceptions.
    pub access: Access,
    /// When the pager got the message.
    pub delivered: u64,
    /// How often in a row the very same access faulted again.
    pub repeated: u32,
    /// The message words as the pager gets them.
    pub message: [Word; 4],
}

/// A thread. Begins with the record that the host reads. Its size is a power of two, which makes
/// finding it a shift.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[repr(C, align(1024))]
pub struct Thread {
    /// What viewers see; also the kernel's own copy of these facts.
    pub record: ThreadRecord,
    /// Where its message registers are.
    pub utcb: UtcbReference,
    /// Its task's page tables, for the processor.
    pub root: PhysicalAddress,
    /// This thread in heads of trace records.
    pub head: Whom,
    /// This thread in trace records.
    pub ids: Ids,
    /// Who called it last and has had no answer yet.
    pub caller: MaybeThread,
    /// Who has begun to give it an answer that was set aside, and was interrupted.
    pub answerer: MaybeThread,
    /// Gates to it that nobody holds any more, which it has not been told yet.
    pub unheld: Chain<GateIndex>,
    /// Threads that wait to send to it.
    pub senders: ThreadList,
    /// Threads that wait for a message from it and nobody else.
    pub receivers: ThreadList,
    /// The queue of its partner that it waits in itself, if it waits in one.
    pub queue: Option<Queue>,
    /// The gate that it waits at, if it waits in such a queue and has named no thread.
    pub gate: MaybeGate,
    /// Among those that wait there.
    at_gate: Links,
    /// Gates to it.
    pub gates: Chain<GateIndex>,
    /// Among the threads of its task.
    in_task: Links,
    /// Links of that queue.
    pub next_waiting: MaybeThread,
    /// Links of that queue.
    pub previous_waiting: MaybeThread,
    /// Links of the ready queue.
    pub ready_next: MaybeThread,
    /// Links of the ready queue.
    pub ready_previous: MaybeThread,
    /// Valid while it waits to send.
    pub pending: PendingMessage,
    /// Valid while it waits with a fault.
    pub fault: FaultState,
    /// The system call that was left at a preemption point.
    pub undertaking: Option<Undertaking>,
    /// User-mode registers.
    pub context: Context,
}

const _: () = assert!(size_of::<Thread>() == 1024);

impl Thread {
    /// A thread that is bound to no task yet.
    pub fn new(
        utcb: UtcbReference,
        priority: u8,
        factory: FactoryIndex,
        bookmark: MaybeNode,
    ) -> Self {
        Self {
            record: ThreadRecord {
                state: ThreadState::Inactive as u32,
                generation: 1,
                task: NOBODY,
                partner: NOBODY,
                priority: u16::from(priority),
                pager: 0,
                exception_handler: 0,
                factory: factory.position(),
                bookmark: bookmark.raw(),
                name: [0; NAME_LENGTH],
            },
            utcb,
            root: PhysicalAddress(0),
            head: Whom::new(Ids::NOBODY),
            ids: Ids::NOBODY,
            caller: MaybeThread::NOBODY,
            answerer: MaybeThread::NOBODY,
            unheld: Chain::EMPTY,
            senders: ThreadList::EMPTY,
            receivers: ThreadList::EMPTY,
            queue: None,
            gate: MaybeGate::NOBODY,
            at_gate: Links::NONE,
            gates: Chain::EMPTY,
            in_task: Links::NONE,
            next_waiting: MaybeThread::NOBODY,
            previous_waiting: MaybeThread::NOBODY,
            ready_next: MaybeThread::NOBODY,
            ready_previous: MaybeThread::NOBODY,
            pending: PendingMessage {
                tag: MessageTag(0),
                label: 0,
                gate: MaybeGate::NOBODY,
                then: AfterSend::Continue,
            },
            fault: FaultState {
                number: 0,
                address: 0,
                instruction: 0,
                access: Access::empty(),
                delivered: 0,
                repeated: 0,
                message: [0; 4],
            },
            undertaking: None,
            context: Context::new(0),
        }
    }

    /// Gate to its pager, in the table of its task.
    #[inline(always)]
    pub fn pager(&self) -> CapabilityIndex {
        CapabilityIndex(self.record.pager.into())
    }

    /// Gate to its exception handler, in the table of its task.
    pub fn exception_handler(&self) -> CapabilityIndex {
        CapabilityIndex(self.record.exception_handler.into())
    }

    /// Whether it is in `state`.
    #[inline]
    pub fn is(&self, state: ThreadState) -> bool {
        self.record.state == state as u32
    }

    /// Puts it into `state`, waiting for `partner`.
    #[inline]
    pub fn set_state(&mut self, state: ThreadState, partner: MaybeThread) {
        self.record.state = state as u32;
        self.record.partner = partner.raw();
    }

    /// Whether it waits for a message from `sender` now.
    #[inline]
    pub fn accepts(&self, sender: ThreadIndex) -> bool {
        self.is(ThreadState::Receiving)
            && (self.record.partner == NOBODY || self.record.partner == sender.position())
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

    /// Whether nobody waits to send to it, and nothing is to be told to it.
    #[inline(always)]
    pub fn has_nothing_to_take(&self) -> bool {
        // Both at once: they lie side by side.
        u32::from(self.unheld.raw()) | u32::from(self.senders.first_raw()) << 16 == u32::MAX
    }

    /// Those who wait in one of its queues.
    pub fn queue_mut(&mut self, queue: Queue) -> &mut ThreadList {
        match queue {
            Queue::Senders => &mut self.senders,
            Queue::Receivers => &mut self.receivers,
        }
    }

    /// The thread that it waits for, if it waits for one.
    pub fn partner(&self) -> Option<ThreadIndex> {
        let partner = self.record.partner;
        (partner < SET_ASIDE).then_some(ThreadIndex::from_position(partner))
    }

    /// Whether it waits for an answer that was set aside, and for no thread.
    #[inline(always)]
    pub fn waits_for_reply(&self) -> bool {
        self.record.partner == SET_ASIDE
    }

    /// The answer that it waits for is set aside.
    #[inline(always)]
    pub fn await_reply(&mut self) {
        self.record.partner = SET_ASIDE;
    }

    /// Whether it waits for `partner`, in whatever state.
    #[inline]
    pub fn waits_for(&self, partner: ThreadIndex) -> bool {
        self.record.partner == partner.position()
    }

    /// Goes on with a call that it waited for, and owes `caller` an answer from now on.
    #[inline(always)]
    pub fn take_call(&mut self, caller: ThreadIndex, tag: MessageTag, label: Word) {
        self.set_state(ThreadState::Ready, MaybeThread::NOBODY);
        self.context.set_result(tag, label);
        self.caller = caller.into();
    }

    /// Waits for anybody after it has answered.
    pub fn wait_after_answer(&mut self) {
        self.caller = MaybeThread::NOBODY;
        self.set_state(ThreadState::Receiving, MaybeThread::NOBODY);
    }

    /// Goes on with the answer to its call.
    pub fn take_answer(&mut self, tag: MessageTag) {
        self.set_state(ThreadState::Ready, MaybeThread::NOBODY);
        self.context.set_result(tag, 0);
    }

    /// Notes a page fault and its message.
    pub fn begin_fault(&mut self, number: u64, address: Word, access: Access) {
        let instruction = self.context.instruction();
        let fault = &mut self.fault;
        let same =
            fault.address == address && fault.instruction == instruction && fault.access == access;
        if !same {
            fault.repeated = 0;
        }
        fault.number = number;
        fault.address = address;
        fault.instruction = instruction;
        fault.access = access;
        let [word0, word1] = PageFault { address, instruction, access }.to_words();
        fault.message[0] = word0;
        fault.message[1] = word1;
    }

    /// It runs in no task any more. There is a UTCB at the beginning of `frame`, as in each.
    pub fn leave_task(&mut self, frame: KernelFrame) {
        self.record.task = NOBODY;
        self.utcb = UtcbReference::first_of(frame);
        self.root = PhysicalAddress(0);
        self.head = Whom::new(Ids::NOBODY);
        self.ids = Ids::NOBODY;
    }

    /// Its priority.
    #[inline]
    pub fn priority(&self) -> u8 {
        self.record.priority as u8
    }

    /// The task that it runs in, once bound.
    #[inline]
    pub fn bound_task(&self) -> Option<TaskIndex> {
        let task = self.record.task;
        if task == NOBODY { None } else { Some(TaskIndex::from_position(task)) }
    }
}

impl Tenant for Thread {
    fn generation(&mut self) -> &mut u32 {
        &mut self.record.generation
    }

    fn vacate(&mut self) {
        self.record.state = ThreadState::Unused as u32;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.record.task
    }
}

/// The chains that threads are in, beside queues.
#[derive(Clone, Copy, Debug)]
pub enum ThreadChain {
    /// Those that wait at a gate.
    AtGate,
    /// The threads of a task.
    InTask,
}

impl Linked<ThreadChain> for Thread {
    fn links(&mut self, kind: ThreadChain) -> &mut Links {
        match kind {
            ThreadChain::AtGate => &mut self.at_gate,
            ThreadChain::InTask => &mut self.in_task,
        }
    }
}
