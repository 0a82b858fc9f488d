//! Operations on kernel objects other than IPC: decoding, checking, answering.

use crate::{
    mapping::{
        capability::{Capability, Object, Slot},
        stretch::Preempted,
    },
    memory::{
        index::{FactoryIndex, ThreadIndex},
        machine::Machine,
    },
    threads::{
        kernel::Kernel,
        next::{Next, SystemCall},
    },
};
use protocol::{
    Word,
    boot::{pad_name, trim_name},
    error::ObjectError,
    flexpage::Rights,
    introspection::{
        NAME_LENGTH, ThreadState,
        record::{Kind, ShutDown},
    },
    message::MessageTag,
    object::CapabilityIndex,
    operation::{console, debugger, factory, platform, scheduler},
};

/// What an operation returns.
pub(crate) struct Reply {
    /// Message registers.
    pub words: usize,
    pub next: Next,
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

pub(crate) const NOTHING: Answer = Ok(Reply::words(0));

impl<M: Machine> Kernel<M> {
    /// Invokes an object that is no IPC partner.
    pub(crate) fn invoke_object(&mut self, call: SystemCall, slot: Slot) -> Next {
        let SystemCall { caller, tag, .. } = call;
        let done = if slot.protocol() != tag.label() {
            Err(ObjectError::BadProtocol.into())
        } else if tag.words() == 0 {
            Err(ObjectError::MessageTooShort.into())
        } else {
            self.dispatch(caller, slot, tag)
        };
        if self.current != caller.into() {
            // It has ended by what it did.
            return Next::Other;
        }
        let (answer, next) = match done {
            Ok(Reply { words, next }) => (MessageTag::new(0, words, 0), next),
            Err(Failure::Error(error)) => {
                self.abandon(caller);
                // Something may have ended by it even so.
                (error.tag(), Next::Best)
            }
            Err(Failure::Preempted) => return Next::Restart(call),
        };
        self.threads[caller].context.set_result(answer, 0);
        next
    }

    fn dispatch(&mut self, caller: ThreadIndex, slot: Slot, tag: MessageTag) -> Answer {
        let capability = slot.capability().ok_or(ObjectError::BadProtocol)?;
        let rights = capability.rights;
        // Names, and nothing, may come in between; all else that is asked for begins anew.
        let may_go_on = matches!(capability.object, Object::Debugger | Object::Task(_));
        if !may_go_on && self.threads[caller].undertaking.is_some() {
            self.abandon(caller);
        }
        match capability.object {
            Object::Debugger => self.debugger_operation(caller, tag),
            Object::Thread(thread) => self.thread_operation(caller, thread, rights, tag),
            Object::Task(task) => self.task_operation(caller, task, rights, tag),
            Object::Factory(factory) => self.factory_operation(caller, factory, rights, tag),
            Object::Console => self.console_operation(caller, tag),
            Object::Scheduler => self.scheduler_operation(caller, tag),
            Object::Platform => self.platform_operation(caller, tag),
            Object::Interrupts => self.interrupts_operation(caller, rights, tag),
            Object::Interrupt(interrupt) => {
                self.interrupt_operation(caller, interrupt, rights, tag)
            }
            Object::Gate(_) | Object::Reply(_) => Err(ObjectError::BadProtocol.into()),
        }
    }

    /// The words of a message with this tag.
    pub(crate) fn words(&mut self, caller: ThreadIndex, tag: MessageTag) -> &[Word] {
        &self.utcb(caller).message[..tag.words()]
    }

    pub(crate) fn capability(
        &mut self,
        caller: ThreadIndex,
        index: CapabilityIndex,
    ) -> Result<Capability, ObjectError> {
        let task = self.task_of(caller);
        let found = self.mappings.tasks[task].capabilities.get(&mut self.mappings.machine, index);
        found.ok_or(ObjectError::NoSuchCapability)
    }

    fn debugger_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        match debugger::Request::decode(self.words(caller, tag))? {
            debugger::Request::Null(_) => NOTHING,
            debugger::Request::SetName(request) => self.set_name(caller, tag, request),
        }
    }

