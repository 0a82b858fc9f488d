//! Operations of a thread that read and set the registers of another one, and what else can be changed of
//! a living thread.
//!
//! All registers of a thread are in its context, but for those that the processor holds of the one that has
//! run last. Whoever makes a system call has run last: so of all threads but itself there is nothing that
//! would have to be fetched or reloaded, and itself it may not name.

use crate::{
    memory::{index::ThreadIndex, machine::Machine},
    objects::invocation::{Answer, NOTHING, Reply},
    threads::{kernel::Kernel, next::Next, state::Question},
};
use protocol::{
    Word,
    error::ObjectError,
    fault::vector,
    introspection::{ThreadState, record::SetBy},
    object::CapabilityIndex,
    operation::thread::{
        ExRegs, ExRegsFlags, ExRegsWith, FloatingPointPiece, Modify, ReadFloatingPoint,
        ReadRegisters, Request, WriteFloatingPoint, WriteRegisters,
    },
    registers::ThreadRegisters,
};

impl<M: Machine> Kernel<M> {
    /// What is not asked for to start a thread.
    #[cold]
    #[inline(never)]
    pub(crate) fn other_thread_operation(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        request: Request,
    ) -> Answer {
        if self.threads[thread].bound_task().is_none() {
            return Err(ObjectError::InvalidArgument.into());
        }
        match request {
            Request::Modify(new) => self.modify(caller, thread, new),
            Request::ExRegsWith(new) => self.exchange_registers_with(caller, thread, new),
            Request::TakeGate(request) => self.take_gate(caller, thread, request),
            _ if thread == caller => Err(ObjectError::InvalidArgument.into()),
            Request::ReadRegisters(ReadRegisters) => {
                let has_result = self.threads[thread].is(ThreadState::Ready);
                let registers = self.threads[thread].context.thread_registers(has_result);
                const END: usize = ReadRegisters::FIRST + ThreadRegisters::WORDS;
                let message = &mut self.utcb(caller).message;
                message[ReadRegisters::FIRST..END].copy_from_slice(&registers.to_words());
                Ok(Reply::words(END))
            }
            Request::WriteRegisters(WriteRegisters { registers }) => {
                self.check_instruction(thread, registers.general.instruction)?;
                self.begin_to_set(thread);
                self.threads[thread].context.set_thread_registers(&registers);
                self.trace_registers(thread, SetBy::Write, caller);
                NOTHING
            }
            Request::ReadFloatingPoint(ReadFloatingPoint(piece)) => {
                for offset in 0..piece.count() {
                    let word = self.threads[thread].context.fx.word(piece.first() + offset);
                    self.utcb(caller).message[FloatingPointPiece::FIRST + offset] = word;
                }
                Ok(Reply::words(FloatingPointPiece::FIRST + piece.count()))
            }
            Request::WriteFloatingPoint(WriteFloatingPoint(piece)) => {
                for offset in 0..piece.count() {
                    let word = self.utcb(caller).message[FloatingPointPiece::FIRST + offset];
                    self.threads[thread].context.fx.set_word(piece.first() + offset, word);
                }
                self.trace_registers(thread, SetBy::WriteFloatingPoint, caller);
                NOTHING
            }
            Request::Control(_) | Request::ExRegs(_) => Err(ObjectError::UnknownOperation.into()),
        }
    }

    /// Whoever waits in a system call cannot be sent elsewhere as long as it does: it might have to begin the
    /// system call again.
    fn check_instruction(&self, thread: ThreadIndex, new: Word) -> Result<(), ObjectError> {
        let is_same = new == ExRegs::KEEP || new == self.threads[thread].context.instruction();
        if is_same || !self.waits_in_system_call(thread) { Ok(()) } else { Err(ObjectError::Busy) }
    }

    fn waits_in_system_call(&self, thread: ThreadIndex) -> bool {
        self.threads[thread].state().waits_with() == Some(Question::Call)
    }

    /// A thread's registers are about to be set: what it was in the middle of it does not go on with, unless
    /// it waits in a system call, whose result stays that.
    fn begin_to_set(&mut self, thread: ThreadIndex) {
        self.abandon(thread);
        if !self.waits_in_system_call(thread) {
            self.threads[thread].context.leave_system_call();
        }
    }

    /// Changes pager, exception handler, and whether it is foreign.
    fn modify(&mut self, caller: ThreadIndex, thread: ThreadIndex, new: Modify) -> Answer {
        let index = |index: CapabilityIndex| u16::try_from(index.0);
        let pager = new.pager.map(index).transpose();
        let handler = new.exception_handler.map(index).transpose();
        let (Ok(pager), Ok(handler)) = (pager, handler) else {
            return Err(ObjectError::OutOfRange.into());
        };
        let record = &mut self.threads[thread].record;
        pager.into_iter().for_each(|pager| record.set_pager(pager));
        handler.into_iter().for_each(|handler| record.set_exception_handler(handler));
        if let Some(is_foreign) = new.foreign {
            // Of its own system calls it does not go on with any.
            self.abandon(thread);
            self.set_foreign(thread, is_foreign);
        }
        if pager.or(handler).is_some() {
            self.trace_pagers(thread, Some(caller));
        }
        NOTHING
    }

    fn exchange_registers_with(
        &mut self,
        caller: ThreadIndex,
        thread: ThreadIndex,
        ExRegsWith { pointers, flags }: ExRegsWith,
    ) -> Answer {
        let triggers = flags.contains(ExRegsFlags::TRIGGER);
        if triggers && thread == caller {
            return Err(ObjectError::InvalidArgument.into());
        }
        let waits = self.threads[thread].state().waits_with().is_some();
        let keeps = flags.contains(ExRegsFlags::KEEP_IPC) && waits && !triggers;
        let old = match keeps {
            true => {
                self.check_instruction(thread, pointers.instruction)?;
                let old = self.set_pointers(thread, pointers)?;
                self.abandon(thread);
                old
            }
            false => self.exchange_registers(caller, thread, pointers)?,
        };
        if triggers {
            self.trace_registers(thread, SetBy::Trigger, caller);
            self.trigger(thread);
        } else {
            self.trace_registers(thread, SetBy::ExRegs, caller);
        }
        self.utcb(caller).message[1..3].copy_from_slice(&old);
        Ok(Reply { words: 3, next: Next::Best })
    }

    /// A thread that is ready and queued raises an exception because somebody wants so.
    fn trigger(&mut self, thread: ThreadIndex) {
        self.ready.remove(&mut self.threads, thread);
        self.threads[thread].context.leave_system_call();
        let time = self.mappings.machine.time();
        self.note_exception(thread, vector::TRIGGERED as u8, 0, time);
        if let Some(handler) = self.raise(thread, vector::TRIGGERED as u8, 0) {
            self.ready.push_back(&mut self.threads, handler);
        }
    }
}
