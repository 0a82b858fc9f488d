//! Trace records: 64 bytes each, one event each.
//!
//! A page fault makes [`Kind::Fault`], then, when its pager has answered, a [`Kind::Map`] for each
//! item of the reply, then [`Kind::Resume`] or [`Kind::Unresolved`]. The common case, one page and
//! the thread goes on, is one record, [`Kind::Resolve`], which [`Record::split_resolve`] takes
//! apart. All of them carry the fault's number, so that they can be told from the records of other
//! faults in between (a pager's own faults, say). What a pager's own faults are for, their records
//! say themselves: see [`asked`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One event. What `a` to `e` mean depends on the kind: see [`Kind`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Record {
    /// The record's number plus 1; 0 while it is being written.
    pub sequence: u64,
    /// The processor's time stamp counter.
    pub time: u64,
    /// A [`Kind`].
    pub kind: u8,
    /// Depends on the kind.
    pub flags: u8,
    /// Depends on the kind.
    pub order: u8,
    /// Number of the processor, unless the kind gives it another meaning.
    pub cpu: u8,
    /// The task it happened to.
    pub task: u16,
    /// The thread it happened to.
    pub thread: u16,
    /// Depends on the kind.
    pub a: u64,
    /// Depends on the kind.
    pub b: u64,
    /// Depends on the kind.
    pub c: u64,
    /// Depends on the kind.
    pub d: u64,
    /// Depends on the kind.
    pub e: u64,
}

const _: () = assert!(size_of::<Record>() == 64);

/// A record as the words that lie in the ring, for who writes one word by word.
pub type Words = [u64; 8];

/// Positions in [`Words`].
pub mod word {
    /// [`super::Record::sequence`].
    pub const SEQUENCE: usize = 0;
    /// [`super::Record::time`].
    pub const TIME: usize = 1;
    /// Kind, flags, order, processor, task and thread: see [`super::head`].
    pub const HEAD: usize = 2;
    /// [`super::Record::a`].
    pub const A: usize = 3;
    /// [`super::Record::b`].
    pub const B: usize = 4;
    /// [`super::Record::c`].
    pub const C: usize = 5;
    /// [`super::Record::d`].
    pub const D: usize = 6;
    /// [`super::Record::e`].
    pub const E: usize = 7;
}

/// The part of a record's head that says to whom it happened.
pub const fn head_of(task: u16, thread: u16) -> u64 {
    (task as u64) << 32 | (thread as u64) << 48
}

/// A record's head; `whom` comes from [`head_of`].
#[inline]
pub const fn head(whom: u64, kind: Kind, flags: u8) -> u64 {
    whom | (flags as u64) << 8 | kind as u64
}

/// The same with what else the kind has there: [`Record::order`], and [`Record::cpu`] with another meaning.
#[inline]
pub const fn longer_head(whom: u64, kind: Kind, flags: u8, order: u8, other: u8) -> u64 {
    head(whom, kind, flags) | (order as u64) << 16 | (other as u64) << 24
}

impl Record {
    /// The map and the resume that a [`Kind::Resolve`] record stands for.
    pub const fn split_resolve(self) -> [Self; 2] {
        let answered_by = self.e & 0xffff_ffff;
        let sent = self.b & 0xffff_ffff;
        let source = sent & !(crate::PAGE_SIZE as u64 - 1);
        let map = Self {
            kind: Kind::Map as u8,
            order: crate::PAGE_ORDER as u8,
            cpu: crate::flexpage::WHOLE_SPACE_ORDER as u8,
            a: self.b >> 32 | source << 32,
            b: sent,
            e: answered_by << 32 | 1,
            ..self
        };
        let resume = Self {
            kind: Kind::Resume as u8,
            flags: 0,
            a: self.d,
            b: self.a,
            c: self.time.wrapping_sub(self.e >> 32),
            d: crate::message::MessageTag::new(0, 0, 1).0 as u64,
            e: answered_by,
            ..self
        };
        [map, resume]
    }
}

