//! The one way into the kernel and the one way out of it again: an entry leads to a value that says who
//! goes on, and nothing else is left behind.

use crate::{index::ThreadIndex, kernel::Kernel, machine::Machine};
use protocol::{
    Word,
    fault::Access,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
};

const OPERATION_MASK: Word = 0xf;

/// A system call that is under way, as its caller has begun it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// The thread that makes it.
    pub caller: ThreadIndex,
    /// Capability and operation.
    pub target: Word,
    /// The tag, without flags.
    pub tag: MessageTag,
    /// How long it may wait.
    pub timeouts: Timeouts,
}

impl SystemCall {
    /// What is to be done.
    #[inline(always)]
    pub fn operation(self) -> Operation {
        Operation(self.target & OPERATION_MASK)
    }

    /// The capability that it is done with.
    #[inline(always)]
    pub fn capability(self) -> CapabilityIndex {
        CapabilityIndex(self.target >> CAPABILITY_SHIFT)
    }

    /// What is left of it when the answer is given: to wait.
    pub fn wait(self) -> Self {
        Self { target: Operation::WAIT.0, tag: MessageTag(0), ..self }
    }

    /// The waiting that a thread is in which waits for anybody, as long as it takes.
    pub fn open_wait(receiver: ThreadIndex) -> Self {
        let (target, tag) = (Operation::WAIT.0, MessageTag(0));
        Self { caller: receiver, target, tag, timeouts: Timeouts::NEVER }
    }
}

/// Who goes on when the kernel is left.
#[must_use = "the kernel is left only with what this says"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The current thread. Nobody else has become ready.
    Current,
    /// The current thread, unless a more important one has become ready.
    Best,
    /// This one, which is ready but in no queue, unless a more important one is ready too. The current
    /// thread has been taken care of.
    Switch(ThreadIndex),
    /// Whoever comes next. The current thread has been taken care of.
    Other,
    /// Whoever comes next, before or after the current thread.
    Yield,
    /// The caller of this system call, which begins it again, unless a more important thread is ready or
    /// the time slice is over. It is ready but in no queue.
    Restart(SystemCall),
}

impl Next {
    /// The one that has been made ready, if there is one.
    pub fn switch(receiver: Option<ThreadIndex>) -> Self {
        receiver.map_or(Self::Other, Self::Switch)
    }
}

impl<M: Machine> Kernel<M> {
    /// The one system call ([`protocol::syscall`]), by the current thread.
    #[inline(always)]
    pub fn system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        let caller = self.current.expected();
        let tag = MessageTag(tag).without_flags();
        let next = self.perform(SystemCall { caller, target, tag, timeouts: Timeouts(timeouts) });
        self.go_on(next);
    }

    /// The current thread touched `address` in a way that its page tables do not allow.
    #[inline(always)]
    pub fn page_fault(&mut self, address: Word, access: Access) {
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

    /// The end of a time slice: the next thread of the same priority gets the processor.
    pub fn timer_tick(&mut self) {
        let next = if self.current.get().is_some() { Next::Yield } else { Next::Other };
        self.leave_to(next);
    }

    #[inline(always)]
    fn go_on(&mut self, next: Next) {
        if !self.bereaved.is_empty() {
            return self.settle_and_go_on(next);
        }
        self.leave_to(next);
    }

    #[cold]
    #[inline(never)]
    fn settle_and_go_on(&mut self, next: Next) {
        self.settle();
        self.leave_to(next);
        if self.stretch.take_tick() {
            self.timer_tick();
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
        self.threads[caller].context.restart_system_call(target, tag.0, timeouts.0);
        if self.stretch.take_tick() {
            self.ready.push_back(&mut self.threads, caller);
            self.schedule();
        } else {
            self.run(caller);
        }
    }
}
