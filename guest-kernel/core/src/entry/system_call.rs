//! The one way into the kernel and the one way out of it again: an entry leads to a value that says who
//! goes on, and nothing else is left behind.

use crate::{
    entry::quick::{
        ONE_ITEM, UNMAP, has_one_item, is_answer_with_item, is_special, is_unmap, operation,
    },
    mapping::{
        capability::{Object, Slot},
        stretch::Preempted,
    },
    memory::{
        index::{InterruptIndex, MaybeThread, ThreadIndex},
        machine::Machine,
    },
    threads::{
        gate::Destination,
        kernel::Kernel,
        next::{Next, SystemCall},
        state::{AfterSend, Question},
        thread::Thread,
    },
};
use protocol::{
    Word,
    error::IpcError,
    fault::{Access, vector},
    message::MessageTag,
    object::{CapabilityIndex, label},
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
    utcb::MESSAGE_REGISTERS,
};

/// [`Operation::SEND`] with [`Operation::REPLY`]: answer and go on.
const REPLY_ONLY: Word = Operation::SEND.0 | Operation::REPLY.0;

/// How a thread has entered the kernel that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// By a system call, which keeps not all registers.
    BySystemCall,
    /// By something else, of which it does not know.
    ByTrap,
}

impl<M: Machine> Kernel<M> {
    /// The one system call ([`protocol::syscall`]), by the current thread. `leave` is told right away who
    /// is the current thread then if it went a quick path.
    #[inline(always)]
    pub fn take_system_call(
        &mut self,
        target: Word,
        tag: Word,
        timeouts: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        // Who does not wait as long as it takes goes no quick path.
        if timeouts != 0 || !self.mappings.machine.goes_quick() {
            return self.timed_system_call(target, tag, timeouts, leave);
        }
        match self.quick_system_call(target, tag) {
            Some(next) => leave(next, Entered::BySystemCall),
            None if is_answer_with_item(target, tag) => self.answer_with_item(leave),
            None if is_unmap(target, tag) => self.unmap_page(target, leave),
            None => self.other_system_call(target, tag, leave),
        }
    }

    /// A system call that may not wait as long as it takes, or goes no quick path for another reason.
    #[inline(never)]
    fn timed_system_call(
        &mut self,
        target: Word,
        tag: Word,
        timeouts: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        if operation(target) == Operation::CALL
            && !is_special(tag)
            && self.mappings.machine.goes_quick()
        {
            let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
            if let Some(next) = self.quick_timed_call(index, MessageTag(tag), Timeouts(timeouts)) {
                return leave(next, Entered::BySystemCall);
            }
        }
        self.general_system_call(target, tag, timeouts);
    }

    /// A system call that is not among the quickest.
    #[inline(never)]
    fn other_system_call(
        &mut self,
        target: Word,
        tag: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        match operation(target) {
            _ if has_one_item(tag) => self.message_with_item(target, tag, leave),
            _ if is_special(tag) => self.general_system_call(target, tag, 0),
            Operation::SET_ASIDE => self.set_aside_quickly(target, tag, leave),
            Operation::ANSWER_AND_WAIT => self.answer_set_aside(target, tag, leave),
            _ => self.general_system_call(target, tag, 0),
        }
    }

    /// An answer with nothing but one item. It is a function of its own, so that what is asked for most
    /// needs few registers.
    #[inline(never)]
    fn answer_with_item(&mut self, leave: impl FnOnce(&mut Thread, Entered)) {
        match self.quick_answer_to_fault() {
            Some(next) => leave(next, Entered::ByTrap),
            None => self.message_with_item(Operation::REPLY_AND_WAIT.0, ONE_ITEM.0, leave),
        }
    }

    /// The call of a task with one flexpage.
    #[inline(never)]
    fn unmap_page(&mut self, target: Word, leave: impl FnOnce(&mut Thread, Entered)) {
        match self.quick_unmap(CapabilityIndex(target >> CAPABILITY_SHIFT)) {
            Some(next) => leave(next, Entered::BySystemCall),
            None => self.general_system_call(target, UNMAP.0, 0),
        }
    }

    /// Setting an answer aside.
    #[inline(never)]
    fn set_aside_quickly(
        &mut self,
        target: Word,
        tag: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        match self.quick_set_aside(CapabilityIndex(target >> CAPABILITY_SHIFT)) {
            Some(next) => leave(next, Entered::BySystemCall),
            None => self.general_system_call(target, tag, 0),
        }
    }

