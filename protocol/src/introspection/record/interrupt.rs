//! Interrupts.

use super::{
    Kind, Recorded,
    fields::{Fields, halves, high, low},
};

/// See [`Event::Interrupt`](super::Event::Interrupt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number ([`crate::operation::interrupts`]).
    pub number: u16,
    /// Label of the gate that it is bound to.
    pub gate_label: u64,
    /// When it came.
    pub came: u64,
    /// How often somebody was told of it, with this time.
    pub told: u32,
}

impl Recorded for Interrupt {
    const KIND: Kind = Kind::Interrupt;

    fn fields(&self) -> Fields {
        let Self { number, gate_label, came, told } = *self;
        Fields::words([halves(number.into(), told), gate_label, came, 0, 0])
    }

    fn of(Fields { words: [which, gate_label, came, ..], .. }: Fields) -> Option<Self> {
        Some(Self { number: low(which) as u16, gate_label, came, told: high(which) })
    }
}
