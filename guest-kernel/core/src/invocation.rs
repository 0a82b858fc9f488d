//! Operations on kernel objects other than IPC: decoding, checking, answering.

use crate::{
    capability::{Capability, Object, Slot},
    factory::require,
    index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    restart::Operation,
    stretch::Preempted,
    system_call::{Next, SystemCall},
    thread::UtcbReference,
};
use protocol::{
    Word,
    boot::pad_name,
    error::{IpcError, ObjectError},
    flexpage::{Flexpage, Rights},
    introspection::{
        NAME_LENGTH, NOBODY, ThreadState,
        record::{Kind, MapStatus, Record, head_of, ids},
    },
    layout::USER_END,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, console, debugger, factory, platform, scheduler, task, thread},
    utcb::{MESSAGE_REGISTERS, SELF_OFFSET},
};

/// What an operation returns.
pub(crate) struct Reply {
    /// Message registers.
    words: usize,
    next: Next,
}

impl Reply {
    /// So many message registers, and nobody else has become ready.
    pub(crate) const fn words(words: usize) -> Self {
        Self { words, next: Next::Current }
    }
}

/// Why an operation returns nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed.
    Error(ObjectError),
    /// It was left at a preemption point.
    Preempted,
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Error(error)
    }
}

impl From<Preempted> for Failure {
    fn from(_: Preempted) -> Self {
        Self::Preempted
    }
}

pub(crate) type Answer = Result<Reply, Failure>;

const NOTHING: Answer = Ok(Reply::words(0));

impl<M: Machine> Kernel<M> {
    /// Invokes an object that is no IPC partner.
    #[inline(always)]
    pub(crate) fn invoke_object(&mut self, call: SystemCall, slot: Slot) -> Next {
        let SystemCall { caller, tag, .. } = call;
        let answer = if slot.protocol() != tag.label() {
            ObjectError::BadProtocol.tag()
        } else if tag.words() == 0 {
            ObjectError::MessageTooShort.tag()
        } else if slot.is_debugger() && self.utcb(caller).message[0] == debugger::NULL {
            MessageTag::default()
        } else {
            return self.object_operation(call, slot);
        };
        self.threads[caller].context.set_result(answer, 0);
        Next::Current
    }

    #[inline(never)]
    fn object_operation(&mut self, call: SystemCall, slot: Slot) -> Next {
        let SystemCall { caller, tag, .. } = call;
        if let Some(task) = slot.modifiable_task()
            && self.unmap_one_page(caller, task, tag)
        {
            return Next::Current;
        }
        let (answer, next) = match self.dispatch(caller, slot, tag) {
            Ok(Reply { words, next }) => (MessageTag::new(0, words, 0), next),
            Err(Failure::Error(error)) => (error.tag(), Next::Current),
            Err(Failure::Preempted) => return Next::Restart(call),
        };
        self.threads[caller].context.set_result(answer, 0);
        next
    }

    fn dispatch(&mut self, caller: ThreadIndex, slot: Slot, tag: MessageTag) -> Answer {
        let capability = slot.capability().ok_or(ObjectError::BadProtocol)?;
        let rights = capability.rights;
        match capability.object {
            Object::Debugger => self.debugger_operation(caller, tag),
            Object::Thread(thread) => self.thread_operation(caller, thread, rights, tag),
            Object::Task(task) => self.task_operation(caller, task, rights, tag),
            Object::Factory(factory) => self.factory_operation(caller, factory, rights, tag),
            Object::Console => self.console_operation(caller, tag),
            Object::Scheduler => self.scheduler_operation(caller, tag),
            Object::Platform => self.platform_operation(caller, tag),
            Object::Gate(_) => Err(ObjectError::BadProtocol.into()),
        }
    }

    /// The first `N` message registers, if the message has as many.
    #[inline(always)]
    fn arguments<const N: usize>(
        &mut self,
        caller: ThreadIndex,
        tag: MessageTag,
    ) -> Result<[Word; N], ObjectError> {
        if tag.words() < N {
            return Err(ObjectError::MessageTooShort);
        }
        let message = &self.utcb(caller).message;
        Ok(core::array::from_fn(|register| message[register]))
    }