/// The kinds of events. "Ids" are `task << 16 | thread`, each [`super::NOBODY`] if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A thread faulted. `time`: at the kernel's entry. flags: [`crate::fault::Access`];
    /// a: address, or the first port; b: instruction pointer; c: [`asked`] of the pager (the kernel,
    /// [`super::NOBODY`], for sigma0); d: number of the fault; e: stack pointer.
    Fault = 1,
    /// One flexpage was mapped or granted. task, thread: the receiver. flags: rights that arrived,
    /// bit 3 for a grant, bits 4 to 7 [`MapStatus`]; order: of what was mapped; cpu: order of the
    /// receive window, [`crate::flexpage::WHOLE_SPACE_ORDER`] for the whole space; a: destination
    /// address | source address in the sender's space << 32; b: the sender's flexpage word;
    /// c: physical address of the first page; d: number of the fault that it answers, 0 if none;
    /// e: ids of the sender << 32 | number of table entries written. For ports and capabilities
    /// (see the flexpage's type) a has ports or indices, orders count them, and c is 0. If nobody
    /// receives because a task was given something by [`Map`](crate::operation::task::Map), thread is [`super::NOBODY`].
    Map = 2,
    /// The thread runs on after a fault or exception. a: number of the fault; b: time at which the
    /// pager got the message; c: time at which its answer entered the kernel; d: tag of the
    /// answer; e: ids of who answered.
    Resume = 3,
    /// Nobody resolved a fault and the thread is stopped. flags: [`Unresolved`]; order: the
    /// access of the fault; a: address; b: instruction pointer; c: ids of the pager; d: number of
    /// the fault; e: tag of its answer or error word of the IPC.
    Unresolved = 4,
    /// A message went from the thread to another. flags: words; a: ids of the receiver; b: tag;
    /// c: label of the gate; d, e: the first two message words.
    Message = 5,
    /// The thread raised an exception that is not a page fault. flags: vector; a: error code;
    /// b: instruction pointer; c: [`asked`] of its handler; d: number, as for faults; e: stack pointer.
    Exception = 6,
    /// A task was created; task: its number; a: ids of the creator.
    TaskCreated = 7,
    /// A thread was bound to a task and may start; a: ids of the creator.
    ThreadStarted = 8,
    /// The machine shuts down; a: exit status; task, thread: who asked for it.
    ShutDown = 9,
    /// One page was mapped for a fault, and its thread goes on: a map and a resume in one. flags:
    /// rights that arrived; a: time at which the pager got the message; b: the sender's flexpage
    /// word | destination address << 32; c: physical address of the page; d: number of the fault;
    /// e: ids of who answered | ticks from the entry of the answer to `time` << 32.
    Resolve = 10,
    /// One flexpage was unmapped: by request, or because another mapping took the place of an old
    /// one ([`UNMAP_REPLACED`]). task: in whose terms; thread: the invoker. flags: the rights to take
    /// away, then [`UNMAP_OWN`] and its siblings; order: of the flexpage; a: address, port or
    /// capability index; b: the flexpage word; c: mappings taken away << 32 | mappings left with
    /// fewer rights; d: number of the fault whose answer did this, 0 if none; e: ids of the invoker.
    Unmap = 11,
    /// An object ended: its first capability was taken away. flags: [`super::mapping::ObjectKind`]; task:
    /// of a task its number, of a thread the task that it ran in; thread: of a thread its number; a: ids of
    /// who took it away; b: number among the objects of its kind | generation << 32; c, d: its name; e: of a gate
    /// its label, of a task [`super::TaskRecord::image`].
    ObjectEnded = 12,
}

/// In [`Kind::Unmap`]'s flags: the task's own mappings too.
pub const UNMAP_OWN: u8 = 1 << 3;
/// In [`Kind::Unmap`]'s flags: one of the pages had been accessed.
pub const UNMAP_ACCESSED: u8 = 1 << 4;
/// In [`Kind::Unmap`]'s flags: one of the pages had been written.
pub const UNMAP_DIRTY: u8 = 1 << 5;
/// In [`Kind::Unmap`]'s flags: nobody asked for it, a new mapping took the place.
pub const UNMAP_REPLACED: u8 = 1 << 6;

impl Kind {
    /// Reads the wire form.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Fault,
            2 => Self::Map,
            3 => Self::Resume,
            4 => Self::Unresolved,
            5 => Self::Message,
            6 => Self::Exception,
            7 => Self::TaskCreated,
            8 => Self::ThreadStarted,
            9 => Self::ShutDown,
            10 => Self::Resolve,
            11 => Self::Unmap,
            12 => Self::ObjectEnded,
            _ => return None,
        })
    }

    /// The kinds that are written unless the command line says otherwise: all but messages.
    pub const DEFAULT_ENABLED: u64 = 0b1_1111_1101_1110;
}

