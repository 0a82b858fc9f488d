//! Messages between threads, and the last one to the machine.

use super::{
    Ids, Kind, Recorded,
    fields::{Fields, low_ids, tag},
};
use crate::message::MessageTag;

/// See [`Event::Message`](super::Event::Message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The receiver.
    pub receiver: Ids,
    /// Its tag.
    pub tag: MessageTag,
    /// Label of the gate that it went through.
    pub gate_label: u64,
    /// The first two message words; those beyond the tag's count mean nothing.
    pub words: [u64; 2],
}

impl Recorded for Message {
    const KIND: Kind = Kind::Message;

    fn fields(&self) -> Fields {
        let Self { receiver, tag, gate_label, words: [first, second] } = *self;
        Fields::words([receiver.bits().into(), tag.widened(), gate_label, first, second])
    }

    fn of(Fields { words, .. }: Fields) -> Option<Self> {
        let [receiver, message, gate_label, first, second] = words;
        let (receiver, tag) = (low_ids(receiver), tag(message));
        Some(Self { receiver, tag, gate_label, words: [first, second] })
    }
}

/// See [`Event::ShutDown`](super::Event::ShutDown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutDown {
    /// The exit status.
    pub status: u8,
}

impl Recorded for ShutDown {
    const KIND: Kind = Kind::ShutDown;

    fn fields(&self) -> Fields {
        Fields::words([self.status.into(), 0, 0, 0, 0])
    }

    fn of(Fields { words: [status, ..], .. }: Fields) -> Option<Self> {
        Some(Self { status: status as u8 })
    }
}
