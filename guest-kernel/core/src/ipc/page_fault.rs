//! Page faults: the kernel turns them into messages to the faulting thread's pager, and the pager's
//! answer into mappings.

use crate::{
    ipc::{
        port_fault::GENERAL_PROTECTION_VECTOR,
        transfer::{Stopped, Transfer},
    },
    mapping::{item::suffices, space::Pages, stretch::Preempted},
    memory::{
        index::{MaybeThread, TaskIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        gate::Destination,
        kernel::Kernel,
        next::Next,
        state::{AfterSend, PendingMessage, Question, State},
        thread::Thread,
    },
};
use protocol::{
    Word,
    error::IpcError,
    fault::{Access, Exception, PageFault},
    introspection::{
        ThreadState,
        record::{Fault, Ids, Kind, Resume, Unresolved, UnresolvedFault},
    },
    layout::MAPPABLE_END,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::Timeout,
};

/// The processor's number for page faults, under which unresolved ones reach exception handlers.
pub const PAGE_FAULT_VECTOR: u8 = 14;

/// So many answers in a row may leave the very same access as impossible as it was before its thread
/// is stopped.
pub(crate) const REPETITION_LIMIT: u32 = 4;

/// A fault that a pager is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewFault {
    /// The address, or the first port.
    pub address: Word,
    /// The access.
    pub access: Access,
    /// The first words of the message.
    pub message: [Word; 2],
    /// When it was.
    pub time: u64,
}

impl<M: Machine> Kernel<M> {
    /// The current thread touched `address` in a way that its page tables do not allow.
    pub(crate) fn begin_page_fault(
        &mut self,
        faulter: ThreadIndex,
        address: Word,
        access: Access,
    ) -> Next {
        let time = self.mappings.machine.time();
        if self.task_of(faulter) == TaskIndex::SIGMA0 {
            return self.sigma0_page_fault(faulter, address, access, time);
        }
        let instruction = self.threads[faulter].context.instruction();
        let message = PageFault { address, instruction, access }.to_words();
        let fault = NewFault { address, access, message, time };
        self.ask_pager(faulter, fault, PageFault::TAG, Question::PageFault)
    }

    /// Notes a fault, and asks the thread's pager to resolve it.
    pub(crate) fn ask_pager(
        &mut self,
        faulter: ThreadIndex,
        fault: NewFault,
        tag: MessageTag,
        question: Question,
    ) -> Next {
        let NewFault { address, access, message, time } = fault;
        self.faults += 1;
        let thread = &mut self.threads[faulter];
        thread.begin_fault(self.faults, address, access, message);
        let (pager, repeated) = (thread.pager(), thread.fault.repeated);
        let gate = self.gate(faulter, pager).filter(|gate| gate.thread != faulter);
        if self.traces(Kind::Fault) {
            let pager = self.ids_of(gate.map(|gate| gate.thread));
            self.trace(time, faulter, fault_event(&self.threads[faulter], pager));
        }
        Next::switch(match gate {
            None => self.unresolved(faulter, Unresolved::NoPager, 0),
            Some(_) if address >= MAPPABLE_END => {
                self.unresolved(faulter, Unresolved::OutsideUserArea, 0)
            }
            Some(_) if repeated >= REPETITION_LIMIT => {
                self.unresolved(faulter, Unresolved::NoProgress, 0)
            }
            Some(gate) if self.threads[gate.thread].is(ThreadState::Stopped) => {
                self.unresolved(faulter, Unresolved::NoPager, IpcError::NoPartner as u64)
            }
            Some(gate) => self.offer_fault(faulter, gate, tag, question),
        })
    }

    /// Where the gate at `index` in the thread's task leads to.
    pub(crate) fn gate(
        &mut self,
        thread: ThreadIndex,
        index: CapabilityIndex,
    ) -> Option<Destination> {
        let task = self.task_of(thread);
        let slot = self.mappings.tasks[task].capabilities.slot(&mut self.mappings.machine, index);
        slot.gate().and_then(|gate| Destination::of(gate, &self.gates[gate]))
    }

