//! Operations of a thread (protocol [`THREAD`](crate::object::label::THREAD)); they need the control right.

use super::{Operation, requests};
use crate::{
    Word,
    error::ObjectError,
    object::CapabilityIndex,
    registers::{FLOATING_POINT_WORDS, ThreadRegisters},
    utcb::MESSAGE_REGISTERS,
};
use bitflags::bitflags;

requests! {
    /// What a thread can be asked for.
    Control ExRegs ReadRegisters WriteRegisters ReadFloatingPoint WriteFloatingPoint ExRegsWith Modify TakeGate
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

/// Says all registers of a thread but its floating-point state, whatever it does; it must run in a task and
/// not be the invoker itself. Message registers: `0: number`; the answer has [`ThreadRegisters`] from
/// register 1 on.
///
/// A thread that is in a system call has only the registers that this keeps ([`crate::syscall`]); the others
/// say nothing, and nothing that the thread had in them before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRegisters;

impl ReadRegisters {
    /// Where the registers begin in the answer.
    pub const FIRST: usize = 1;
}

impl Operation<1> for ReadRegisters {
    const NUMBER: Word = 3;

    #[inline]
    fn encode(self) -> [Word; 1] {
        [Self::NUMBER]
    }

    #[inline]
    fn decode([_]: [Word; 1]) -> Result<Self, ObjectError> {
        Ok(Self)
    }
}

/// Sets them. What the thread does it goes on doing: one that is stopped or waits with a fault stays so.
/// Message registers: `0: number, 1 and up:` [`ThreadRegisters`].
///
/// If the thread waits in a system call, registers that this does not keep have no effect: they are the
/// call's result. Flags that are no [user flags](crate::registers::USER_FLAGS) stay as they are. Fails with
/// [`ObjectError::OutOfRange`] if the instruction pointer or a segment base lies outside the user area, and
/// with [`ObjectError::Busy`] if the thread waits in a system call and its instruction pointer would be
/// another one: end that first ([`ExRegs`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRegisters {
    /// The registers.
    pub registers: ThreadRegisters,
}

impl Operation<{ 1 + ThreadRegisters::WORDS }> for WriteRegisters {
    const NUMBER: Word = 4;

    #[inline]
    fn encode(self) -> [Word; 1 + ThreadRegisters::WORDS] {
        let mut words = [Self::NUMBER; 1 + ThreadRegisters::WORDS];
        words[1..].copy_from_slice(&self.registers.to_words());
        words
    }

    #[inline]
    fn decode(
        [_, registers @ ..]: [Word; 1 + ThreadRegisters::WORDS],
    ) -> Result<Self, ObjectError> {
        let registers = ThreadRegisters::from_words(registers);
        if registers.lie_in_user_area() {
            Ok(Self { registers })
        } else {
            Err(ObjectError::OutOfRange)
        }
    }
}

/// Says some words of a thread's floating-point state ([`crate::registers::FLOATING_POINT_SIZE`]), of which
/// there are more than one message takes. Message registers: `0: number, 1: first word, 2: how many`; the
/// answer has them from [`FloatingPointPiece::FIRST`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFloatingPoint(pub FloatingPointPiece);

/// Sets some words of it. Message registers: `0: number, 1: first word, 2: how many`, and the words from
/// [`FloatingPointPiece::FIRST`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFloatingPoint(pub FloatingPointPiece);

/// A piece of the floating-point state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatingPointPiece {
    first: usize,
    count: usize,
}

impl FloatingPointPiece {
    /// Message register of the first word.
    pub const FIRST: usize = 3;
    /// The most words of one message.
    pub const MAX_WORDS: usize = MESSAGE_REGISTERS - Self::FIRST;

    /// `count` words from word `first` on; `None` unless all of them are there and fit a message.
    pub const fn new(first: usize, count: usize) -> Option<Self> {
        let is_there = first <= FLOATING_POINT_WORDS && count <= FLOATING_POINT_WORDS - first;
        if is_there && count <= Self::MAX_WORDS { Some(Self { first, count }) } else { None }
    }

    /// The first word.
    pub const fn first(self) -> usize {
        self.first
    }

    /// How many.
    pub const fn count(self) -> usize {
        self.count
    }
}

