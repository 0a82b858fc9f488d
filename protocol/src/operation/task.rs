//! Operations of a task (protocol [`TASK`](crate::object::label::TASK)); both need the modify right.

use super::{Operation, requests};
use crate::{
    Word, error::ObjectError, flexpage::Rights, message::MapItem, utcb::MESSAGE_REGISTERS,
};

requests! {
    /// What a task can be asked for.
    Map Unmap
}

/// Maps a flexpage of the invoker's task into this one. The receive window is the whole space. Message
/// registers: `0: number, 1 and 2: the item`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// What, and where it is to go.
    pub item: MapItem,
}

impl Operation<3> for Map {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 3] {
        let [base, flexpage] = self.item.to_words();
        [Self::NUMBER, base, flexpage]
    }

    #[inline]
    fn decode([_, base, flexpage]: [Word; 3]) -> Result<Self, ObjectError> {
        let item = MapItem::from_words([base, flexpage]);
        Ok(Self { item: item.ok_or(ObjectError::InvalidArgument)? })
    }
}

/// Takes rights away from all mappings that were derived, directly or not, from this task's mappings of
/// some flexpages (of memory, ports or capabilities). Nobody else has to agree. Message registers: `0:
/// number, 1: the rights and, in bit 3, whether own ones too, 2: how many flexpages, 3..: the flexpages
/// with their rights clear`.
///
/// Of all memory that it covers it returns and clears what the processor notes: the answer has the
/// flexpages again in registers 3 and up, with [`Rights::READ`] if a page was accessed and
/// [`Rights::WRITE`] if one was written.
///
/// What a flexpage covers are whole mappings: of a superpage that it touches, the derived small pages
/// outside it stay, but derived superpages, and the task's own, count as covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// The rights to take away. The read right is the mapping itself: without it, it is gone. No rights at
    /// all is allowed: then nothing is taken away.
    pub take: Rights,
    /// Whether from the task's own mappings too. sigma0 never loses its own.
    pub own_too: bool,
    /// Number of flexpages, at most [`Self::MAX_FLEXPAGES`].
    pub flexpages: usize,
}

impl Unmap {
    /// In message register 1: own mappings too.
    pub const OWN_TOO: Word = 1 << 3;

    /// The message register with the first flexpage.
    pub const FIRST_FLEXPAGE: usize = 3;

    /// The most flexpages of one operation.
    pub const MAX_FLEXPAGES: usize = MESSAGE_REGISTERS - Self::FIRST_FLEXPAGE;
}

impl Operation<3> for Unmap {
    const NUMBER: Word = 2;

    #[inline]
    fn encode(self) -> [Word; 3] {
        let own_too = if self.own_too { Self::OWN_TOO } else { 0 };
        [Self::NUMBER, Word::from(self.take.bits()) | own_too, self.flexpages]
    }

    #[inline]
    fn decode([_, rights, flexpages]: [Word; 3]) -> Result<Self, ObjectError> {
        if flexpages > Self::MAX_FLEXPAGES {
            return Err(ObjectError::OutOfRange);
        }
        let take = Rights::from_bits_truncate(rights as u8);
        Ok(Self { take, own_too: rights & Self::OWN_TOO != 0, flexpages })
    }
}
