//! Operations of the scheduler (protocol [`SCHEDULER`](crate::object::label::SCHEDULER)).

use super::{Operation, requests};
use crate::{Word, error::ObjectError, object::CapabilityIndex};

requests! {
    /// What the scheduler can be asked for.
    SetPriority Yield SetSlice
}

/// Sets a thread's priority; it starts with its creator's. Message registers: `0: number, 1: thread,
/// 2: priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetPriority {
    /// The thread, which needs the control right.
    pub thread: CapabilityIndex,
    /// Its priority.
    pub priority: u8,
}

impl Operation<3> for SetPriority {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.thread.0, self.priority.into()]
    }

    #[inline]
    fn decode([_, thread, priority]: [Word; 3]) -> Result<Self, ObjectError> {
        let priority = u8::try_from(priority).map_err(|_| ObjectError::OutOfRange)?;
        Ok(Self { thread: CapabilityIndex(thread), priority })
    }
}

/// Gives the rest of the time slice to the next thread of the same priority. Message registers: `0:
/// number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yield;

impl Operation<1> for Yield {
    const NUMBER: Word = 2;

    #[inline]
    fn encode(self) -> [Word; 1] {
        [Self::NUMBER]
    }

    #[inline]
    fn decode(_: [Word; 1]) -> Result<Self, ObjectError> {
        Ok(Self)
    }
}

/// Sets a thread's time slice: so long is each turn that it has with others of its priority, from the next one
/// on. Message registers: `0: number, 1: thread, 2: microseconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSlice {
    /// The thread, which needs the control right.
    pub thread: CapabilityIndex,
    /// At least [`Self::SHORTEST`].
    pub microseconds: u32,
}

impl SetSlice {
    /// The shortest one, in microseconds.
    pub const SHORTEST: u32 = 200;
}

impl Operation<3> for SetSlice {
    const NUMBER: Word = 3;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.thread.0, self.microseconds as Word]
    }

    #[inline]
    fn decode([_, thread, microseconds]: [Word; 3]) -> Result<Self, ObjectError> {
        let microseconds = u32::try_from(microseconds).map_err(|_| ObjectError::OutOfRange)?;
        if microseconds < Self::SHORTEST {
            return Err(ObjectError::OutOfRange);
        }
        Ok(Self { thread: CapabilityIndex(thread), microseconds })
    }
}
