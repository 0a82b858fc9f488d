//! The system call: sending, receiving, calling, replying.
//!
//! A send finds its receiver waiting, and then the message goes over and the processor with it; or
//! it does not, and then the sender queues at the receiver. Nobody is ever stopped half-way.

use crate::{
    capability::{Object, Slot},
    index::{MaybeThread, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    map::Stopped,
    restart,
    thread::{AfterSend, PendingMessage},
};
use protocol::{
    Word,
    error::IpcError,
    introspection::{ThreadState, record::Kind},
    message::MessageTag,
    object::{CapabilityIndex, label},
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
    utcb::{MESSAGE_REGISTERS, Utcb},
};

const OPERATION_MASK: Word = 0xf;

/// [`Operation::SEND`] with [`Operation::REPLY`]: answer and go on.
const REPLY_ONLY: Word = Operation::SEND.0 | Operation::REPLY.0;

impl<M: Machine> Kernel<M> {
    /// The one system call ([`protocol::syscall`]), by the current thread.
    #[inline(always)]
    pub fn system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        let caller = self.current.expected();
        let index = CapabilityIndex(target >> CAPABILITY_SHIFT);
        let tag = MessageTag(tag).without_flags();
        let timeouts = Timeouts(timeouts);
        if tag.items() != 0 {
            self.arguments = [target, tag.0, timeouts.0];
        }
        let too_long = tag.items() != 0 && tag.words() + 2 * tag.items() > MESSAGE_REGISTERS;
        if too_long || !timeouts.is_valid() {
            return self.fail(caller, IpcError::InvalidArgument);
        }
        match Operation(target & OPERATION_MASK) {
            Operation::REPLY_AND_WAIT => self.reply_and_wait(caller, tag, timeouts),
            Operation::CALL => self.call(caller, index, tag, timeouts),
            operation => self.rarer_system_call(caller, operation, index, tag, timeouts),
        }
    }

    #[inline(never)]
    fn rarer_system_call(
        &mut self,
        caller: ThreadIndex,
        operation: Operation,
        index: CapabilityIndex,
        tag: MessageTag,
        timeouts: Timeouts,
    ) {
        self.arguments = [index.0 << CAPABILITY_SHIFT | operation.0, tag.0, timeouts.0];
        match operation {
            Operation::SEND => {
                let task = self.task_of(caller);
                let slot = self.tasks[task].capabilities.slot(&mut self.machine, index);
                self.invoke(caller, slot, tag, timeouts, AfterSend::Continue);
            }
            Operation::WAIT => self.wait(caller, timeouts),
            Operation::RECEIVE => self.receive_from(caller, index, timeouts),
            Operation(REPLY_ONLY) => self.reply_and_go_on(caller, tag),
            _ => self.fail(caller, IpcError::InvalidArgument),
        }
        self.preempt();
    }

    /// Sends and waits for the answer. A call to a gate whose thread waits is the hot path.
    #[inline(always)]
    fn call(
        &mut self,
        caller: ThreadIndex,
        index: CapabilityIndex,
        tag: MessageTag,
        timeouts: Timeouts,
    ) {
        let task = self.task_of(caller);
        let slot = self.tasks[task].capabilities.slot(&mut self.machine, index);
        if let Some(gate) = slot.gate() {
            let gate = self.gates[gate];
            return self.call_thread(caller, gate.thread(), gate.label(), tag, timeouts);
        }
        if slot.protocol() == tag.label() && tag.words() != 0 {
            let target = index.0 << CAPABILITY_SHIFT | Operation::CALL.0;
            return self.invoke_object(caller, slot, tag, [target, tag.0, timeouts.0]);
        }
        self.invoke(caller, slot, tag, timeouts, AfterSend::AwaitReply);
    }

    #[inline(always)]
    fn call_thread(
        &mut self,
        caller: ThreadIndex,
        receiver: ThreadIndex,
        label: Word,
        tag: MessageTag,
        timeouts: Timeouts,
    ) {
        let Some((from, to)) = self.threads.pair(caller, receiver) else {
            return self.fail(caller, IpcError::NoPartner);
        };
        if !to.accepts(caller) {
            let pending = PendingMessage { tag, label, then: AfterSend::AwaitReply };
            return self.queue_message(caller, receiver, pending, timeouts);
        }
        if tag.items() != 0 || self.machine.records(Kind::Message) {
            if tag.items() != 1 || !self.call_with_one_page(caller, receiver, label, tag) {
                self.send(caller, receiver, label, tag, AfterSend::AwaitReply);
            }
            return;
        }
        if tag.words() != 0 {
            self.machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        from.set_state(ThreadState::Receiving, receiver.into());
        let called = to.take_call(caller, tag, label);
        self.run_called(receiver, called);
    }

    /// Leaves the processor to a thread that has taken a call. `called` is what that returned: whom it
    /// owed an answer before, and its priority.
    #[inline(always)]
    pub(crate) fn run_called(&mut self, receiver: ThreadIndex, called: (MaybeThread, u8)) {
        let (unanswered, priority) = called;
        if let Some(unanswered) = unanswered.get() {
            self.lose_reply(unanswered, receiver);
        }
        self.run_at(receiver, priority);
    }

    /// Sends to whatever a slot holds.
    #[inline(never)]
    fn invoke(
        &mut self,
        sender: ThreadIndex,
        slot: Slot,
        tag: MessageTag,
        timeouts: Timeouts,
        then: AfterSend,
    ) {
        let Some(capability) = slot.capability() else {
            return self.fail(sender, IpcError::NoPartner);
        };
        let (receiver, label) = match capability.object {
            Object::Gate(gate) => (self.gates[gate].thread(), self.gates[gate].label()),
            Object::Thread(thread) if tag.label() != label::THREAD => (thread, 0),
            _ => return self.invoke_object(sender, slot, tag, self.arguments),
        };
        if self.threads[receiver].accepts(sender) {
            self.send(sender, receiver, label, tag, then);
        } else {
            self.queue_message(sender, receiver, PendingMessage { tag, label, then }, timeouts);
        }
    }

    /// Sends to a thread that waits for it.
    #[inline(never)]
    fn send(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        label: Word,
        tag: MessageTag,
        then: AfterSend,
    ) {
        match self.transfer(sender, receiver, tag, label) {
            Ok(()) => {}
            Err(Stopped::Failed(error)) => return self.fail(sender, error),
            Err(Stopped::Preempted) => return self.restart(sender),
        }
        self.threads[receiver].set_state(ThreadState::Ready, MaybeThread::NOBODY);
        self.threads[receiver].context.set_result(tag, label);
        if then == AfterSend::AwaitReply {
            self.threads[sender].set_state(ThreadState::Receiving, receiver.into());
            self.accept_call(receiver, sender);
            self.run(receiver);
        } else {
            self.threads[sender].context.set_result(MessageTag::default(), 0);
            self.ready.push_back(&mut self.threads, receiver);
        }
    }

    /// The sender waits in the receiver's queue, or fails if it must not wait.
    #[inline(never)]
    fn queue_message(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        pending: PendingMessage,
        timeouts: Timeouts,
    ) {
        if sender == receiver || self.threads[receiver].is(ThreadState::Stopped) {
            return self.fail(sender, IpcError::NoPartner);
        }
        if timeouts.send_is_zero() {
            return self.fail(sender, IpcError::Timeout);
        }
        self.abandon(sender);
        self.enqueue_sender(sender, receiver, pending);
        self.schedule();
    }

    /// Appends a thread with its message to the receiver's queue.
    pub fn enqueue_sender(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        pending: PendingMessage,
    ) {
        let thread = &mut self.threads[sender];
        thread.pending = pending;
        thread.next_sender = MaybeThread::NOBODY;
        thread.set_state(ThreadState::Sending, receiver.into());
        match self.threads[receiver].senders_tail.get() {
            Some(last) => self.threads[last].next_sender = sender.into(),
            None => self.threads[receiver].senders_head = sender.into(),
        }
        self.threads[receiver].senders_tail = sender.into();
    }

    /// Answers the last caller, then waits for the next message.
    #[inline(always)]
    fn reply_and_wait(&mut self, server: ThreadIndex, tag: MessageTag, timeouts: Timeouts) {
        let answered = self.reply(server, tag);
        let thread = &mut self.threads[server];
        if thread.senders_head != MaybeThread::NOBODY || timeouts.receive_is_zero() {
            self.arguments = [Operation::REPLY_AND_WAIT.0, tag.0, timeouts.0];
            return self.wait_with_answered(server, answered, timeouts);
        }
        thread.set_state(ThreadState::Receiving, MaybeThread::NOBODY);
        match answered {
            Some(answered) => self.run(answered),
            None => self.await_or_restart(server),
        }
    }

    /// There is nobody who goes on, or the answer is not complete yet.
    #[inline(never)]
    fn await_or_restart(&mut self, server: ThreadIndex) {
        if self.preempted {
            self.threads[server].set_state(ThreadState::Ready, MaybeThread::NOBODY);
            return self.restart(server);
        }
        self.schedule();
    }

    /// The server goes on with the next message at once.
    #[inline(never)]
    fn wait_with_answered(
        &mut self,
        server: ThreadIndex,
        answered: Option<ThreadIndex>,
        timeouts: Timeouts,
    ) {
        if self.preempted {
            return self.restart(server);
        }
        if let Some(answered) = answered {
            self.ready.push_back(&mut self.threads, answered);
        }
        self.wait(server, timeouts);
        self.preempt();
    }

    fn reply_and_go_on(&mut self, server: ThreadIndex, tag: MessageTag) {
        let answered = self.reply(server, tag);
        if self.preempted {
            return self.restart(server);
        }
        self.threads[server].context.set_result(MessageTag::default(), 0);
        if let Some(answered) = answered {
            self.ready.push_back(&mut self.threads, answered);
        }
    }

    /// Answers the last caller. Returns it, ready but not queued, if it goes on now.
    #[inline(always)]
    fn reply(&mut self, server: ThreadIndex, tag: MessageTag) -> Option<ThreadIndex> {
        let caller = self.threads[server].caller.take()?;
        let (from, to) = self.threads.pair(server, caller)?;
        if !to.waits_for(server) {
            return None;
        }
        if to.is(ThreadState::PageFault) {
            return self.answer_page_fault(caller, server, tag);
        }
        let plain = tag.items() == 0
            && to.is(ThreadState::Receiving)
            && !self.machine.records(Kind::Message);
        if !plain {
            if tag.items() == 1 && self.reply_with_one_page(server, caller, tag) {
                return Some(caller);
            }
            return self.reply_with_more(server, caller, tag);
        }
        if tag.words() != 0 {
            self.machine.copy_message(from.utcb, to.utcb, tag.words());
        }
        to.context.set_result(tag, 0);
        to.set_state(ThreadState::Ready, MaybeThread::NOBODY);
        Some(caller)
    }

    /// A call with the hot case of an item. False, with nothing done, for every other one.
    #[inline(never)]
    fn call_with_one_page(
        &mut self,
        caller: ThreadIndex,
        receiver: ThreadIndex,
        label: Word,
        tag: MessageTag,
    ) -> bool {
        if self.machine.records(Kind::Message) || !self.transfer_one_page(caller, receiver, tag) {
            return false;
        }
        let Some((from, to)) = self.threads.pair(caller, receiver) else { return false };
        from.set_state(ThreadState::Receiving, receiver.into());
        let called = to.take_call(caller, tag, label);
        self.run_called(receiver, called);
        true
    }

    /// An answer with the hot case of an item. False, with nothing done, for every other answer.
    #[inline(never)]
    fn reply_with_one_page(
        &mut self,
        server: ThreadIndex,
        caller: ThreadIndex,
        tag: MessageTag,
    ) -> bool {
        let is_asked_for = self.threads[caller].is(ThreadState::Receiving)
            && !self.machine.records(Kind::Message)
            && self.transfer_one_page(server, caller, tag);
        if is_asked_for {
            let caller = &mut self.threads[caller];
            caller.context.set_result(tag, 0);
            caller.set_state(ThreadState::Ready, MaybeThread::NOBODY);
        }
        is_asked_for
    }

    /// An answer with items, one that is traced, or one to an exception or a port fault.
    #[inline(never)]
    fn reply_with_more(
        &mut self,
        server: ThreadIndex,
        caller: ThreadIndex,
        tag: MessageTag,
    ) -> Option<ThreadIndex> {
        if !self.threads[caller].is(ThreadState::Receiving) {
            return self.answer_fault(server, caller, tag);
        }
        match self.transfer(server, caller, tag, 0) {
            Ok(()) => self.threads[caller].context.set_result(tag, 0),
            Err(Stopped::Failed(error)) => self.fail(caller, error),
            Err(Stopped::Preempted) => {
                self.threads[server].caller = caller.into();
                return None;
            }
        }
        self.threads[caller].set_state(ThreadState::Ready, MaybeThread::NOBODY);
        Some(caller)
    }

    /// An answer to an exception or a port fault.
    #[cold]
    fn answer_fault(
        &mut self,
        server: ThreadIndex,
        faulter: ThreadIndex,
        tag: MessageTag,
    ) -> Option<ThreadIndex> {
        if self.threads[faulter].is(ThreadState::Exception) {
            self.answer_exception(faulter, server, tag)
        } else if self.threads[faulter].is(ThreadState::PortFault) {
            let replied = self.machine.time();
            self.resolve_or_not(faulter, server, tag, replied)
        } else {
            None
        }
    }

    /// Waits for a message from anybody. A caller that was not answered loses its reply.
    fn wait(&mut self, receiver: ThreadIndex, timeouts: Timeouts) {
        if let Some(unanswered) = self.threads[receiver].caller.take() {
            self.lose_reply(unanswered, receiver);
        }
        while let Some(sender) = self.threads[receiver].senders_head.get() {
            self.dequeue_sender(receiver, sender);
            if self.take_message(receiver, sender) {
                return;
            }
        }
        self.await_message(receiver, MaybeThread::NOBODY, timeouts);
    }

    /// Waits for a message from one thread only.
    fn receive_from(&mut self, receiver: ThreadIndex, index: CapabilityIndex, timeouts: Timeouts) {
        let task = self.task_of(receiver);
        let capability = self.tasks[task].capabilities.get(&mut self.machine, index);
        let partner = match capability.map(|capability| capability.object) {
            Some(Object::Gate(gate)) => self.gates[gate].thread(),
            Some(Object::Thread(thread)) => thread,
            _ => return self.fail(receiver, IpcError::NoPartner),
        };
        let queued = self.threads[partner].is(ThreadState::Sending)
            && self.threads[partner].waits_for(receiver);
        if queued {
            self.dequeue_sender(receiver, partner);
            if self.take_message(receiver, partner) {
                return;
            }
        }
        if partner == receiver || self.threads[partner].is(ThreadState::Stopped) {
            return self.fail(receiver, IpcError::NoPartner);
        }
        self.await_message(receiver, partner.into(), timeouts);
    }

    fn await_message(&mut self, receiver: ThreadIndex, from: MaybeThread, timeouts: Timeouts) {
        if timeouts.receive_is_zero() {
            return self.fail(receiver, IpcError::Timeout);
        }
        self.threads[receiver].set_state(ThreadState::Receiving, from);
        self.schedule();
    }

    /// Takes a sender out of the receiver's queue.
    pub fn dequeue_sender(&mut self, receiver: ThreadIndex, sender: ThreadIndex) {
        let next = self.threads[sender].next_sender;
        self.threads[sender].next_sender = MaybeThread::NOBODY;
        let mut previous = MaybeThread::NOBODY;
        let mut walk = self.threads[receiver].senders_head;
        while let Some(thread) = walk.get()
            && thread != sender
        {
            previous = walk;
            walk = self.threads[thread].next_sender;
        }
        match previous.get() {
            Some(previous) => self.threads[previous].next_sender = next,
            None => self.threads[receiver].senders_head = next,
        }
        if next == MaybeThread::NOBODY {
            self.threads[receiver].senders_tail = previous;
        }
    }

    /// Makes a sender the first in the receiver's queue again.
    fn put_back_sender(&mut self, receiver: ThreadIndex, sender: ThreadIndex) {
        let first = self.threads[receiver].senders_head;
        self.threads[sender].next_sender = first;
        self.threads[receiver].senders_head = sender.into();
        if first == MaybeThread::NOBODY {
            self.threads[receiver].senders_tail = sender.into();
        }
    }

    /// Delivers the message of a sender that was queued, to the receiver that now asks for it.
    /// False if it failed, which only the sender learns.
    fn take_message(&mut self, receiver: ThreadIndex, sender: ThreadIndex) -> bool {
        let PendingMessage { tag, label, then } = self.threads[sender].pending;
        match then {
            AfterSend::AwaitPager | AfterSend::AwaitHandler => {
                self.deliver_fault(sender, receiver, tag, then);
            }
            AfterSend::Continue | AfterSend::AwaitReply => {
                match self.transfer(sender, receiver, tag, label) {
                    Ok(()) => {}
                    Err(Stopped::Failed(error)) => {
                        self.fail(sender, error);
                        self.make_ready(sender);
                        return false;
                    }
                    Err(Stopped::Preempted) => {
                        self.put_back_sender(receiver, sender);
                        self.restart(receiver);
                        return true;
                    }
                }
            }
        }
        match then {
            AfterSend::Continue => {
                self.threads[sender].context.set_result(MessageTag::default(), 0);
                self.make_ready(sender);
            }
            AfterSend::AwaitReply => {
                self.threads[sender].set_state(ThreadState::Receiving, receiver.into());
                self.accept_call(receiver, sender);
            }
            AfterSend::AwaitPager | AfterSend::AwaitHandler => self.accept_call(receiver, sender),
        }
        self.threads[receiver].context.set_result(tag, label);
        true
    }

    /// Notes whom the server has to answer. One that it owed an answer before loses it.
    #[inline]
    pub fn accept_call(&mut self, server: ThreadIndex, caller: ThreadIndex) {
        if let Some(unanswered) = self.threads[server].caller.take() {
            self.lose_reply(unanswered, server);
        }
        self.threads[server].caller = caller.into();
    }

    /// Tells a thread that waits for the answer of `server` that it will never come.
    #[cold]
    #[inline(never)]
    pub fn lose_reply(&mut self, waiting: ThreadIndex, server: ThreadIndex) {
        if !self.threads[waiting].waits_for(server) {
            return;
        }
        let thread = &self.threads[waiting];
        if thread.is(ThreadState::PageFault) || thread.is(ThreadState::PortFault) {
            self.lose_pager_reply(waiting);
        } else if self.threads[waiting].is(ThreadState::Exception) {
            self.lose_handler_reply(waiting);
        } else if self.threads[waiting].is(ThreadState::Receiving) {
            self.fail(waiting, IpcError::ReplyLost);
            self.make_ready(waiting);
        }
    }

    /// Copies a message; items are mapped or granted on the way.
    #[inline(never)]
    fn transfer(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
        label: Word,
    ) -> Result<(), Stopped> {
        let words = tag.words() + 2 * tag.items();
        let (from, to) = (self.threads[sender].utcb, self.threads[receiver].utcb);
        if tag.items() == 0 {
            self.machine.copy_message(from, to, words);
        } else {
            // A transfer that goes on has told the receiver of some items already.
            if !self.goes_on(restart::Operation::Transfer { sender, receiver }) {
                self.machine.copy_message(from, to, words);
            }
            self.transfer_items(sender, receiver, tag)?;
        }
        if self.traces(Kind::Message) {
            self.trace_message(sender, receiver, tag, label);
        }
        Ok(())
    }

    #[cold]
    fn trace_message(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        tag: MessageTag,
        label: Word,
    ) {
        let time = self.machine.time();
        let mut record = self.new_record(Kind::Message, time, sender);
        let message = &self.utcb(receiver).message;
        let (first, second) = (message[0], message[1]);
        record.flags = tag.words() as u8;
        record.a = self.ids_of(Some(receiver));
        record.b = tag.widened();
        record.c = label as u64;
        record.d = first as u64;
        record.e = second as u64;
        self.machine.record(record);
    }

    /// The message registers of a thread.
    #[inline]
    pub fn utcb(&mut self, thread: ThreadIndex) -> &mut Utcb {
        self.machine.utcb(self.threads[thread].utcb)
    }

    /// Lets the thread's system call return an error.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, thread: ThreadIndex, error: IpcError) {
        self.abandon(thread);
        self.utcb(thread).error = error as Word;
        self.threads[thread].context.set_result(MessageTag::ipc_error(), 0);
    }

    /// Stops a thread for good: whoever waits for it learns that.
    pub fn stop(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        self.threads[thread].set_state(ThreadState::Stopped, MaybeThread::NOBODY);
        if let Some(caller) = self.threads[thread].caller.take() {
            self.lose_reply(caller, thread);
        }
        while let Some(sender) = self.threads[thread].senders_head.get() {
            self.dequeue_sender(thread, sender);
            match self.threads[sender].pending.then {
                AfterSend::AwaitPager => self.lose_pager(sender),
                AfterSend::AwaitHandler => self.stop(sender),
                AfterSend::Continue | AfterSend::AwaitReply => {
                    self.fail(sender, IpcError::NoPartner);
                    self.make_ready(sender);
                }
            }
        }
        // Without sigma0 or the root task nobody could ever end the machine.
        if matches!(self.task_of(thread), TaskIndex::SIGMA0 | TaskIndex::ROOT) {
            self.machine.shut_down(crate::start::STATUS_ROOT_STOPPED);
        }
    }
}
