//! What happens because time has passed.

use super::{
    Ids, Kind, Recorded,
    fields::{Fields, flag, low_ids},
};

/// See [`Event::TimedOut`](super::Event::TimedOut).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// Whether its message was not taken; else no message or answer came.
    pub is_sending: bool,
    /// Whom it has waited for; nobody: for anybody. A thread that has waited for itself has slept.
    pub partner: Ids,
    /// Until when it wanted to wait, in microseconds of the [kernel clock](crate::kip::Clock).
    pub deadline: u64,
}

const SENDING: u8 = 1;

impl Recorded for TimedOut {
    const KIND: Kind = Kind::TimedOut;

    fn fields(&self) -> Fields {
        let words = [self.partner.bits().into(), self.deadline, 0, 0, 0];
        Fields { flags: flag(self.is_sending, SENDING), ..Fields::words(words) }
    }

    fn of(Fields { flags, words: [partner, deadline, ..], .. }: Fields) -> Option<Self> {
        let is_sending = flags & SENDING != 0;
        Some(Self { is_sending, partner: low_ids(partner), deadline })
    }
}
