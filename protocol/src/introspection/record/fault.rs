//! Faults and exceptions, and how they end.

use super::{
    Ids, Kind, Map, MapStatus, Recorded,
    fields::{Fields, access, flexpage, halves, high, low, low_ids, rights, tag},
};
use crate::{
    PAGE_ORDER, PAGE_SIZE,
    fault::Access,
    flexpage::{Flexpage, Rights, WHOLE_SPACE_ORDER},
    message::MessageTag,
};

/// See [`Event::Fault`](super::Event::Fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How the address was accessed.
    pub access: Access,
    /// The address, or the first port.
    pub address: u64,
    /// Instruction pointer.
    pub instruction: u64,
    /// The pager that is asked; nobody, the kernel, for sigma0.
    pub pager: Ids,
    /// The thread that the faulting one has to answer itself, [`NOBODY`](crate::introspection::NOBODY)
    /// if there is none. If that one waits with a fault, serving it is what the faulting one was about.
    pub owed: u16,
    /// Number of the fault.
    pub number: u64,
    /// Stack pointer.
    pub stack: u64,
}

impl Recorded for Fault {
    const KIND: Kind = Kind::Fault;

    #[inline(always)]
    fn fields(&self) -> Fields {
        let asked = halves(self.pager.bits(), self.owed as u32);
        let words = [self.address, self.instruction, asked, self.number, self.stack];
        Fields { flags: self.access.bits(), ..Fields::words(words) }
    }

    fn of(Fields { flags, words, .. }: Fields) -> Option<Self> {
        let [address, instruction, asked, number, stack] = words;
        let (access, owed) = (access(flags), high(asked) as u16);
        Some(Self { access, address, instruction, pager: low_ids(asked), owed, number, stack })
    }
}

/// See [`Event::Exception`](super::Event::Exception).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The processor's number for it.
    pub vector: u8,
    /// The processor's error code.
    pub error_code: u64,
    /// Instruction pointer.
    pub instruction: u64,
    /// The exception handler that is asked.
    pub handler: Ids,
    /// As [`Fault::owed`].
    pub owed: u16,
    /// Number, counted together with faults.
    pub number: u64,
    /// Stack pointer.
    pub stack: u64,
}

impl Recorded for Exception {
    const KIND: Kind = Kind::Exception;

    fn fields(&self) -> Fields {
        let asked = halves(self.handler.bits(), self.owed.into());
        let words = [self.error_code, self.instruction, asked, self.number, self.stack];
        Fields { flags: self.vector, ..Fields::words(words) }
    }

    fn of(Fields { flags: vector, words, .. }: Fields) -> Option<Self> {
        let [error_code, instruction, asked, number, stack] = words;
        let (handler, owed) = (low_ids(asked), high(asked) as u16);
        Some(Self { vector, error_code, instruction, handler, owed, number, stack })
    }
}

/// See [`Event::Resume`](super::Event::Resume).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Number of the fault or exception.
    pub number: u64,
    /// Time at which the pager got the message.
    pub delivered: u64,
    /// Time at which its answer entered the kernel.
    pub answered: u64,
    /// Tag of the answer.
    pub tag: MessageTag,
    /// Who answered.
    pub by: Ids,
}

impl Recorded for Resume {
    const KIND: Kind = Kind::Resume;

    fn fields(&self) -> Fields {
        let Self { number, delivered, answered, tag, by } = *self;
        Fields::words([number, delivered, answered, tag.widened(), by.bits().into()])
    }

    fn of(Fields { words, .. }: Fields) -> Option<Self> {
        let [number, delivered, answered, answer, by] = words;
        Some(Self { number, delivered, answered, tag: tag(answer), by: low_ids(by) })
    }
}

/// See [`Event::Resolve`](super::Event::Resolve).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The rights that arrived.
    pub rights: Rights,
    /// Time at which the pager got the message.
    pub delivered: u64,
    /// The sender's flexpage: a page of memory, which is below 4 GiB.
    pub sent: Flexpage,
    /// Where it arrived.
    pub destination: u32,
    /// Physical address of the page.
    pub physical: u64,
    /// Number of the fault.
    pub number: u64,
    /// Who answered.
    pub by: Ids,
    /// Ticks since the answer entered the kernel.
    pub answer_ticks: u32,
}

impl Recorded for Resolve {
    const KIND: Kind = Kind::Resolve;

    #[inline(always)]
    fn fields(&self) -> Fields {
        let words = [
            self.delivered,
            self.sent.0 as u64 | halves(0, self.destination),
            self.physical,
            self.number,
            halves(self.by.bits(), self.answer_ticks),
        ];
        Fields { flags: self.rights.bits(), ..Fields::words(words) }
    }

    fn of(Fields { flags, words, .. }: Fields) -> Option<Self> {
        let [delivered, pages, physical, number, answer] = words;
        Some(Self {
            rights: rights(flags),
            delivered,
            sent: flexpage(low(pages).into()),
            destination: high(pages),
            physical,
            number,
            by: low_ids(answer),
            answer_ticks: high(answer),
        })
    }
}

impl Resolve {
    /// The map and the resume that one at `time` stands for.
    pub const fn split(&self, time: u64) -> (Map, Resume) {
        let map = Map {
            status: MapStatus::Done,
            grant: false,
            rights: self.rights,
            order: PAGE_ORDER as u8,
            window: WHOLE_SPACE_ORDER as u8,
            destination: self.destination,
            source: self.sent.0 as u32 & !(PAGE_SIZE as u32 - 1),
            sent: self.sent,
            physical: self.physical,
            fault: self.number,
            sender: self.by,
            entries: 1,
        };
        let resume = Resume {
            number: self.number,
            delivered: self.delivered,
            answered: time.wrapping_sub(self.answer_ticks as u64),
            tag: MessageTag::new(0, 0, 1),
            by: self.by,
        };
        (map, resume)
    }
}

/// See [`Event::Unresolved`](super::Event::Unresolved).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnresolvedFault {
    /// Why.
    pub reason: Unresolved,
    /// As [`Fault::access`]; empty for an exception.
    pub access: Access,
    /// The address, or the first port; 0 for an exception.
    pub address: u64,
    /// Instruction pointer.
    pub instruction: u64,
    /// The pager, or the exception handler.
    pub pager: Ids,
    /// Number of the fault or exception.
    pub number: u64,
    /// Tag of the answer, or error word of the IPC.
    pub answer: u64,
}

impl Recorded for UnresolvedFault {
    const KIND: Kind = Kind::Unresolved;

    fn fields(&self) -> Fields {
        let Self { reason, access, address, instruction, pager, number, answer } = *self;
        let words = [address, instruction, pager.bits().into(), number, answer];
        Fields { flags: reason as u8, order: access.bits(), ..Fields::words(words) }
    }

    fn of(Fields { flags, order, words, .. }: Fields) -> Option<Self> {
        let [address, instruction, pager, number, answer] = words;
        let (reason, access) = (Unresolved::from_u8(flags)?, access(order));
        Some(Self { reason, access, address, instruction, pager: low_ids(pager), number, answer })
    }
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