    fn set_name(
        &mut self,
        caller: ThreadIndex,
        tag: MessageTag,
        request: debugger::SetName,
    ) -> Answer {
        let debugger::SetName { object, image, length } = request;
        let mut bytes = [0; NAME_LENGTH];
        let words = &self.words(caller, tag)[debugger::SetName::FIRST_BYTES..];
        unpack(words, &mut bytes[..length.min(NAME_LENGTH)])?;
        let name = pad_name(trim_name(&bytes));
        let capability = self.capability(caller, object)?;
        match capability.object {
            Object::Task(task) => {
                require(capability.rights, Rights::WRITE)?;
                let record = &mut self.mappings.tasks[task].record;
                record.name = name;
                record.image = image.map_or(0, |image| image + 1);
                self.trace_task_name(task, Some(caller));
            }
            Object::Thread(thread) => {
                require(capability.rights, Rights::EXECUTE)?;
                self.threads[thread].record.set_name(name);
                self.trace_thread_name(thread, caller);
            }
            _ => return Err(ObjectError::InvalidArgument.into()),
        }
        NOTHING
    }

    // Printing shall not lengthen the way of other operations, and is to be found by its name.
    #[inline(never)]
    fn console_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let console::Request::Write(console::Write { length }) =
            console::Request::decode(self.words(caller, tag))?;
        let mut bytes = [0; console::Write::MAX_BYTES];
        let words = &self.words(caller, tag)[console::Write::FIRST_BYTES..];
        unpack(words, &mut bytes[..length])?;
        for byte in &bytes[..length] {
            self.mappings.machine.write_console(*byte);
        }
        NOTHING
    }

    fn platform_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        let platform::Request::ShutDown(platform::ShutDown { status }) =
            platform::Request::decode(self.words(caller, tag))?;
        if self.traces(Kind::ShutDown) {
            self.trace(self.mappings.machine.time(), caller, ShutDown { status });
        }
        self.mappings.machine.shut_down(status);
        NOTHING
    }

    fn scheduler_operation(&mut self, caller: ThreadIndex, tag: MessageTag) -> Answer {
        match scheduler::Request::decode(self.words(caller, tag))? {
            scheduler::Request::SetSlice(scheduler::SetSlice { thread, microseconds }) => {
                let thread = self.controlled_thread(caller, thread)?;
                self.set_slice(thread, microseconds);
                NOTHING
            }
            scheduler::Request::SetPriority(scheduler::SetPriority { thread, priority }) => {
                let thread = self.controlled_thread(caller, thread)?;
                self.set_priority(caller, thread, priority);
                Ok(Reply { words: 0, next: Next::Best })
            }
            scheduler::Request::Yield(_) => Ok(Reply { words: 0, next: Next::Yield }),
        }
    }

    /// The thread at an index, which the caller may control.
    fn controlled_thread(
        &mut self,
        caller: ThreadIndex,
        index: CapabilityIndex,
    ) -> Result<ThreadIndex, ObjectError> {
        let capability = self.capability(caller, index)?;
        let Object::Thread(thread) = capability.object else {
            return Err(ObjectError::InvalidArgument);
        };
        require(capability.rights, Rights::EXECUTE)?;
        Ok(thread)
    }

    fn set_priority(&mut self, caller: ThreadIndex, thread: ThreadIndex, priority: u8) {
        let queued = thread != caller && self.threads[thread].is(ThreadState::Ready);
        if queued {
            self.ready.remove(&mut self.threads, thread);
        }
        self.threads[thread].record.set_priority(priority);
        if queued {
            self.ready.push_back(&mut self.threads, thread);
        }
    }

    fn factory_operation(
        &mut self,
        caller: ThreadIndex,
        index: FactoryIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        require(rights, Rights::EXECUTE)?;
        let request = factory::Request::decode(self.words(caller, tag))?;
        self.create(caller, index, request)?;
        NOTHING
    }
}

/// Unpacks bytes from little-endian words.
fn unpack(words: &[Word], bytes: &mut [u8]) -> Result<(), ObjectError> {
    if size_of_val(words) < bytes.len() {
        return Err(ObjectError::MessageTooShort);
    }
    for (chunk, word) in bytes.chunks_mut(size_of::<Word>()).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}

/// An error unless `rights` include `needed`.
pub(crate) fn require(rights: Rights, needed: Rights) -> Result<(), ObjectError> {
    if rights.contains(needed) { Ok(()) } else { Err(ObjectError::PermissionDenied) }
}