    /// The gate at `index` in the thread's task, if its thread can answer.
    pub(crate) fn fault_gate(
        &mut self,
        faulter: ThreadIndex,
        index: CapabilityIndex,
    ) -> Option<Destination> {
        let gate = self.gate(faulter, index)?;
        let is_able = gate.thread != faulter && !self.threads[gate.thread].is(ThreadState::Stopped);
        is_able.then_some(gate)
    }

    /// Delivers the fault's message if the receiver waits, which is returned then: it is ready, but not
    /// queued. Else the faulter queues at it.
    pub(crate) fn offer_fault(
        &mut self,
        faulter: ThreadIndex,
        gate: Destination,
        tag: MessageTag,
        question: Question,
    ) -> Option<ThreadIndex> {
        let receiver = gate.thread;
        if !self.threads[receiver].accepts(faulter) {
            let then = AfterSend::Await(question);
            let message = PendingMessage {
                tag,
                label: gate.label,
                gate: gate.gate,
                then,
                answer_within: Timeout::NEVER,
            };
            self.begin_to_wait(faulter, State::Sending { to: receiver, message }, false);
            return None;
        }
        self.leave_queue(receiver);
        self.abandon_with(faulter, receiver);
        if self.threads[faulter].caller == receiver.into() {
            // It waited for an answer, and takes this for one.
            self.threads[faulter].caller = MaybeThread::NOBODY;
        }
        self.deliver_fault(faulter, receiver, tag);
        self.threads[faulter].enter(State::Awaiting { answer_to: question, of: Some(receiver) });
        self.threads[receiver].enter(State::Ready);
        self.threads[receiver].context.set_result(tag, gate.label);
        self.accept_call(receiver, faulter);
        Some(receiver)
    }

    /// Writes the fault's message into the receiver's UTCB.
    #[inline]
    pub(crate) fn deliver_fault(
        &mut self,
        faulter: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
    ) {
        let thread = &self.threads[faulter];
        let [first, second] = thread.fault.message;
        let message = &mut self.mappings.machine.utcb(self.threads[receiver].utcb).message;
        (message[0], message[1]) = (first, second);
        if tag == Exception::TAG {
            let registers = thread.context.registers(true).to_words();
            message[Exception::FIRST_REGISTER..Exception::WORDS].copy_from_slice(&registers);
        }
        if self.mappings.machine.enabled_records() != 0 {
            self.threads[faulter].fault.delivered = self.mappings.machine.time();
        }
    }

    /// The pager has answered: enters what it maps. Returns the faulter if it goes on, `None` if the fault
    /// stays unresolved.
    pub(crate) fn resolve_or_not(
        &mut self,
        transfer: Transfer,
        tag: MessageTag,
        replied: u64,
    ) -> Result<Option<ThreadIndex>, Preempted> {
        let Transfer { sender: pager, receiver: faulter, .. } = transfer;
        if tag.label() != 0 {
            self.unresolved_later(faulter, Unresolved::Refused, tag.widened());
            return Ok(None);
        }
        match self.map_answer(transfer, tag) {
            Ok(true) if !self.threads[faulter].fault.access.contains(Access::PORT) => {
                self.threads[faulter].fault.repeated = 0;
            }
            Ok(_) => self.count_useless_answer(faulter),
            Err(Stopped::Failed(failure)) => {
                let answer = failure.to_word() as u64;
                self.unresolved_later(faulter, Unresolved::MapFailed, answer);
                return Ok(None);
            }
            Err(Stopped::Preempted) => return Err(Preempted),
        }
        self.threads[faulter].enter(State::Ready);
        if self.traces(Kind::Resume) {
            self.trace_resume(faulter, Some(pager), replied, tag);
        }
        Ok(Some(faulter))
    }

