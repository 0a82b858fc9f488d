//! Operations of threads: binding them to a task, and sending them elsewhere.

use crate::{
    arch::Context,
    mapping::capability::Object,
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        utcb::UtcbReference,
    },
    objects::invocation::{Answer, NOTHING, Reply, require},
    threads::{kernel::Kernel, next::Next, thread::ThreadChain},
};
use protocol::{
    Word,
    error::ObjectError,
    flexpage::Rights,
    introspection::{ThreadState, record::Ids},
    layout::USER_END,
    message::MessageTag,
    object::CapabilityIndex,
    operation::thread::{Control, ExRegs, Request},
    utcb::SELF_OFFSET,
};

impl<M: Machine> Kernel<M> {
    pub(crate) fn thread_operation(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        rights: Rights,
        tag: MessageTag,
    ) -> Answer {
        require(rights, Rights::EXECUTE)?;
        match Request::decode(self.words(caller, tag))? {
            Request::Control(Control { pager, exception_handler, task, utcb }) => {
                let index = |index: CapabilityIndex| {
                    u16::try_from(index.0).map_err(|_| ObjectError::OutOfRange)
                };
                let (pager, handler) = (index(pager)?, index(exception_handler)?);
                self.bind(caller, thread, task, utcb)?;
                let record = &mut self.threads[thread].record;
                record.set_pager(pager);
                record.set_exception_handler(handler);
                self.trace_pagers(thread, Some(caller));
                NOTHING
            }
            Request::ExRegs(new) => {
                let old = self.exchange_registers(caller, thread, new)?;
                let message = &mut self.utcb(caller).message;
                message[1] = old[0];
                message[2] = old[1];
                Ok(Reply { words: 3, next: Next::Best })
            }
            request => self.other_thread_operation(caller, thread, request),
        }
    }

    /// Binds a thread to a task, once; later calls may only name the same task and UTCB again.
    fn bind(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        task: CapabilityIndex,
        utcb: Word,
    ) -> Result<(), ObjectError> {
        let capability = self.capability(caller, task)?;
        let Object::Task(task) = capability.object else {
            return Err(ObjectError::InvalidArgument);
        };
        require(capability.rights, Rights::WRITE)?;
        let frame = self.mappings.tasks[task].utcb_frame(utcb);
        let (frame, offset) = frame.ok_or(ObjectError::InvalidArgument)?;
        let reference = UtcbReference::at_offset(frame, offset);
        let reference = reference.ok_or(ObjectError::InvalidArgument)?;
        match self.threads[thread].bound_task() {
            Some(bound) if bound == task && self.threads[thread].utcb == reference => Ok(()),
            Some(_) => Err(ObjectError::Busy),
            None if self.mappings.tasks[task].is_utcb_taken(utcb) => Err(ObjectError::Busy),
            // Its task has ended, and it has with that.
            None if self.threads[thread].is(ThreadState::Stopped) => Err(ObjectError::Busy),
            None => {
                self.bind_to(thread, task, reference, utcb);
                self.trace_thread(thread, Some(caller));
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
        bound.record.set_task(task.position());
        bound.utcb = reference;
        bound.ids = Ids::new(task.position(), thread.position());
        bound.head = bound.ids.into();
        bound.root = self.mappings.tasks[task].space.root();
        bound.context = Context::new(utcb);
        self.set_foreign(thread, false);
        let owner = &mut self.mappings.tasks[task];
        owner.take_utcb(utcb);
        owner.threads.push(&mut self.threads, ThreadChain::InTask, thread);
        self.utcb(thread).user[0] = utcb;
    }

    /// Sets a thread's registers and lets it run. Returns its old ones.
    pub(crate) fn exchange_registers(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        new: ExRegs,
    ) -> Result<[Word; 2], ObjectError> {
        if self.threads[thread].bound_task().is_none() {
            return Err(ObjectError::InvalidArgument);
        }
        let old = self.set_pointers(thread, new)?;
        if thread != caller {
            self.cancel(thread);
        }
        Ok(old)
    }

    /// Sets a thread's instruction and stack pointer. Returns its old ones.
    #[inline(always)]
    pub(crate) fn set_pointers(
        &mut self,
        thread: ThreadIndex,
        new: ExRegs,
    ) -> Result<[Word; 2], ObjectError> {
        let context = &self.threads[thread].context;
        let old = [context.instruction(), context.stack()];
        let keep = |new: Word, old: Word| if new == ExRegs::KEEP { old } else { new };
        let (instruction, stack) = (keep(new.instruction, old[0]), keep(new.stack, old[1]));
        if instruction >= USER_END {
            return Err(ObjectError::OutOfRange);
        }
        self.threads[thread].context.set_pointers(instruction, stack);
        Ok(old)
    }
}

/// Offset at which the kernel leaves a UTCB's own address: the first word of its user part.
const _: () = assert!(SELF_OFFSET == 96 * size_of::<Word>());
