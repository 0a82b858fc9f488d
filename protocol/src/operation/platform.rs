//! Operations of the platform object (protocol [`PLATFORM`](crate::object::label::PLATFORM)).

use super::{Operation, requests};
use crate::{Word, error::ObjectError};

requests! {
    /// What the platform can be asked for.
    ShutDown
}

/// Ends the machine. Message registers: `0: number, 1: exit status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutDown {
    /// The exit status, at most [`Self::MAX_STATUS`].
    pub status: u8,
}

impl ShutDown {
    /// The greatest exit status of a guest: those above are the host's own.
    pub const MAX_STATUS: u8 = 127;
}

impl Operation<2> for ShutDown {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 2] {
        [Self::NUMBER, self.status.into()]
    }

    #[inline]
    fn decode([_, status]: [Word; 2]) -> Result<Self, ObjectError> {
        let status = u8::try_from(status).ok().filter(|status| *status <= Self::MAX_STATUS);
        Ok(Self { status: status.ok_or(ObjectError::OutOfRange)? })
    }
}
