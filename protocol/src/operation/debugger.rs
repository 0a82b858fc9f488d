//! Operations of the debugger object (protocol [`DEBUGGER`](crate::object::label::DEBUGGER)).

use super::{Operation, requests};
use crate::{Word, error::ObjectError, object::CapabilityIndex};

requests! {
    /// What the debugger object can be asked for.
    SetName Null
}

/// Names a task, which needs the right to modify it, or a thread, which needs that to control it, for
/// viewers. Message registers: `0: number, 1: task or thread, 2: boot module, 3: length, 4..: the name,
/// packed little-endian`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName {
    /// The task or thread.
    pub object: CapabilityIndex,
    /// Number of the boot module with its image and symbols.
    pub image: Option<u32>,
    /// Bytes of the name; it is cut at [`crate::introspection::NAME_LENGTH`].
    pub length: usize,
}

/// In place of an image's number.
const NO_IMAGE: Word = Word::MAX;

impl SetName {
    /// The message register with the beginning of the name.
    pub const FIRST_BYTES: usize = 4;
}

impl Operation<4> for SetName {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 4] {
        let image = self.image.map_or(NO_IMAGE, |image| image as Word);
        [Self::NUMBER, self.object.0, image, self.length]
    }

    #[inline]
    fn decode([_, object, image, length]: [Word; 4]) -> Result<Self, ObjectError> {
        let image = u32::try_from(image).ok().filter(|image| *image != u32::MAX);
        Ok(Self { object: CapabilityIndex(object), image, length })
    }
}

/// Does nothing: the null system call of the benchmarks. Message registers: `0: number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Null;

impl Operation<1> for Null {
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
