//! Operations of a thread (protocol [`THREAD`](crate::object::label::THREAD)); they need the control right.

use super::{Operation, requests};
use crate::{Word, error::ObjectError, object::CapabilityIndex};

requests! {
    /// What a thread can be asked for.
    Control ExRegs TakeGate
}

/// Binds the thread to a task and sets its handlers. Message registers: `0: number, 1: pager,
/// 2: exception handler, 3: task, 4: UTCB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Gate to its pager, in the table of the task that the thread runs in.
    pub pager: CapabilityIndex,
    /// Gate to its exception handler, in the same table.
    pub exception_handler: CapabilityIndex,
    /// The task to bind to, which needs the modify right.
    pub task: CapabilityIndex,
    /// Address of its UTCB in that task's UTCB area.
    pub utcb: Word,
}

impl Operation<5> for Control {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 5] {
        [Self::NUMBER, self.pager.0, self.exception_handler.0, self.task.0, self.utcb]
    }

    #[inline]
    fn decode([_, pager, handler, task, utcb]: [Word; 5]) -> Result<Self, ObjectError> {
        let (pager, exception_handler) = (CapabilityIndex(pager), CapabilityIndex(handler));
        Ok(Self { pager, exception_handler, task: CapabilityIndex(task), utcb })
    }
}

/// Sets instruction and stack pointer and lets the thread run (lecture, "ex_regs"). An IPC that the thread
/// is in is cancelled. The answer has the old values in registers 1 and 2. Message registers: `0: number,
/// 1: instruction pointer, 2: stack pointer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExRegs {
    /// The instruction pointer, or [`Self::KEEP`].
    pub instruction: Word,
    /// The stack pointer, or [`Self::KEEP`].
    pub stack: Word,
}

impl ExRegs {
    /// Leaves a register as it is.
    pub const KEEP: Word = Word::MAX;
}

impl Operation<3> for ExRegs {
    const NUMBER: Word = 2;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.instruction, self.stack]
    }

    #[inline]
    fn decode([_, instruction, stack]: [Word; 3]) -> Result<Self, ObjectError> {
        Ok(Self { instruction, stack })
    }
}

/// Lets a gate lead to this thread from now on, under a label. Who waits there to send waits on, now for
/// this thread; who waits for a message through the gate from whoever it led to before is told that there
/// is no such partner any more. Calls that were taken before are answered by who took them. Message
/// registers: `0: number, 1: gate, 2: label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeGate {
    /// The gate, which needs the control right.
    pub gate: CapabilityIndex,
    /// What the thread gets to see of it.
    pub label: Word,
}

impl Operation<3> for TakeGate {
    const NUMBER: Word = 16;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.gate.0, self.label]
    }

    #[inline]
    fn decode([_, gate, label]: [Word; 3]) -> Result<Self, ObjectError> {
        Ok(Self { gate: CapabilityIndex(gate), label })
    }
}