    pub(crate) fn capability(
        &mut self,
        caller: ThreadIndex,
        index: Word,
    ) -> Result<Capability, ObjectError> {
        let task = self.task_of(caller);
        let index = CapabilityIndex(index);
        let found = self.tasks[task].capabilities.get(&mut self.machine, index);
        found.ok_or(ObjectError::NoSuchCapability)
    }

    fn debugger_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let [operation] = self.arguments(caller, tag)?;
        match operation {
            debugger::NULL => NOTHING,
            debugger::SET_NAME => self.set_name(caller, tag),
            _ => Err(ObjectError::UnknownOperation.into()),
        }
    }

    #[inline(never)]
    fn set_name(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let [_, index, image, length] = self.arguments(caller, tag)?;
        let length = length.min(NAME_LENGTH);
        if tag.words() < 4 + length.div_ceil(size_of::<Word>()) {
            return Err(ObjectError::MessageTooShort.into());
        }
        let mut bytes = [0; NAME_LENGTH];
        let words = &self.utcb(caller).message[4..];
        unpack(words, &mut bytes[..length]);
        let name = pad_name(&bytes);
        let capability = self.capability(caller, index)?;
        match capability.object {
            Object::Task(task) => {
                require(capability.rights, Rights::WRITE)?;
                let record = &mut self.tasks[task].record;
                record.name = name;
                record.image = match u32::try_from(image) {
                    Ok(image) if image != u32::MAX => image + 1,
                    _ => 0,
                };
            }
            Object::Thread(thread) => {
                require(capability.rights, Rights::EXECUTE)?;
                self.threads[thread].record.name = name;
            }
            _ => return Err(ObjectError::InvalidArgument.into()),
        }
        NOTHING
    }

    #[inline(never)]
    fn console_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let [operation, length] = self.arguments(caller, tag)?;
        if operation != console::WRITE {
            return Err(ObjectError::UnknownOperation.into());
        }
        let words = length.div_ceil(size_of::<Word>());
        if length > console::MAX_BYTES || tag.words() < 2 + words {
            return Err(ObjectError::MessageTooShort.into());
        }
        let mut bytes = [0; (MESSAGE_REGISTERS - 2) * size_of::<Word>()];
        unpack(&self.utcb(caller).message[2..], &mut bytes[..length]);
        for byte in &bytes[..length] {
            self.machine.write_console(*byte);
        }
        NOTHING
    }

    #[inline(never)]
    fn platform_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let [operation, status] = self.arguments(caller, tag)?;
        if operation != platform::SHUT_DOWN {
            return Err(ObjectError::UnknownOperation.into());
        }
        let status = u8::try_from(status).map_err(|_| ObjectError::OutOfRange)?;
        if status > 127 {
            return Err(ObjectError::OutOfRange.into());
        }
        if self.traces(Kind::ShutDown) {
            let time = self.machine.time();
            let mut record = self.new_record(Kind::ShutDown, time, caller);
            record.a = status.into();
            self.machine.record(record);
        }
        self.machine.shut_down(status);
        NOTHING
    }

    #[inline(never)]
    fn scheduler_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let [operation] = self.arguments(caller, tag)?;
        match operation {
            scheduler::SET_PRIORITY => {
                let [_, index, priority] = self.arguments(caller, tag)?;
                let capability = self.capability(caller, index)?;
                let Object::Thread(thread) = capability.object else {
                    return Err(ObjectError::InvalidArgument.into());
                };
                require(capability.rights, Rights::EXECUTE)?;
                let priority = u8::try_from(priority).map_err(|_| ObjectError::OutOfRange)?;
                self.set_priority(caller, thread, priority);
                Ok(Reply { words: 0, next: Next::Best })
            }
            scheduler::YIELD => Ok(Reply { words: 0, next: Next::Yield }),
            _ => Err(ObjectError::UnknownOperation.into()),
        }
    }

    fn set_priority(&mut self, caller: ThreadIndex, thread: ThreadIndex, priority: u8) {
        let queued = thread != caller && self.threads[thread].is(ThreadState::Ready);
        if queued {
            self.ready.remove(&mut self.threads, thread);
        }
        self.threads[thread].record.priority = priority.into();
        if queued {
            self.ready.push_back(&mut self.threads, thread);
        }
    }

    #[inline(never)]
    fn factory_operation(
        &mut self,
        caller: ThreadIndex,
        index: FactoryIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        require(rights, Rights::EXECUTE)?;
        let [operation, slot] = self.arguments(caller, tag)?;
        let needed = match operation {
            factory::CREATE_THREAD => 2,
            factory::CREATE_GATE => 4,
            _ => 3,
        };
        if tag.words() < needed {
            return Err(ObjectError::MessageTooShort.into());
        }
        let message = &self.utcb(caller).message;
        let arguments = [message[2], message[3]];
        self.create(caller, index, operation, CapabilityIndex(slot), arguments)?;
        NOTHING
    }

    #[inline(never)]
    fn task_operation(
        &mut self,
        caller: ThreadIndex,
        task: TaskIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        let [operation, first, second] = self.arguments(caller, tag)?;
        require(rights, Rights::WRITE)?;
        match operation {
            task::MAP => {
                let item = MapItem::from_words([first, second]);
                self.map_into(caller, task, item.ok_or(ObjectError::InvalidArgument)?)
            }
            task::UNMAP if second > task::UNMAP_MAX_FLEXPAGES => {
                Err(ObjectError::OutOfRange.into())
            }
            task::UNMAP if tag.words() < 3 + second => Err(ObjectError::MessageTooShort.into()),
            task::UNMAP => self.unmap(caller, task, first, second),
            _ => Err(ObjectError::UnknownOperation.into()),
        }
    }

    fn map_into(&mut self, caller: ThreadIndex, task: TaskIndex, item: MapItem) -> Answer {
        let (from, window) = (self.task_of(caller), Flexpage::WHOLE_SPACE);
        let mut progress = self.begin(Operation::Map { task });
        if let Err(preempted) = self.map_item(&mut progress, from, task, item, window) {
            self.interrupt(progress);
            return Err(preempted.into());
        }
        self.end_walk(&mut progress);
        self.end_stretch();
        let outcome = progress.outcome;
        if self.traces(Kind::Map) {
            let mut record = self.new_record(Kind::Map, self.machine.time(), caller);
            record.task = task.position();
            record.thread = NOBODY;
            self.trace_map(record, Some(caller), item, window, outcome);
        }
        match outcome.status {
            MapStatus::Done => NOTHING,
            MapStatus::SourceEmpty => Err(ObjectError::NoSuchCapability.into()),
            MapStatus::Overflow => Err(ObjectError::InvalidArgument.into()),
            MapStatus::NoMemory => Err(ObjectError::NoMemory.into()),
            MapStatus::TooDeep => Err(ObjectError::TooDeep.into()),
        }
    }

    #[inline(never)]
    fn thread_operation(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        let [operation] = self.arguments(caller, tag)?;
        require(rights, Rights::EXECUTE)?;
        match operation {
            thread::CONTROL => {
                let [_, pager, handler, task, utcb] = self.arguments(caller, tag)?;
                let index = |word| u16::try_from(word).map_err(|_| ObjectError::OutOfRange);
                let (pager, handler) = (index(pager)?, index(handler)?);
                self.bind(caller, thread, task, utcb)?;
                let record = &mut self.threads[thread].record;
                (record.pager, record.exception_handler) = (pager, handler);
                NOTHING
            }
            thread::EX_REGS => {
                let [_, instruction, stack] = self.arguments(caller, tag)?;
                let old = self.exchange_registers(caller, thread, instruction, stack)?;
                let message = &mut self.utcb(caller).message;
                message[1] = old[0];
                message[2] = old[1];
                Ok(Reply { words: 3, next: Next::Best })
            }
            _ => Err(ObjectError::UnknownOperation.into()),
        }
    }

    /// Binds a thread to a task, once; later calls may only name the same task and UTCB again.
    fn bind(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        task: Word,
        utcb: Word,
    ) -> Result<(), ObjectError> {
        let capability = self.capability(caller, task)?;
        let Object::Task(task) = capability.object else {
            return Err(ObjectError::InvalidArgument);
        };
        require(capability.rights, Rights::WRITE)?;
        let frame = self.tasks[task].utcb_frame(utcb);
        let (frame, offset) = frame.ok_or(ObjectError::InvalidArgument)?;
        let reference = UtcbReference::at_offset(frame, offset);
        let reference = reference.ok_or(ObjectError::InvalidArgument)?;
        match self.threads[thread].bound_task() {
            Some(bound) if bound == task && self.threads[thread].utcb == reference => Ok(()),
            Some(_) => Err(ObjectError::Busy),
            None if self.tasks[task].is_utcb_taken(utcb) => Err(ObjectError::Busy),
            None => {
                self.bind_to(thread, task, reference, utcb);
                self.trace_creation(Kind::ThreadStarted, task, Some(thread), Some(caller));
                Ok(())
            }
        }
    }

    pub(crate) fn bind_to(
        &mut self,
        thread: ThreadIndex,
        task: TaskIndex,
        reference: UtcbReference,
        utcb: Word,
    ) {
        let bound = &mut self.threads[thread];
        bound.record.task = task.position();
        bound.utcb = reference;
        bound.head = head_of(task.position(), thread.position());
        bound.ids = ids(task.position(), thread.position());
        bound.root = self.tasks[task].space.root();
        bound.context = crate::arch::Context::new(utcb);
        self.tasks[task].take_utcb(utcb);
        self.utcb(thread).user[0] = utcb;
    }

    /// Sets a thread's registers and lets it run. Returns its old ones.
    fn exchange_registers(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        instruction: Word,
        stack: Word,
    ) -> Result<[Word; 2], ObjectError> {
        if self.threads[thread].bound_task().is_none() {
            return Err(ObjectError::InvalidArgument);
        }
        let context = &self.threads[thread].context;
        let old = [context.instruction(), context.stack()];
        let keep = |new: Word, old: Word| if new == thread::KEEP { old } else { new };
        let (instruction, stack) = (keep(instruction, old[0]), keep(stack, old[1]));
        if instruction >= USER_END {
            return Err(ObjectError::OutOfRange);
        }
        if thread != caller {
            self.cancel(thread);
        }
        self.threads[thread].context.set_pointers(instruction, stack);
        Ok(old)
    }

    /// Ends whatever a thread waits for and makes it ready.
    pub(crate) fn cancel(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        if self.threads[thread].is(ThreadState::Ready) {
            return;
        }
        self.leave_partner(thread);
        let interrupted = self.threads[thread].is(ThreadState::Sending)
            || self.threads[thread].is(ThreadState::Receiving);
        if interrupted {
            self.fail(thread, IpcError::Cancelled);
        }
        self.make_ready(thread);
    }

    pub(crate) fn trace_creation(
        &mut self,
        kind: Kind,
        task: TaskIndex,
        thread: Option<ThreadIndex>,
        creator: Option<ThreadIndex>,
    ) {
        if !self.traces(kind) {
            return;
        }
        self.machine.record(Record {
            time: self.machine.time(),
            kind: kind as u8,
            task: task.position(),
            thread: thread.map_or(NOBODY, TableIndex::position),
            a: self.ids_of(creator),
            ..Record::default()
        });
    }
}

/// Unpacks bytes from little-endian words; stops at the shorter of both.
fn unpack(words: &[Word], bytes: &mut [u8]) {
    for (chunk, word) in bytes.chunks_mut(size_of::<Word>()).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// Offset at which the kernel leaves a UTCB's own address: the first word of its user part.
const _: () = assert!(SELF_OFFSET == 96 * size_of::<Word>());
