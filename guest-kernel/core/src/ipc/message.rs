//! Sending, receiving, calling, replying.
//!
//! A send finds its receiver waiting, and then the message goes over and the processor with it; or
//! it does not, and then the sender queues at the receiver. Nobody is ever stopped half-way.

use crate::{
    ipc::transfer::{Stopped, Transfer},
    mapping::stretch::Preempted,
    memory::{
        index::{MaybeThread, ThreadIndex},
        machine::Machine,
    },
    threads::{
        gate::Destination,
        kernel::Kernel,
        next::{Next, SystemCall},
        state::{AfterSend, PendingMessage, Question, State},
    },
};
use protocol::{
    Word,
    error::{IpcError, IpcFailure},
    introspection::{
        ThreadState,
        record::{Kind, Message},
    },
    message::MessageTag,
    syscall::Timeout,
};

impl<M: Machine> Kernel<M> {
    /// Sends to a thread, or waits until it can.
    pub(crate) fn send_or_queue(
        &mut self,
        call: SystemCall,
        destination: Destination,
        then: AfterSend,
    ) -> Next {
        let Destination { thread: receiver, label, gate } = destination;
        let answer_within = call.timeouts.receive();
        let message = PendingMessage { tag: call.tag, label, gate, then, answer_within };
        if self.threads[receiver].accepts(call.caller) {
            self.send(call, receiver, message)
        } else {
            self.queue_message(call, receiver, message)
        }
    }

    /// Sends to a thread that waits for it.
    fn send(&mut self, call: SystemCall, receiver: ThreadIndex, message: PendingMessage) -> Next {
        let (sender, PendingMessage { tag, label, then, answer_within, .. }) =
            (call.caller, message);
        let transfer = Transfer::of_sender(sender, receiver);
        match self.transfer(transfer, tag, label) {
            Ok(()) => {}
            Err(Stopped::Failed(error)) => return self.refuse(call, error),
            Err(Stopped::Preempted) if self.threads[receiver].accepts_all() => {
                return self.hand_over(sender, receiver, message);
            }
            // Nobody else can send to it.
            Err(Stopped::Preempted) => return Next::Restart(call),
        }
        self.leave_queue(receiver);
        self.threads[receiver].enter(State::Ready);
        self.threads[receiver].context.set_result(tag, label);
        if self.threads[sender].caller == receiver.into() {
            // It waited for an answer, and takes this for one.
            self.threads[sender].caller = MaybeThread::NOBODY;
        }
        if let AfterSend::Await(answer_to) = then {
            self.threads[sender].enter(State::Awaiting { answer_to, of: Some(receiver) });
            self.accept_call(receiver, sender);
            if answer_within != Timeout::NEVER {
                self.limit_answer(sender, answer_within);
            }
            Next::Switch(receiver)
        } else {
            self.threads[sender].context.set_result(MessageTag::default(), 0);
            self.ready.push_back(&mut self.threads, receiver);
            Next::Best
        }
    }

    /// A message to a thread that waits for anybody was left at a preemption point. So that no other
    /// message gets in between, it is the receiver who goes on with it: as if the sender had queued, and
    /// the receiver taken the message then.
    #[cold]
    fn hand_over(
        &mut self,
        sender: ThreadIndex,
        receiver: ThreadIndex,
        message: PendingMessage,
    ) -> Next {
        self.hand_over_undertaking(sender, receiver);
        let call = self.leave_open_wait(receiver);
        self.begin_to_wait(sender, State::Sending { to: receiver, message }, true);
        Next::Restart(call)
    }

    /// A thread waits for anybody no longer. Returns the system call that it was in, for it to begin again.
    pub(crate) fn leave_open_wait(&mut self, receiver: ThreadIndex) -> SystemCall {
        let deadline = self.deadline_of(receiver);
        let receive = deadline.map_or(Timeout::NEVER, |deadline| {
            self.threads[receiver].note_deadline(deadline);
            Timeout::BEGUN
        });
        self.threads[receiver].enter(State::Ready);
        SystemCall::open_wait(receiver, receive)
    }

    /// The sender waits in the receiver's queue, or fails if it must not wait.
    fn queue_message(
        &mut self,
        call: SystemCall,
        receiver: ThreadIndex,
        message: PendingMessage,
    ) -> Next {
        if call.caller == receiver || self.threads[receiver].is(ThreadState::Stopped) {
            return self.refuse(call, IpcError::NoPartner);
        }
        let state = State::Sending { to: receiver, message };
        self.wait_in(call, state, call.timeouts.send(), IpcError::SendTimeout)
    }

    /// Answers the last caller, then waits for the next message.
    pub(crate) fn reply_and_wait(&mut self, call: SystemCall) -> Next {
        let Ok(answered) = self.reply(call.caller, call.tag) else { return Next::Restart(call) };
        self.wait_after_answer(call, answered)
    }

