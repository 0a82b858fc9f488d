//! Threads.

use crate::{
    arch::Context,
    memory::{
        chain::{Chain, Linked, Links},
        frames::{KernelFrame, PhysicalAddress},
        index::{
            FactoryIndex, GateIndex, MaybeInterrupt, MaybeThread, Table, TableIndex, TaskIndex,
            Tenant, ThreadIndex,
        },
        machine::Memory,
        node::MaybeNode,
        utcb::UtcbReference,
    },
    threads::{
        queue::{Queue, ThreadList},
        state::StateRecord,
        undertaking::Undertaking,
    },
};
use protocol::{
    Word,
    fault::Access,
    introspection::{
        NOBODY,
        record::{Ids, Whom},
    },
    object::CapabilityIndex,
};

/// All threads.
pub type Threads<M> = Table<ThreadIndex, <M as Memory>::Storage<Thread>>;

/// The fault or exception that a thread waits with, or its last one: whether the next one is the same again
/// shows in that.
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
    /// What the message says of it: its words of a fault, vector and error code of an exception.
    pub message: [Word; 2],
}

/// A thread. Begins with the record that the host reads. Its size is a power of two, which makes
/// finding it a shift.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[repr(C, align(1024))]
pub struct Thread {
    /// What viewers see, which is also where the kernel keeps these facts, with its state.
    pub record: StateRecord,
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
    /// Gates to it that nobody holds any more, or whose interrupt has come, which it has not been told yet.
    pub news: Chain<GateIndex>,
    /// Threads that wait to send to it.
    pub senders: ThreadList,
    /// Threads that wait for a message from it and nobody else.
    pub receivers: ThreadList,
    /// Among those that wait at the gate that it waits at.
    at_gate: Links,
    /// Gates to it.
    pub gates: Chain<GateIndex>,
    /// Among the threads of its task.
    in_task: Links,
    /// Links of the queue that it waits in.
    pub next_waiting: MaybeThread,
    /// Links of that queue.
    pub previous_waiting: MaybeThread,
    /// Links of the ready queue.
    pub ready_next: MaybeThread,
    /// Links of the ready queue.
    pub ready_previous: MaybeThread,
    /// The interrupt that it was told of last.
    pub last_interrupt: MaybeInterrupt,
    /// Whether it was told of that instead of the next message, and whose is that now.
    pub owes_sender: bool,
    /// Its last fault or exception.
    pub fault: FaultState,
    /// The system call that was left at a preemption point.
    pub undertaking: Option<Undertaking>,
    /// The function that takes its system calls, by the lower half of its address: the entry goes there.
    pub system_calls_go_to: u32,
    /// Valid timeouts of a call, that of the answer relative, for which the alarm of a thread with its number is
    /// early enough, whenever the call begins; 0 if none are known.
    pub alarm_covers: u32,
    /// User-mode registers.
    pub context: Context,
}

const _: () = assert!(size_of::<Thread>() == 1024);

impl Thread {
    /// A thread that is bound to no task yet.
    #[inline(always)]
    pub fn new(
        utcb: UtcbReference,
        priority: u8,
        factory: FactoryIndex,
        bookmark: MaybeNode,
    ) -> Self {
        Self {
            record: StateRecord::new(priority, factory.position(), bookmark.raw()),
            utcb,
            root: PhysicalAddress(0),
            head: Whom::new(Ids::NOBODY),
            ids: Ids::NOBODY,
            caller: MaybeThread::NOBODY,
            answerer: MaybeThread::NOBODY,
            news: Chain::EMPTY,
            senders: ThreadList::EMPTY,
            receivers: ThreadList::EMPTY,
            at_gate: Links::NONE,
            gates: Chain::EMPTY,
            in_task: Links::NONE,
            next_waiting: MaybeThread::NOBODY,
            previous_waiting: MaybeThread::NOBODY,
            ready_next: MaybeThread::NOBODY,
            ready_previous: MaybeThread::NOBODY,
            last_interrupt: MaybeInterrupt::NOBODY,
            owes_sender: false,
            fault: FaultState {
                number: 0,
                address: 0,
                instruction: 0,
                access: Access::empty(),
                delivered: 0,
                repeated: 0,
                message: [0; 2],
            },
            undertaking: None,
            system_calls_go_to: 0,
            alarm_covers: 0,
            context: Context::new(0),
        }
    }

    /// Another thread that is bound to no task yet comes to be in the place of one that is gone. Its
    /// registers are those of a thread that never ran already ([`Self::leave_task`]); where its system calls go
    /// is said when it comes to be in a task. The alarm of that number stays too.
    #[inline(always)]
    pub fn renew(&mut self, new: Self) {
        let Self {
            record,
            utcb,
            root,
            head,
            ids,
            caller,
            answerer,
            news,
            senders,
            receivers,
            at_gate,
            gates,
            in_task,
            next_waiting,
            previous_waiting,
            ready_next,
            ready_previous,
            last_interrupt,
            owes_sender,
            fault,
            undertaking,
            system_calls_go_to: _,
            alarm_covers: _,
            context: _,
        } = new;
        let generation = *self.generation();
        (self.record, self.utcb, self.root, self.head, self.ids) = (record, utcb, root, head, ids);
        *self.generation() = generation;
        (self.caller, self.answerer, self.news) = (caller, answerer, news);
        (self.senders, self.receivers) = (senders, receivers);
        (self.at_gate, self.gates, self.in_task) = (at_gate, gates, in_task);
        (self.next_waiting, self.previous_waiting) = (next_waiting, previous_waiting);
        (self.ready_next, self.ready_previous) = (ready_next, ready_previous);
        (self.last_interrupt, self.owes_sender) = (last_interrupt, owes_sender);
        (self.fault, self.undertaking) = (fault, undertaking);
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

    /// Whether nobody waits to send to it, and nothing is to be told to it.
    #[inline(always)]
    pub fn has_nothing_to_take(&self) -> bool {
        // Both at once: they lie side by side.
        u32::from(self.news.raw()) | u32::from(self.senders.first_raw()) << 16 == u32::MAX
    }

    /// Those who wait in one of its queues.
    pub fn queue_mut(&mut self, queue: Queue) -> &mut ThreadList {
        match queue {
            Queue::Senders => &mut self.senders,
            Queue::Receivers => &mut self.receivers,
        }
    }

    /// Notes a fault and the first words of its message.
    pub fn begin_fault(
        &mut self,
        number: u64,
        address: Word,
        access: Access,
        [first, second]: [Word; 2],
    ) {
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
        fault.message = [first, second];
    }

    /// It runs in no task any more, and leaves none of its registers. There is a UTCB at the beginning of
    /// `frame`, as in each.
    pub fn leave_task(&mut self, frame: KernelFrame) {
        self.record.set_task(NOBODY);
        self.utcb = UtcbReference::first_of(frame);
        self.root = PhysicalAddress(0);
        self.head = Whom::new(Ids::NOBODY);
        self.ids = Ids::NOBODY;
        self.context = Context::new(0);
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
