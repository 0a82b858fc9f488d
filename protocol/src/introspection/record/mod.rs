//! Trace records: 64 bytes each, one [`Event`] each.
//!
//! A page fault makes [`Fault`], then, when its pager has answered, a [`Map`] for each item of the
//! reply, then [`Resume`] or [`UnresolvedFault`]. The common case, one page and the thread goes on, is
//! one record, [`Resolve`], which [`Resolve::split`] takes apart. All of them carry the fault's
//! number, so that they can be told from the records of other faults in between (a pager's own
//! faults, say). What a pager's own faults are for, their records say themselves: see [`Fault::owed`].
//!
//! Which bits of a record have what of an event, the files beside this one say, and nothing else does:
//! the kernel writes records with [`Record::new`] or [`set_by_words`], and who reads them calls
//! [`Record::decode`].

mod event;
mod fault;
mod fields;
mod ids;
mod interrupt;
mod mapping;
mod message;
mod object;
mod registers;
mod time;

pub use event::{Event, Kind, Recorded};
pub use fault::{Exception, Fault, Resolve, Resume, Unresolved, UnresolvedFault};
pub use ids::{Ids, Whom};
pub use interrupt::Interrupt;
pub use mapping::{Map, MapStatus, Unmap};
pub use message::{Message, ShutDown};
pub use object::{
    EndedObject, Gate, Handler, Name, NamedObject, ObjectEnded, ObjectNamed, PagersSet,
    TaskCreated, ThreadStarted,
};
pub use registers::{RegistersSet, SetBy};
pub use time::TimedOut;

use fields::Fields;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An event with when and to whom it happened, as it lies in the ring.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Record {
    /// The record's number plus 1; 0 while it is being written.
    pub sequence: u64,
    time: u64,
    /// From the lowest bit: the [`Kind`] (8), three numbers of the event (8 each), and [`Whom`].
    head: u64,
    words: [u64; 5],
}

const _: () = assert!(size_of::<Record>() == 64);

/// Writes all but the number of a [`Record`], word by word and each once: when, to [whom](Whom), and what
/// happened. The last is an expression that is evaluated anew for each word: so nothing of it needs a
/// register while others are written, of which quick paths have few. (What it reads through a shared
/// reference the compiler reads but once, and keeps.)
#[macro_export]
macro_rules! set_by_words {
    ($record:expr, $time:expr, $whom:expr, $event:expr $(,)?) => {{
        let record: &mut $crate::introspection::record::Record = $record;
        record.set_time($time);
        record.set_head($whom, &$event);
        record.set_word::<_, 0>(&$event);
        record.set_word::<_, 1>(&$event);
        record.set_word::<_, 2>(&$event);
        record.set_word::<_, 3>(&$event);
        record.set_word::<_, 4>(&$event);
    }};
}
pub use set_by_words;

/// An event with when and to whom it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced<E = Event> {
    /// The record's number plus 1; 0 if it is in no ring.
    pub sequence: u64,
    /// The processor's time stamp counter.
    pub time: u64,
    /// The task and thread that it happened to.
    pub who: Ids,
    /// What happened.
    pub event: E,
}

/// Why a record says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No event has this kind.
    Kind(u8),
    /// Events of this kind are not written so.
    Event(Kind),
}

impl Record {
    /// The record of an event, without a number.
    #[inline]
    pub fn new<E: Recorded>(time: u64, whom: Whom, event: &E) -> Self {
        let mut record = Self::default();
        set_by_words!(&mut record, time, whom, *event);
        record
    }

    /// When it happened: the first part of [`set_by_words`](crate::set_by_words).
    #[inline(always)]
    pub fn set_time(&mut self, time: u64) {
        self.time = time;
    }

    /// To whom it happened, and the numbers of the event: the second part.
    #[inline(always)]
    pub fn set_head<E: Recorded>(&mut self, whom: Whom, event: &E) {
        let Fields { flags, order, other, .. } = event.fields();
        let numbers = (flags as u64) << 8 | (order as u64) << 16 | (other as u64) << 24;
        self.head = whom.0 | numbers | E::KIND as u64;
    }

    /// A word of the event: one of the others.
    #[inline(always)]
    pub fn set_word<E: Recorded, const NUMBER: usize>(&mut self, event: &E) {
        const { assert!(NUMBER < 5) }
        self.words[NUMBER] = event.fields().words[NUMBER];
    }

    /// The kind that it says it has.
    #[inline]
    pub const fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.head as u8)
    }

    /// What it says. What is read so, and nothing else, is written so.
    ///
    /// # Errors
    /// If no event is written so.
    pub fn decode(&self) -> Result<Traced, Malformed> {
        let kind = self.kind().ok_or(Malformed::Kind(self.head as u8))?;
        let [_, flags, order, other, ..] = self.head.to_le_bytes();
        let fields = Fields { flags, order, other, words: self.words };
        let event = Event::of(kind, fields).ok_or(Malformed::Event(kind))?;
        let who = Whom(self.head).ids();
        let read = Traced { sequence: self.sequence, time: self.time, who, event };
        if read.encode() == *self { Ok(read) } else { Err(Malformed::Event(kind)) }
    }
}

impl<E> Traced<E> {
    /// Another event, then and to the same one.
    pub fn with<F>(&self, event: F) -> Traced<F> {
        let Self { sequence, time, who, .. } = *self;
        Traced { sequence, time, who, event }
    }
}

impl Traced {
    /// The record of it.
    pub fn encode(&self) -> Record {
        Record { sequence: self.sequence, ..self.event.record(self.time, self.who.into()) }
    }
}

#[cfg(test)]
mod tests;