    /// An answer was given, and `answered` goes on; then its server waits for the next message.
    pub(crate) fn wait_after_answer(
        &mut self,
        call: SystemCall,
        answered: Option<ThreadIndex>,
    ) -> Next {
        let thread = &self.threads[call.caller];
        let is_idle = thread.caller == MaybeThread::NOBODY && thread.has_nothing_to_take();
        if is_idle && call.timeouts.receive() == Timeout::NEVER {
            self.abandon(call.caller);
            self.threads[call.caller].enter(State::Receiving);
            return Next::switch(answered);
        }
        if let Some(answered) = answered {
            self.ready.push_back(&mut self.threads, answered);
        }
        match self.wait(call.wait()) {
            Next::Current => Next::Best,
            next => next,
        }
    }

    /// Answers the last caller.
    pub(crate) fn reply_and_go_on(&mut self, call: SystemCall) -> Next {
        let Ok(answered) = self.reply(call.caller, call.tag) else { return Next::Restart(call) };
        self.go_on_after_answer(call, answered)
    }

    /// The same, and its server goes on.
    pub(crate) fn go_on_after_answer(
        &mut self,
        call: SystemCall,
        answered: Option<ThreadIndex>,
    ) -> Next {
        // Whatever else it had begun: nobody may be there any more to be answered.
        self.abandon(call.caller);
        self.threads[call.caller].context.set_result(MessageTag::default(), 0);
        if let Some(answered) = answered {
            self.ready.push_back(&mut self.threads, answered);
        }
        Next::Best
    }

    /// Answers the last caller. Returns it, ready but not queued, if it goes on now.
    fn reply(
        &mut self,
        server: ThreadIndex,
        tag: MessageTag,
    ) -> Result<Option<ThreadIndex>, Preempted> {
        let Some(caller) = self.threads[server].caller.take() else { return Ok(None) };
        if caller == server || !self.threads[caller].waits_for(server) {
            return Ok(None);
        }
        let answered = self.answer(Transfer::of_sender(server, caller), tag);
        if answered.is_err() {
            self.threads[server].caller = caller.into();
        }
        answered
    }

    /// Answers a thread that waits for that. Returns it, ready but not queued, if it goes on now.
    pub(crate) fn answer(
        &mut self,
        transfer: Transfer,
        tag: MessageTag,
    ) -> Result<Option<ThreadIndex>, Preempted> {
        let Transfer { sender: server, receiver: caller, .. } = transfer;
        let State::Awaiting { answer_to, .. } = self.threads[caller].state() else {
            return Ok(None);
        };
        match answer_to {
            Question::Call => {}
            Question::PageFault | Question::PortFault => {
                let is_traced = self.mappings.machine.enabled_records() != 0;
                let replied = if is_traced { self.mappings.machine.time() } else { 0 };
                return self.resolve_or_not(transfer, tag, replied);
            }
            Question::Exception => return Ok(self.answer_exception(caller, server, tag)),
        }
        match self.transfer(transfer, tag, 0) {
            Ok(()) => self.threads[caller].context.set_result(tag, 0),
            Err(Stopped::Failed(error)) => self.fail(caller, error),
            Err(Stopped::Preempted) => return Err(Preempted),
        }
        self.threads[caller].enter(State::Ready);
        Ok(Some(caller))
    }

    /// Waits for a message from anybody. A caller that was not answered loses its reply.
    pub(crate) fn wait(&mut self, call: SystemCall) -> Next {
        let receiver = call.caller;
        if let Some(unanswered) = self.threads[receiver].caller.take() {
            self.lose_reply(unanswered, receiver);
        }
        // A message that was begun goes on first.
        if let Some(gate) = self.threads[receiver].news.first()
            && !self.is_receiving(receiver)
            && !self.comes_behind_senders(receiver, gate)
        {
            return self.take_news(call, gate);
        }
        let first = self.threads[receiver].senders.first();
        let message = first.and_then(|sender| self.threads[sender].message_to(receiver));
        match (first, message) {
            (Some(sender), Some(message)) => self.take_message(call, sender, message),
            _ => self.await_message(call, State::Receiving),
        }
    }

    /// Waits for a message from one thread only.
    pub(crate) fn receive_from_one(&mut self, call: SystemCall, from: Destination) -> Next {
        let (receiver, partner) = (call.caller, from.thread);
        if let Some(message) = self.threads[partner].message_to(receiver) {
            return self.take_message(call, partner, message);
        }
        // Who waits for itself sleeps: nothing comes, so there must be an end to that.
        let is_vain = partner == receiver && call.timeouts.receive() == Timeout::NEVER;
        if is_vain || self.threads[partner].is(ThreadState::Stopped) {
            return self.refuse(call, IpcError::NoPartner);
        }
        self.await_message(call, State::ReceivingFrom { from: partner, gate: from.gate })
    }

