//! Operations of the console (protocol [`CONSOLE`](crate::object::label::CONSOLE)).

use super::{Operation, requests};
use crate::{Word, error::ObjectError, utcb::MESSAGE_REGISTERS};

requests! {
    /// What the console can be asked for.
    Write
}

/// Writes bytes. Message registers: `0: number, 1: how many, 2..: the bytes, packed little-endian`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Number of bytes, at most [`Self::MAX_BYTES`].
    pub length: usize,
}

impl Write {
    /// The message register with the first bytes.
    pub const FIRST_BYTES: usize = 2;

    /// The most bytes of one operation: nobody is interrupted while they are written.
    pub const MAX_BYTES: usize = 192;
}

const _: () =
    assert!(Write::FIRST_BYTES + Write::MAX_BYTES / size_of::<Word>() <= MESSAGE_REGISTERS);

impl Operation<2> for Write {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 2] {
        [Self::NUMBER, self.length]
    }

    #[inline]
    fn decode([_, length]: [Word; 2]) -> Result<Self, ObjectError> {
        if length > Self::MAX_BYTES {
            return Err(ObjectError::MessageTooShort);
        }
        Ok(Self { length })
    }
}
