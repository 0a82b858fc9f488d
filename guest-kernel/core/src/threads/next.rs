//! A system call as a value, and who goes on when the kernel is left.

use crate::memory::index::ThreadIndex;
use protocol::{
    Word,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts},
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

    /// The waiting that a thread is in which waits for anybody.
    pub fn open_wait(receiver: ThreadIndex, receive: Timeout) -> Self {
        let (target, tag) = (Operation::WAIT.0, MessageTag(0));
        let timeouts = Timeouts::new(Timeout::NEVER, receive);
        Self { caller: receiver, target, tag, timeouts }
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