    fn await_message(&mut self, call: SystemCall, state: State) -> Next {
        self.wait_in(call, state, call.timeouts.receive(), IpcError::Timeout)
    }

    /// The caller of a system call waits, or fails if its time is over.
    #[inline(always)]
    fn wait_in(
        &mut self,
        call: SystemCall,
        state: State,
        timeout: Timeout,
        error: IpcError,
    ) -> Next {
        if timeout != Timeout::NEVER {
            return self.wait_within(call, state, timeout, error);
        }
        self.abandon(call.caller);
        self.begin_to_wait(call.caller, state, false);
        Next::Other
    }

    #[cold]
    #[inline(never)]
    fn wait_within(
        &mut self,
        call: SystemCall,
        state: State,
        timeout: Timeout,
        error: IpcError,
    ) -> Next {
        let Ok(deadline) = self.deadline(call.caller, timeout) else {
            return self.refuse(call, error);
        };
        self.abandon(call.caller);
        self.begin_to_wait(call.caller, state, false);
        self.wait_until(call.caller, deadline);
        Next::Other
    }

    /// Delivers the message of a sender that is queued, to the receiver that now asks for it. If it fails,
    /// only the sender learns that, and the receiver asks again.
    fn take_message(
        &mut self,
        call: SystemCall,
        sender: ThreadIndex,
        message: PendingMessage,
    ) -> Next {
        let receiver = call.caller;
        let PendingMessage { tag, label, then, answer_within, .. } = message;
        match then {
            AfterSend::Continue | AfterSend::Await(Question::Call) => {
                let transfer = Transfer::of_receiver(sender, receiver);
                match self.transfer(transfer, tag, label) {
                    Ok(()) => {}
                    Err(Stopped::Failed(error)) => {
                        self.leave_queue(sender);
                        self.wake(sender, error);
                        return Next::Restart(call);
                    }
                    Err(Stopped::Preempted) => {
                        // What was begun is taken, however long that takes.
                        self.threads[sender].wait_for_ever();
                        return Next::Restart(call);
                    }
                }
            }
            AfterSend::Await(_) => {
                self.abandon(receiver);
                self.deliver_fault(sender, receiver, tag);
            }
        }
        self.leave_queue(sender);
        match then {
            AfterSend::Continue => {
                self.threads[sender].context.set_result(MessageTag::default(), 0);
                self.make_ready(sender);
            }
            AfterSend::Await(answer_to) => {
                self.threads[sender].enter(State::Awaiting { answer_to, of: Some(receiver) });
                self.accept_call(receiver, sender);
                if answer_within != Timeout::NEVER {
                    self.limit_answer(sender, answer_within);
                }
            }
        }
        self.threads[receiver].context.set_result(tag, label);
        Next::Best
    }

    /// Notes whom the server has to answer. One that it owed an answer before loses it.
    #[inline]
    pub(crate) fn accept_call(&mut self, server: ThreadIndex, caller: ThreadIndex) {
        if let Some(unanswered) = self.threads[server].caller.take() {
            self.lose_reply(unanswered, server);
        }
        self.threads[server].caller = caller.into();
    }

    /// Copies a message; items are mapped or granted on the way.
    #[inline(never)]
    fn transfer(
        &mut self,
        transfer: Transfer,
        tag: MessageTag,
        label: Word,
    ) -> Result<(), Stopped> {
        let Transfer { worker, sender, receiver } = transfer;
        let (from, to) = (self.threads[sender].utcb, self.threads[receiver].utcb);
        // One that goes on has told the receiver of some items already, in their place.
        let begins = tag.items() == 0 || !self.goes_on(worker, transfer.operation(tag));
        let words = tag.words() + if begins { 2 * tag.items() } else { 0 };
        self.mappings.machine.copy_message(from, to, words);
        match tag.items() {
            0 => self.abandon(worker),
            _ => self.transfer_items(transfer, tag)?,
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
        let time = self.mappings.machine.time();
        let [first, second, ..] = self.utcb(receiver).message;
        let event = Message {
            receiver: self.ids_of(Some(receiver)),
            tag,
            gate_label: label as u64,
            words: [first as u64, second as u64],
        };
        self.trace(time, sender, event);
    }

    /// Lets the thread's system call return an error.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, thread: ThreadIndex, failure: impl Into<IpcFailure>) {
        self.abandon(thread);
        self.utcb(thread).error = failure.into().to_word();
        self.threads[thread].context.set_result(MessageTag::ipc_error(), 0);
    }

    /// The same for the one that runs.
    #[cold]
    pub(crate) fn refuse(&mut self, call: SystemCall, failure: impl Into<IpcFailure>) -> Next {
        self.fail(call.caller, failure);
        Next::Current
    }
}
