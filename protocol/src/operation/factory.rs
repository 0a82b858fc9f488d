//! Operations of a factory (protocol [`FACTORY`](crate::object::label::FACTORY)); all need the control
//! right. Each has the index of an empty slot of the invoker's table, where the first capability to the
//! new object goes.

use super::{Operation, requests};
use crate::{Word, error::ObjectError, flexpage::Flexpage, object::CapabilityIndex};

requests! {
    /// What a factory can be asked for.
    CreateTask CreateThread CreateGate CreateFactory
}

impl Request {
    /// Where the capability to the new object goes.
    #[inline]
    pub const fn slot(&self) -> CapabilityIndex {
        match self {
            Self::CreateTask(CreateTask { slot, .. })
            | Self::CreateThread(CreateThread { slot })
            | Self::CreateGate(CreateGate { slot, .. })
            | Self::CreateFactory(CreateFactory { slot, .. }) => *slot,
        }
    }
}

/// Makes a task. Message registers: `0: number, 1: slot, 2: UTCB area`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTask {
    /// For its capability.
    pub slot: CapabilityIndex,
    /// From [`crate::layout::UTCB_AREA`] on, of the order 12 to 16.
    pub utcb_area: Flexpage,
}

impl Operation<3> for CreateTask {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.slot.0, self.utcb_area.0]
    }

    #[inline]
    fn decode([_, slot, utcb_area]: [Word; 3]) -> Result<Self, ObjectError> {
        Ok(Self { slot: CapabilityIndex(slot), utcb_area: Flexpage(utcb_area) })
    }
}

/// Makes a thread, not yet bound to a task. Message registers: `0: number, 1: slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateThread {
    /// For its capability.
    pub slot: CapabilityIndex,
}

impl Operation<2> for CreateThread {
    const NUMBER: Word = 2;

    #[inline]
    fn encode(self) -> [Word; 2] {
        [Self::NUMBER, self.slot.0]
    }

    #[inline]
    fn decode([_, slot]: [Word; 2]) -> Result<Self, ObjectError> {
        Ok(Self { slot: CapabilityIndex(slot) })
    }
}

/// Makes an IPC gate. Message registers: `0: number, 1: slot, 2: label, 3: receiver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateGate {
    /// For its capability.
    pub slot: CapabilityIndex,
    /// What the receiver gets to see with each message.
    pub label: Word,
    /// The thread that receives, which needs the control right.
    pub receiver: CapabilityIndex,
}

impl Operation<4> for CreateGate {
    const NUMBER: Word = 3;

    #[inline]
    fn encode(self) -> [Word; 4] {
        [Self::NUMBER, self.slot.0, self.label, self.receiver.0]
    }

    #[inline]
    fn decode([_, slot, label, receiver]: [Word; 4]) -> Result<Self, ObjectError> {
        Ok(Self { slot: CapabilityIndex(slot), label, receiver: CapabilityIndex(receiver) })
    }
}

/// Makes a factory with a quota of its own. Message registers: `0: number, 1: slot, 2: limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateFactory {
    /// For its capability.
    pub slot: CapabilityIndex,
    /// Bytes of kernel memory, which are taken from this factory's own.
    pub limit: Word,
}

impl Operation<3> for CreateFactory {
    const NUMBER: Word = 4;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.slot.0, self.limit]
    }

    #[inline]
    fn decode([_, slot, limit]: [Word; 3]) -> Result<Self, ObjectError> {
        Ok(Self { slot: CapabilityIndex(slot), limit })
    }
}
