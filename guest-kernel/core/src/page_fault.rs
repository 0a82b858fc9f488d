//! Page faults: the kernel turns them into messages to the faulting thread's pager, and the pager's
//! answer into mappings.

use crate::{
    capability::{Capability, Object},
    index::{MaybeThread, TaskIndex, ThreadIndex},
    kernel::{Gate, Kernel},
    machine::Machine,
    thread::{AfterSend, PendingMessage},
};
use protocol::{
    Word,
    error::IpcError,
    fault::{Access, PageFault},
    flexpage::Rights,
    introspection::{
        ThreadState,
        record::{Kind, Unresolved},
    },
    layout::USER_END,
    message::MessageTag,
    object::CapabilityIndex,
};

/// The processor's number for page faults, under which unresolved ones reach exception handlers.
pub const PAGE_FAULT_VECTOR: u8 = 14;

/// So many answers in a row may leave the very same access as impossible as it was before its thread
/// is stopped.
const REPETITION_LIMIT: u32 = 4;

impl<M: Machine> Kernel<'_, M> {
    /// The current thread touched `address` in a way that its page tables do not allow.
    #[inline]
    pub fn page_fault(&mut self, address: Word, access: Access) {
        let Some(faulter) = self.current.get() else { return };
        let time = self.machine.time();
        if self.task_of(faulter) == TaskIndex::SIGMA0 {
            return self.sigma0_page_fault(faulter, address, access, time);
        }
        let pager = self.fault_gate(faulter, self.threads[faulter].pager);
        self.begin_fault(faulter, address, access);
        if self.traces(Kind::Fault) {
            self.trace_fault(Kind::Fault, time, faulter, pager);
        }
        let Some(gate) = pager else {
            return self.unresolved(faulter, Unresolved::NoPager, 0);
        };
        if address >= USER_END {
            return self.unresolved(faulter, Unresolved::OutsideUserArea, 0);
        }
        if self.threads[faulter].fault.repeated >= REPETITION_LIMIT {
            return self.unresolved(faulter, Unresolved::NoProgress, 0);
        }
        self.send_fault(faulter, gate, PageFault::TAG, AfterSend::AwaitPager);
    }

    /// Numbers the fault and notes it in the thread.
    #[inline]
    fn begin_fault(&mut self, faulter: ThreadIndex, address: Word, access: Access) {
        self.faults += 1;
        let thread = &mut self.threads[faulter];
        let instruction = thread.context.instruction();
        let fault = &mut thread.fault;
        let same =
            fault.address == address && fault.instruction == instruction && fault.access == access;
        if !same {
            fault.repeated = 0;
        }
        fault.number = self.faults;
        fault.address = address;
        fault.instruction = instruction;
        fault.access = access;
        let [word0, word1] = PageFault { address, instruction, access }.to_words();
        fault.message[0] = word0;
        fault.message[1] = word1;
    }

    #[inline]
    pub(crate) fn trace_fault(
        &mut self,
        kind: Kind,
        time: u64,
        faulter: ThreadIndex,
        receiver: Option<Gate>,
    ) {
        let mut record = self.new_record(kind, time, faulter);
        let thread = &self.threads[faulter];
        record.flags = thread.fault.access.bits();
        record.a = thread.fault.address as u64;
        record.b = thread.fault.instruction as u64;
        record.c = self.ids_of(receiver.map(|gate| gate.thread));
        record.d = thread.fault.number;
        record.e = thread.context.stack() as u64;
        self.machine.record(record);
    }

    /// The gate at `index` in the thread's task, if its thread can answer.
    #[inline]
    pub(crate) fn fault_gate(
        &mut self,
        faulter: ThreadIndex,
        index: CapabilityIndex,
    ) -> Option<Gate> {
        let task = self.task_of(faulter);
        let capability = self.tasks[task].capabilities.get(&mut self.machine, index);
        let Some(Capability { object: Object::Gate(gate), .. }) = capability else { return None };
        let gate = self.gates[gate];
        let able = gate.thread != faulter && !self.threads[gate.thread].is(ThreadState::Stopped);
        able.then_some(gate)
    }

    /// Sends the fault's message: at once if the receiver waits, else by way of its queue.
    #[inline]
    pub(crate) fn send_fault(
        &mut self,
        faulter: ThreadIndex,
        gate: Gate,
        tag: MessageTag,
        then: AfterSend,
    ) {
        let receiver = gate.thread;
        if self.threads[receiver].accepts(faulter) {
            self.deliver_fault(faulter, receiver, tag, then);
            self.threads[receiver].set_state(ThreadState::Ready, MaybeThread::NOBODY);
            self.threads[receiver].context.set_result(tag, gate.label);
            self.accept_call(receiver, faulter);
            self.run(receiver);
        } else {
            let pending = PendingMessage { tag, label: gate.label, then };
            self.enqueue_sender(faulter, receiver, pending);
            self.schedule();
        }
    }

    /// Writes the fault's message into the receiver's UTCB; the faulter waits for its answer.
    #[inline]
    pub(crate) fn deliver_fault(
        &mut self,
        faulter: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
        then: AfterSend,
    ) {
        let state = if then == AfterSend::AwaitPager {
            ThreadState::PageFault
        } else {
            ThreadState::Exception
        };
        let message = self.threads[faulter].fault.message;
        self.threads[faulter].set_state(state, receiver.into());
        let registers = &mut self.utcb(receiver).message;
        registers[0] = message[0];
        registers[1] = message[1];
        if tag.words() > 2 {
            registers[2] = message[2];
            registers[3] = message[3];
        }
        if self.machine.enabled_records() != 0 {
            self.threads[faulter].fault.delivered = self.machine.time();
        }
    }

    /// The pager has answered: enters what it maps. Returns the faulter if it goes on.
    #[inline]
    pub(crate) fn answer_page_fault(
        &mut self,
        faulter: ThreadIndex,
        pager: ThreadIndex,
        tag: MessageTag,
    ) -> Option<ThreadIndex> {
        let replied = if self.machine.enabled_records() != 0 { self.machine.time() } else { 0 };
        if tag.label() != 0 {
            self.unresolved(faulter, Unresolved::Refused, tag.0);
            return None;
        }
        match self.map_answer(pager, faulter, tag) {
            Ok(true) => self.threads[faulter].fault.repeated = 0,
            Ok(false) => self.count_useless_answer(faulter),
            Err(error) => {
                self.unresolved(faulter, Unresolved::MapFailed, error as Word);
                return None;
            }
        }
        self.threads[faulter].set_state(ThreadState::Ready, MaybeThread::NOBODY);
        if self.traces(Kind::Resume) {
            self.trace_resume(faulter, Some(pager), replied, tag);
        }
        Some(faulter)
    }

    #[inline]
    pub(crate) fn trace_resume(
        &mut self,
        faulter: ThreadIndex,
        answered_by: Option<ThreadIndex>,
        replied: u64,
        tag: MessageTag,
    ) {
        let time = self.machine.time();
        let mut record = self.new_record(Kind::Resume, time, faulter);
        let fault = &self.threads[faulter].fault;
        record.a = fault.number;
        record.b = fault.delivered;
        record.c = replied;
        record.d = tag.0 as u64;
        record.e = self.ids_of(answered_by);
        self.machine.record(record);
    }

    /// The answer mapped nothing that helps. It may have been helped by other means: only an access
    /// that is still impossible counts.
    #[cold]
    fn count_useless_answer(&mut self, faulter: ThreadIndex) {
        let task = self.task_of(faulter);
        let (address, access) =
            (self.threads[faulter].fault.address, self.threads[faulter].fault.access);
        let entry = self.tasks[task].space.page_entry(&mut self.machine, address);
        let helped = entry.is_present() && suffices(entry.rights(), access);
        let fault = &mut self.threads[faulter].fault;
        fault.repeated = if helped { 0 } else { fault.repeated + 1 };
    }

    /// Nobody resolves the fault of `faulter`: records that, and leaves the thread to its exception
    /// handler. `answer` is the pager's tag or the error of the IPC.
    #[cold]
    pub(crate) fn unresolved(&mut self, faulter: ThreadIndex, reason: Unresolved, answer: Word) {
        if self.traces(Kind::Unresolved) {
            let pager = self.fault_gate(faulter, self.threads[faulter].pager);
            let time = self.machine.time();
            let mut record = self.new_record(Kind::Unresolved, time, faulter);
            let fault = &self.threads[faulter].fault;
            record.flags = reason as u8;
            record.order = fault.access.bits();
            record.a = fault.address as u64;
            record.b = fault.instruction as u64;
            record.c = self.ids_of(pager.map(|gate| gate.thread));
            record.d = fault.number;
            record.e = answer as u64;
            self.machine.record(record);
        }
        let error_code = self.threads[faulter].fault.access.bits().into();
        self.raise(faulter, PAGE_FAULT_VECTOR, error_code);
    }

    /// The pager of a waiting faulter took the message and will never answer.
    pub(crate) fn lose_pager_reply(&mut self, faulter: ThreadIndex) {
        self.unresolved(faulter, Unresolved::ReplyLost, IpcError::ReplyLost as Word);
    }

    /// The pager that a faulter queues at is gone.
    pub(crate) fn lose_pager(&mut self, faulter: ThreadIndex) {
        self.unresolved(faulter, Unresolved::NoPager, IpcError::NoPartner as Word);
    }
}

/// Whether a page with `rights` allows `access`.
#[inline]
pub(crate) fn suffices(rights: Rights, access: Access) -> bool {
    let writes = access.contains(Access::WRITE);
    let executes = access.contains(Access::EXECUTE);
    !(writes && !rights.contains(Rights::WRITE) || executes && !rights.contains(Rights::EXECUTE))
}
