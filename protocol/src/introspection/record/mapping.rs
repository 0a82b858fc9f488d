//! What is mapped and unmapped.

use super::{
    Ids, Kind, Recorded,
    fields::{Fields, flag, flexpage, halves, high, high_ids, low, low_ids, rights},
};
use crate::flexpage::{Flexpage, Rights};

/// See [`Event::Map`](super::Event::Map).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// What became of it.
    pub status: MapStatus,
    /// Whether the sender gave its own mapping away.
    pub grant: bool,
    /// The rights that arrived.
    pub rights: Rights,
    /// Binary logarithm of what was mapped: bytes, or a number of capabilities or ports.
    pub order: u8,
    /// Binary logarithm of the receive window's size, in the same terms;
    /// [`crate::flexpage::WHOLE_SPACE_ORDER`] for a whole space.
    pub window: u8,
    /// Where it arrived: an address, for capabilities and ports the first number.
    pub destination: u32,
    /// Where it came from in the sender's space, in the same terms.
    pub source: u32,
    /// The sender's flexpage.
    pub sent: Flexpage,
    /// Physical address of the first page; 0 for capabilities and ports.
    pub physical: u64,
    /// Number of the fault that it answers, 0 if none.
    pub fault: u64,
    /// The sender.
    pub sender: Ids,
    /// Table entries that were written.
    pub entries: u32,
}

const GRANT: u8 = 1 << 3;
const STATUS_SHIFT: u32 = 4;

impl Recorded for Map {
    const KIND: Kind = Kind::Map;

    #[inline(always)]
    fn fields(&self) -> Fields {
        let status = (self.status as u8) << STATUS_SHIFT;
        Fields {
            flags: self.rights.bits() | flag(self.grant, GRANT) | status,
            order: self.order,
            other: self.window,
            words: [
                halves(self.destination, self.source),
                self.sent.0 as u64,
                self.physical,
                self.fault,
                halves(self.entries, self.sender.bits()),
            ],
        }
    }

    fn of(Fields { flags, order, other: window, words }: Fields) -> Option<Self> {
        let [places, sent, physical, fault, sender] = words;
        Some(Self {
            status: MapStatus::from_u8(flags >> STATUS_SHIFT)?,
            grant: flags & GRANT != 0,
            rights: rights(flags),
            order,
            window,
            destination: low(places),
            source: high(places),
            sent: flexpage(sent),
            physical,
            fault,
            sender: high_ids(sender),
            entries: low(sender),
        })
    }
}

/// See [`Event::Unmap`](super::Event::Unmap).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// The flexpage.
    pub flexpage: Flexpage,
    /// The rights to take away. With [`Rights::READ`], mappings go; with none, nothing changes.
    pub take: Rights,
    /// Whether the task's own mappings were meant too, not only those that were derived from them.
    pub own: bool,
    /// Whether one of the pages had been accessed.
    pub accessed: bool,
    /// Whether one of the pages had been written.
    pub dirty: bool,
    /// Whether nobody asked for it: a new mapping took the place.
    pub replaced: bool,
    /// Mappings that are gone.
    pub removed: u32,
    /// Mappings that have fewer rights now.
    pub reduced: u32,
    /// Number of the fault whose answer did this, 0 if none.
    pub fault: u64,
    /// The invoker.
    pub by: Ids,
}

const OWN: u8 = 1 << 3;
const ACCESSED: u8 = 1 << 4;
const DIRTY: u8 = 1 << 5;
const REPLACED: u8 = 1 << 6;

impl Recorded for Unmap {
    const KIND: Kind = Kind::Unmap;

    fn fields(&self) -> Fields {
        let Self { flexpage, take, own, accessed, dirty, replaced, .. } = *self;
        let done = halves(self.reduced, self.removed);
        let words = [0, flexpage.0 as u64, done, self.fault, self.by.bits().into()];
        let noted = flag(accessed, ACCESSED) | flag(dirty, DIRTY);
        let flags = take.bits() | flag(own, OWN) | noted | flag(replaced, REPLACED);
        Fields { flags, ..Fields::words(words) }
    }

    fn of(Fields { flags, words, .. }: Fields) -> Option<Self> {
        let [_, pages, done, fault, by] = words;
        Some(Self {
            flexpage: flexpage(pages),
            take: rights(flags),
            own: flags & OWN != 0,
            accessed: flags & ACCESSED != 0,
            dirty: flags & DIRTY != 0,
            replaced: flags & REPLACED != 0,
            removed: high(done),
            reduced: low(done),
            fault,
            by: low_ids(by),
        })
    }
}

/// What became of a map item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MapStatus {
    /// Mapped.
    Done = 0,
    /// The sender has nothing there.
    SourceEmpty = 1,
    /// The flexpage is malformed or does not fit the window.
    Overflow = 2,
    /// No kernel memory.
    NoMemory = 3,
    /// The sender's mapping is already as far from the root of its tree as a mapping can be
    /// ([`MAX_DEPTH`](crate::introspection::mapping::MAX_DEPTH)).
    TooDeep = 4,
}

impl MapStatus {
    /// Reads the wire form.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Done,
            1 => Self::SourceEmpty,
            2 => Self::Overflow,
            3 => Self::NoMemory,
            4 => Self::TooDeep,
            _ => return None,
        })
    }
}
