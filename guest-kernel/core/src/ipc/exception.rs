//! Exceptions that are no page or port faults, and those of them that nobody resolves: they become
//! messages to the thread's exception handler.

use crate::{
    ipc::{page_fault::PAGE_FAULT_VECTOR, port_fault::GENERAL_PROTECTION_VECTOR},
    memory::{index::ThreadIndex, machine::Machine},
    threads::{
        kernel::Kernel,
        next::Next,
        state::{Question, State},
    },
};
use protocol::{
    Word,
    fault::{Access, Exception, vector::INTERRUPT_80},
    introspection::record::{self, Kind, SetBy, Unresolved},
    message::MessageTag,
    registers::Registers,
};

/// The processor's number for instructions that it does not know.
const INVALID_OPCODE_VECTOR: u8 = 6;

/// `int 0x80`.
const FOREIGN_CALL: [u8; 2] = [0xcd, 0x80];

impl<M: Machine> Kernel<M> {
    /// The current thread raised a processor exception.
    pub(crate) fn begin_exception(
        &mut self,
        thread: ThreadIndex,
        vector: u8,
        error_code: Word,
    ) -> Next {
        let about_ports = vector == GENERAL_PROTECTION_VECTOR && error_code == 0;
        if about_ports && let Some(next) = self.try_port_access(thread) {
            return next;
        }
        let time = self.mappings.machine.time();
        if self.is_foreign(thread) && self.is_foreign_call(thread, vector) {
            self.threads[thread].context.skip(FOREIGN_CALL.len());
            return self.begin_foreign_call(thread, INTERRUPT_80, time);
        }
        self.note_exception(thread, vector, error_code, time);
        Next::switch(self.raise(thread, vector, error_code))
    }

    /// A foreign thread has made a system call, all of whose registers are in its context.
    pub(crate) fn begin_foreign_call(
        &mut self,
        thread: ThreadIndex,
        vector: Word,
        time: u64,
    ) -> Next {
        self.note_exception(thread, vector as u8, 0, time);
        Next::switch(self.raise(thread, vector as u8, 0))
    }

    /// Whether the thread is at `int 0x80`, which has raised an exception: on hardware because there is no
    /// such gate. Some software KVMs know no such instruction.
    fn is_foreign_call(&mut self, thread: ThreadIndex, vector: u8) -> bool {
        matches!(vector, GENERAL_PROTECTION_VECTOR | INVALID_OPCODE_VECTOR)
            && self.code_at(thread).take(FOREIGN_CALL.len()).eq(FOREIGN_CALL)
    }

    /// Notes an exception of a thread, and records it.
    pub(crate) fn note_exception(
        &mut self,
        thread: ThreadIndex,
        vector: u8,
        error_code: Word,
        time: u64,
    ) {
        self.faults += 1;
        let instruction = self.threads[thread].context.instruction();
        let fault = &mut self.threads[thread].fault;
        fault.number = self.faults;
        fault.address = 0;
        fault.repeated = 0;
        fault.instruction = instruction;
        fault.access = Access::empty();
        if self.traces(Kind::Exception) {
            let handler = self.fault_gate(thread, self.threads[thread].exception_handler());
            let event = record::Exception {
                vector,
                error_code: error_code as u64,
                instruction: instruction as u64,
                handler: self.ids_of(handler.map(|gate| gate.thread)),
                owed: self.threads[thread].caller.raw(),
                number: self.faults,
                stack: self.threads[thread].context.stack() as u64,
            };
            self.trace(time, thread, event);
        }
    }

    /// Sends the exception message; without a handler the thread is stopped. The thread may be the
    /// current one or one that waits. Returns the handler if it takes the message now: it is ready then,
    /// but not queued.
    pub(crate) fn raise(
        &mut self,
        thread: ThreadIndex,
        vector: u8,
        error_code: Word,
    ) -> Option<ThreadIndex> {
        let handler = self.fault_gate(thread, self.threads[thread].exception_handler());
        self.threads[thread].fault.message = [vector.into(), error_code];
        let Some(gate) = handler else {
            self.stop_unhandled(thread, Unresolved::NoPager, 0);
            return None;
        };
        self.offer_fault(thread, gate, Exception::TAG, Question::Exception)
    }

    /// Stops a thread with an exception that nobody handled. What became of a page or port fault
    /// was recorded before it became an exception.
    pub(crate) fn stop_unhandled(&mut self, thread: ThreadIndex, reason: Unresolved, answer: u64) {
        let fault = &self.threads[thread].fault;
        let [vector, _] = fault.message;
        if vector != Word::from(PAGE_FAULT_VECTOR) && !fault.access.contains(Access::PORT) {
            let handler = self.threads[thread].exception_handler();
            self.trace_unresolved(thread, reason, handler, answer);
        }
        self.stop(thread);
    }

    /// The handler has answered. Returns the thread if it goes on.
    pub(crate) fn answer_exception(
        &mut self,
        thread: ThreadIndex,
        handler: ThreadIndex,
        tag: MessageTag,
    ) -> Option<ThreadIndex> {
        if tag.label() != 0 {
            self.stop_unhandled(thread, Unresolved::Refused, tag.widened());
            return None;
        }
        if tag.words() == Exception::WORDS {
            let message = &self.utcb(handler).message[Exception::FIRST_REGISTER..];
            let registers = *message.first_chunk().expect("a message has room for them");
            self.abandon(thread);
            self.threads[thread].context.set_registers(&Registers::from_words(registers));
            self.trace_registers(thread, SetBy::Answer, handler);
        }
        self.threads[thread].enter(State::Ready);
        if self.traces(Kind::Resume) {
            let replied = self.mappings.machine.time();
            self.trace_resume(thread, Some(handler), replied, tag);
        }
        Some(thread)
    }
}