/// Why nobody resolved a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unresolved {
    /// The pager's answer has a label other than 0.
    Refused = 1,
    /// The thread has no pager, or its pager is gone.
    NoPager = 2,
    /// The pager took the message and will never answer.
    ReplyLost = 3,
    /// The pager answers, but the same access keeps faulting.
    NoProgress = 4,
    /// An item of the answer could not be mapped; the IPC error says why.
    MapFailed = 5,
    /// The address is beyond what can be mapped ([`crate::layout::MAPPABLE_END`]).
    OutsideUserArea = 6,
}

impl Unresolved {
    /// Reads the wire form.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Refused,
            2 => Self::NoPager,
            3 => Self::ReplyLost,
            4 => Self::NoProgress,
            5 => Self::MapFailed,
            6 => Self::OutsideUserArea,
            _ => return None,
        })
    }
}

/// What became of a map item; in bits 4 to 7 of [`Kind::Map`]'s flags.
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
    /// ([`super::mapping::MAX_DEPTH`]).
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

/// Packs a task's and a thread's number as records do.
pub const fn ids(task: u16, thread: u16) -> u64 {
    (task as u64) << 16 | thread as u64
}

/// Takes apart what [`ids`] packed: task and thread.
pub const fn split_ids(ids: u64) -> (u16, u16) {
    ((ids >> 16) as u16, ids as u16)
}

/// What the record of a fault or exception says of its pager or handler, whose ids these are; and
/// `owed`, the thread that the faulting one has to answer itself, [`super::NOBODY`] if there is none.
/// If that thread waits with a fault, serving it is what the faulting one was about.
#[inline(always)]
pub const fn asked(ids: u64, owed: u16) -> u64 {
    ids | (owed as u64) << 32
}

/// Takes apart what [`asked`] packed: ids and the thread that is owed an answer.
pub const fn split_asked(asked: u64) -> (u64, u16) {
    (asked & 0xffff_ffff, (asked >> 32) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_kind_but_messages_is_enabled() {
        for value in 0..=u8::MAX {
            let enabled = value < 64 && Kind::DEFAULT_ENABLED >> value & 1 == 1;
            let expected = Kind::from_u8(value).is_some_and(|kind| kind != Kind::Message);
            assert_eq!(enabled, expected, "kind {value}");
        }
    }

    #[test]
    fn a_resolve_is_a_map_and_a_resume() {
        let resolve = Record {
            sequence: 5,
            time: 1000,
            kind: Kind::Resolve as u8,
            flags: 6,
            order: 0,
            cpu: 0,
            task: 3,
            thread: 4,
            a: 900,
            b: 0x1234_5000_0200_0316,
            c: 0x200_0000,
            d: 77,
            e: ids(1, 2) | 40 << 32,
        };
        let [map, resume] = resolve.split_resolve();
        assert_eq!((map.kind, map.flags, map.order), (Kind::Map as u8, 6, 12));
        assert_eq!((map.a, map.b), (0x1234_5000 | 0x0200_0000 << 32, 0x0200_0316));
        assert_eq!((map.c, map.d, map.cpu), (0x200_0000, 77, 63));
        assert_eq!(map.e, ids(1, 2) << 32 | 1);
        assert_eq!((resume.a, resume.b, resume.c), (77, 900, 960));
        assert_eq!((resume.d, resume.e), (1 << 6, ids(1, 2)));
        assert_eq!((resume.task, resume.thread, resume.time), (3, 4, 1000));
    }

    #[test]
    fn words_and_fields_are_the_same_bytes() {
        let mut words: Words = [0; 8];
        words[word::SEQUENCE] = 1;
        words[word::TIME] = 2;
        words[word::HEAD] = head(head_of(3, 4), Kind::Map, 5);
        words[word::A..=word::E].copy_from_slice(&[6, 7, 8, 9, 10]);
        let record = Record::read_from_bytes(words.as_bytes()).unwrap();
        assert_eq!((record.sequence, record.time, record.kind), (1, 2, Kind::Map as u8));
        assert_eq!((record.flags, record.order, record.cpu), (5, 0, 0));
        assert_eq!((record.task, record.thread), (3, 4));
        assert_eq!([record.a, record.b, record.c, record.d, record.e], [6, 7, 8, 9, 10]);
    }

    #[test]
    fn ids_come_apart() {
        assert_eq!(split_ids(ids(7, super::super::NOBODY)), (7, super::super::NOBODY));
        let pager = ids(super::super::NOBODY, 9);
        assert_eq!(split_asked(asked(pager, super::super::NOBODY)), (pager, super::super::NOBODY));
        assert_eq!(split_asked(asked(pager, 3)), (pager, 3));
    }
}