macro_rules! of_a_piece {
    ($operation:ident = $number:literal) => {
        impl Operation<3> for $operation {
            const NUMBER: Word = $number;

            #[inline]
            fn encode(self) -> [Word; 3] {
                [Self::NUMBER, self.0.first, self.0.count]
            }

            #[inline]
            fn decode([_, first, count]: [Word; 3]) -> Result<Self, ObjectError> {
                FloatingPointPiece::new(first, count).map(Self).ok_or(ObjectError::OutOfRange)
            }
        }
    };
}
of_a_piece!(ReadFloatingPoint = 5);
of_a_piece!(WriteFloatingPoint = 6);

bitflags! {
    /// How [`ExRegsWith`] differs from [`ExRegs`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExRegsFlags: Word {
        /// What the thread waits for it goes on waiting for; one that waits for nothing runs. In a system call
        /// it keeps its instruction pointer: another one fails with [`ObjectError::Busy`].
        const KEEP_IPC = 1;
        /// The thread raises an exception with the vector
        /// [`TRIGGERED`](crate::fault::vector::TRIGGERED): its handler gets its registers, and says how it
        /// goes on. A thread without a handler stops. What it waits for is cancelled in any case. No
        /// thread does that to itself.
        const TRIGGER = 2;
    }
}

/// [`ExRegs`] with flags. Message registers: `0: number, 1: instruction pointer, 2: stack pointer, 3: flags`;
/// the answer is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExRegsWith {
    /// Instruction and stack pointer.
    pub pointers: ExRegs,
    /// What is different.
    pub flags: ExRegsFlags,
}

impl Operation<4> for ExRegsWith {
    const NUMBER: Word = 7;

    #[inline]
    fn encode(self) -> [Word; 4] {
        let ExRegs { instruction, stack } = self.pointers;
        [Self::NUMBER, instruction, stack, self.flags.bits()]
    }

    #[inline]
    fn decode([_, instruction, stack, flags]: [Word; 4]) -> Result<Self, ObjectError> {
        let flags = ExRegsFlags::from_bits(flags).ok_or(ObjectError::InvalidArgument)?;
        Ok(Self { pointers: ExRegs { instruction, stack }, flags })
    }
}

/// Changes some of what [`Control`] has set, of a thread that runs in a task, whatever it does. Message
/// registers: `0: number, 1: pager, 2: exception handler, 3: foreign`, where [`Self::KEEP`] leaves what
/// there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modify {
    /// As [`Control::pager`].
    pub pager: Option<CapabilityIndex>,
    /// As [`Control::exception_handler`].
    pub exception_handler: Option<CapabilityIndex>,
    /// Whether it is *foreign*, written for another system: then its system calls are exceptions
    /// ([`SYSTEM_CALL`](crate::fault::vector::SYSTEM_CALL),
    /// [`INTERRUPT_80`](crate::fault::vector::INTERRUPT_80)).
    pub foreign: Option<bool>,
}

impl Modify {
    /// Leaves something as it is.
    pub const KEEP: Word = Word::MAX;
}

impl Operation<4> for Modify {
    const NUMBER: Word = 8;

    #[inline]
    fn encode(self) -> [Word; 4] {
        let gate = |gate: Option<CapabilityIndex>| gate.map_or(Self::KEEP, |index| index.0);
        let foreign = self.foreign.map_or(Self::KEEP, Word::from);
        [Self::NUMBER, gate(self.pager), gate(self.exception_handler), foreign]
    }

    #[inline]
    fn decode([_, pager, handler, foreign]: [Word; 4]) -> Result<Self, ObjectError> {
        let gate = |word| (word != Self::KEEP).then_some(CapabilityIndex(word));
        let foreign = match foreign {
            Self::KEEP => None,
            0 => Some(false),
            1 => Some(true),
            _ => return Err(ObjectError::InvalidArgument),
        };
        Ok(Self { pager: gate(pager), exception_handler: gate(handler), foreign })
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
    const NUMBER: Word = 9;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.gate.0, self.label]
    }

    #[inline]
    fn decode([_, gate, label]: [Word; 3]) -> Result<Self, ObjectError> {
        Ok(Self { gate: CapabilityIndex(gate), label })
    }
}