    /// Giving it.
    #[inline(never)]
    fn answer_set_aside(
        &mut self,
        target: Word,
        tag: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
        match self.quick_later_answer(index, MessageTag(tag)) {
            Some(next) => leave(next, Entered::BySystemCall),
            None => self.general_system_call(target, tag, 0),
        }
    }

    /// A message with one item.
    #[inline(never)]
    fn message_with_item(
        &mut self,
        target: Word,
        tag: Word,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        match self.quick_system_call_with_item(target, tag) {
            Some(next) => leave(next, Entered::BySystemCall),
            None => self.general_system_call(target, tag, 0),
        }
    }

    #[inline(never)]
    fn general_system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        let caller = self.current.expected();
        let tag = MessageTag(tag).without_flags();
        let next = self.perform(SystemCall { caller, target, tag, timeouts: Timeouts(timeouts) });
        self.go_on(next);
    }

    /// The current thread touched `address` in a way that its page tables do not allow. `leave` is as in
    /// [`Self::take_system_call`].
    #[inline(always)]
    pub fn take_page_fault(
        &mut self,
        address: Word,
        access: Access,
        leave: impl FnOnce(&mut Thread, Entered),
    ) {
        if !self.mappings.machine.goes_quick() {
            return self.general_page_fault(address, access);
        }
        match self.quick_page_fault(address, access) {
            Some(next) => leave(next, Entered::BySystemCall),
            None => self.general_page_fault(address, access),
        }
    }

    #[inline(never)]
    fn general_page_fault(&mut self, address: Word, access: Access) {
        let next = self.begin_page_fault(self.current.expected(), address, access);
        self.go_on(next);
    }

    /// The current thread raised a processor exception.
    #[cold]
    #[inline(never)]
    pub fn exception(&mut self, vector: u8, error_code: Word) {
        if let Some(thread) = self.current.get() {
            let next = self.begin_exception(thread, vector, error_code);
            self.go_on(next);
        }
    }

    /// The current thread, which is foreign, has made a system call. All of its registers are in its
    /// context.
    #[cold]
    #[inline(never)]
    pub fn foreign_system_call(&mut self) {
        if let Some(thread) = self.current.get() {
            let time = self.mappings.machine.time();
            let next = self.begin_foreign_call(thread, vector::SYSTEM_CALL, time);
            self.go_on(next);
        }
    }

    /// The timer has come: for those who have waited long enough, or because the turn of the current thread
    /// is over and the next one of the same priority gets the processor.
    pub fn timer_interrupt(&mut self) {
        let next = self.expire();
        self.leave_to(next);
        if self.is_due() {
            self.mappings.stretch.begin(&mut self.mappings.machine);
            self.work_off();
        }
    }

    /// An interrupt has come, and its controller masks it from now on.
    pub fn interrupt_came(&mut self, interrupt: InterruptIndex) {
        self.note_interrupt(interrupt);
        self.preempt();
    }

    #[inline(always)]
    fn go_on(&mut self, next: Next) {
        if self.is_due() {
            return self.settle_and_go_on(next);
        }
        self.leave_to(next);
    }

    #[cold]
    #[inline(never)]
    fn settle_and_go_on(&mut self, next: Next) {
        self.settle();
        self.leave_to(next);
        self.mappings.stretch.begin_alone(&mut self.mappings.machine);
        self.work_off();
    }

    /// Objects end that no system call takes apart: some of that each time that the kernel is left, more at
    /// the end of a time slice, and all of it before the processor idles.
    #[cold]
    #[inline(never)]
    fn work_off(&mut self) {
        loop {
            let is_done = self.dismantle(None).is_ok();
            self.mappings.stretch.end(&mut self.mappings.machine, !is_done);
            self.settle();
            self.preempt();
            if self.mappings.stretch.take_tick() {
                let next = self.expire();
                self.leave_to(next);
            }
            if self.current != MaybeThread::NOBODY || !self.is_due() {
                return;
            }
            self.mappings.stretch.begin(&mut self.mappings.machine);
        }
    }

    #[inline(always)]
    fn leave_to(&mut self, next: Next) {
        match next {
            Next::Current => {}
            Next::Switch(thread) => self.run(thread),
            Next::Other => self.schedule(),
            Next::Best => self.preempt(),
            Next::Yield => self.yield_current(),
            Next::Restart(call) => self.restart(call),
        }
    }

    /// Lets a system call begin again once its caller runs, which others may do before.
    #[cold]
    #[inline(never)]
    fn restart(&mut self, call: SystemCall) {
        let SystemCall { caller, target, tag, timeouts } = call;
        let timeouts =
            if timeouts == Timeouts::NEVER { timeouts } else { self.begun_timeouts(call) };
        self.threads[caller].context.restart_system_call(target, tag.0, timeouts.0);
        if self.mappings.stretch.take_tick() {
            // Whatever the timer has come for: others have waited long enough.
            self.ready.push_back(&mut self.threads, caller);
            self.current = MaybeThread::NOBODY;
            let next = self.expire();
            self.leave_to(next);
        } else {
            self.run(caller);
        }
    }

    /// Does what a system call asks for.
    fn perform(&mut self, call: SystemCall) -> Next {
        let (words, items) = (call.tag.words(), call.tag.items());
        let too_long = items != 0 && words + 2 * items > MESSAGE_REGISTERS;
        if too_long || !call.timeouts.is_valid() {
            return self.refuse(call, IpcError::InvalidArgument);
        }
        match call.operation() {
            Operation::SEND => self.send_to_slot(call, AfterSend::Continue),
            Operation::CALL => self.send_to_slot(call, AfterSend::Await(Question::Call)),
            Operation::REPLY_AND_WAIT => self.reply_and_wait(call),
            Operation::WAIT => self.wait(call),
            Operation::RECEIVE => self.receive(call),
            Operation(REPLY_ONLY) => self.reply_and_go_on(call),
            Operation::ANSWER_AND_WAIT => self.answer_and_wait(call),
            Operation::SET_ASIDE => self.set_aside(call),
            _ => self.refuse(call, IpcError::InvalidArgument),
        }
    }

    /// The slot that a system call names.
    fn slot(&mut self, call: SystemCall) -> Slot {
        let task = self.task_of(call.caller);
        self.mappings.tasks[task].capabilities.slot(&mut self.mappings.machine, call.capability())
    }

    /// Sends to whatever a slot holds.
    fn send_to_slot(&mut self, call: SystemCall, then: AfterSend) -> Next {
        let slot = self.slot(call);
        let Some(capability) = slot.capability() else {
            return self.refuse(call, IpcError::NoPartner);
        };
        let destination = match capability.object {
            Object::Gate(gate) => Destination::of(gate, &self.gates[gate]),
            Object::Thread(thread) if call.tag.label() != label::THREAD => {
                Some(Destination::thread(thread))
            }
            Object::Reply(caller) if then == AfterSend::Continue => {
                return self.answer_and_go_on(call, caller);
            }
            _ => return self.invoke_object(call, slot),
        };
        match destination {
            Some(destination) => self.send_or_queue(call, destination, then),
            None => self.refuse(call, IpcError::NoPartner),
        }
    }

    /// Answers whoever waits for the answer that a slot holds, then waits for a message.
    fn answer_and_wait(&mut self, call: SystemCall) -> Next {
        match self.slot(call).capability().map(|capability| capability.object) {
            Some(Object::Reply(caller)) => match self.answer_later(call, caller) {
                Ok(answered) => self.wait_after_answer(call, answered),
                Err(Preempted) => Next::Restart(call),
            },
            Some(_) => self.refuse(call, IpcError::InvalidArgument),
            None => self.refuse(call, IpcError::NoPartner),
        }
    }

    /// The same, and goes on.
    fn answer_and_go_on(&mut self, call: SystemCall, caller: ThreadIndex) -> Next {
        match self.answer_later(call, caller) {
            Ok(answered) => self.go_on_after_answer(call, answered),
            Err(Preempted) => Next::Restart(call),
        }
    }

    /// Waits for a message from whoever a slot names.
    fn receive(&mut self, call: SystemCall) -> Next {
        let destination = match self.slot(call).capability().map(|capability| capability.object) {
            Some(Object::Gate(gate)) => Destination::of(gate, &self.gates[gate]),
            Some(Object::Thread(thread)) => Some(Destination::thread(thread)),
            // From itself: it sleeps.
            _ if call.capability() == CapabilityIndex::NIL => {
                Some(Destination::thread(call.caller))
            }
            _ => None,
        };
        match destination {
            Some(destination) => self.receive_from_one(call, destination),
            None => self.refuse(call, IpcError::NoPartner),
        }
    }
}
