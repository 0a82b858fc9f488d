//! Registers of a thread that others set.

use super::{
    Ids, Kind, Recorded,
    fields::{Fields, low_ids},
};

/// See [`Event::RegistersSet`](super::Event::RegistersSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistersSet {
    /// In which way.
    pub way: SetBy,
    /// Who did it.
    pub by: Ids,
    /// The instruction pointer that the thread has then.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
    /// The flags.
    pub flags: u64,
}

/// How registers of a thread are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SetBy {
    /// [`ExRegsWith`](crate::operation::thread::ExRegsWith) without a trigger.
    ExRegs = 1,
    /// With one: an exception follows.
    Trigger = 2,
    /// [`WriteRegisters`](crate::operation::thread::WriteRegisters).
    Write = 3,
    /// [`WriteFloatingPoint`](crate::operation::thread::WriteFloatingPoint).
    WriteFloatingPoint = 4,
    /// The answer to its exception.
    Answer = 5,
}

impl SetBy {
    const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::ExRegs,
            2 => Self::Trigger,
            3 => Self::Write,
            4 => Self::WriteFloatingPoint,
            5 => Self::Answer,
            _ => return None,
        })
    }
}

impl Recorded for RegistersSet {
    const KIND: Kind = Kind::RegistersSet;

    fn fields(&self) -> Fields {
        let Self { way, by, instruction, stack, flags } = *self;
        let words = [by.bits().into(), instruction, stack, flags, 0];
        Fields { flags: way as u8, ..Fields::words(words) }
    }

    fn of(Fields { flags: way, words, .. }: Fields) -> Option<Self> {
        let [by, instruction, stack, flags, _] = words;
        Some(Self { way: SetBy::from_u8(way)?, by: low_ids(by), instruction, stack, flags })
    }
}
