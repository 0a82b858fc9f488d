//! Operations of the interrupts (protocol [`INTERRUPT`](crate::object::label::INTERRUPT)): objects of one
//! each.

use super::{Operation, requests};
use crate::{Word, error::ObjectError, object::CapabilityIndex};

/// Lines of the I/O APIC. The first 16 are ISA's and edge-triggered, the others PCI's and level-triggered.
pub const LINES: u16 = 24;

/// Message-signalled interrupts, whose numbers come behind those of the lines.
pub const MESSAGES: u16 = 8;

/// All interrupts that there can be objects of.
pub const INTERRUPTS: u16 = LINES + MESSAGES;

requests! {
    /// What the interrupts can be asked for.
    Create
}

/// Makes an object of an interrupt, of which there is none yet: masked, and bound to nothing. Message
/// registers: `0: number, 1: slot, 2: interrupt`. The answer has what a device writes to raise it, if it is
/// message-signalled: `0: address, 1: data`, else zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create {
    /// Where its capability goes.
    pub slot: CapabilityIndex,
    /// Its number: that of a line, or from [`LINES`] on a message-signalled one.
    pub interrupt: u16,
}

impl Operation<3> for Create {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 3] {
        [Self::NUMBER, self.slot.0, self.interrupt.into()]
    }

    #[inline]
    fn decode([_, slot, interrupt]: [Word; 3]) -> Result<Self, ObjectError> {
        let interrupt = u16::try_from(interrupt).ok().filter(|number| *number < INTERRUPTS);
        let interrupt = interrupt.ok_or(ObjectError::OutOfRange)?;
        Ok(Self { slot: CapabilityIndex(slot), interrupt })
    }
}