    pub(crate) fn trace_resume(
        &mut self,
        thread: ThreadIndex,
        answered_by: Option<ThreadIndex>,
        replied: u64,
        tag: MessageTag,
    ) {
        let by = self.ids_of(answered_by);
        let time = self.mappings.machine.time();
        let fault = &self.threads[thread].fault;
        let (number, delivered) = (fault.number, fault.delivered);
        self.trace(time, thread, Resume { number, delivered, answered: replied, tag, by });
    }

    /// The answer mapped nothing that helps, as far as is known. It may have been helped by other
    /// means: only an access that is still impossible counts.
    #[cold]
    fn count_useless_answer(&mut self, faulter: ThreadIndex) {
        let task = self.task_of(faulter);
        let (address, access) =
            (self.threads[faulter].fault.address, self.threads[faulter].fault.access);
        let helped = if access.contains(Access::PORT) {
            self.port_access_is_possible(faulter)
        } else {
            let entry = self.mappings.tasks[task].space.page_entry(
                &mut self.mappings.machine,
                Pages::Memory,
                address,
            );
            entry.is_present() && suffices(entry.rights(), access)
        };
        let fault = &mut self.threads[faulter].fault;
        fault.repeated = if helped { 0 } else { fault.repeated + 1 };
    }

    /// Nobody resolves the fault of `faulter`: records that, and leaves the thread to its exception
    /// handler, which is returned if it takes the message now. `answer` is the pager's tag or the error
    /// of the IPC.
    #[cold]
    pub(crate) fn unresolved(
        &mut self,
        faulter: ThreadIndex,
        reason: Unresolved,
        answer: u64,
    ) -> Option<ThreadIndex> {
        let pager = self.threads[faulter].pager();
        self.trace_unresolved(faulter, reason, pager, answer);
        let access = self.threads[faulter].fault.access;
        if access.contains(Access::PORT) {
            self.raise(faulter, GENERAL_PROTECTION_VECTOR, 0)
        } else {
            self.raise(faulter, PAGE_FAULT_VECTOR, access.bits().into())
        }
    }

    /// The same for a faulter that waits: whoever runs goes on.
    #[cold]
    pub(crate) fn unresolved_later(
        &mut self,
        faulter: ThreadIndex,
        reason: Unresolved,
        answer: u64,
    ) {
        if let Some(handler) = self.unresolved(faulter, reason, answer) {
            self.ready.push_back(&mut self.threads, handler);
        }
    }

    /// Records that whoever is behind the gate at `asked` did not resolve a fault or exception.
    pub(crate) fn trace_unresolved(
        &mut self,
        thread: ThreadIndex,
        reason: Unresolved,
        asked: CapabilityIndex,
        answer: u64,
    ) {
        if !self.traces(Kind::Unresolved) {
            return;
        }
        let asked = match self.threads[thread].state() {
            // Whoever that was asked through the gate by now.
            State::Awaiting { of: Some(asked), .. } => Some(asked),
            _ => self.fault_gate(thread, asked).map(|gate| gate.thread),
        };
        let time = self.mappings.machine.time();
        let fault = &self.threads[thread].fault;
        let event = UnresolvedFault {
            reason,
            access: fault.access,
            address: fault.address as u64,
            instruction: fault.instruction as u64,
            pager: self.ids_of(asked),
            number: fault.number,
            answer,
        };
        self.trace(time, thread, event);
    }
}

/// The fault of a thread that `pager` is asked to resolve.
#[inline(always)]
pub(crate) fn fault_event(thread: &Thread, pager: Ids) -> Fault {
    Fault {
        access: thread.fault.access,
        address: thread.fault.address as u64,
        instruction: thread.fault.instruction as u64,
        pager,
        owed: thread.caller.raw(),
        number: thread.fault.number,
        stack: thread.context.stack() as u64,
    }
}
