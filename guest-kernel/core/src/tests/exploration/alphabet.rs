//! What the threads of the small machine do.

use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Flexpage, Rights},
    introspection::mapping::Resource,
    message::{MapItem, MessageTag},
};

/// Where each task may have its two pages, which stand side by side as one flexpage.
pub const PAGES: Word = 0x100_0000;

/// Where each task may have its two capabilities.
pub const SLOTS: Word = 62;

/// What can be sent and unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    Page(u8),
    BothPages,
    Slot(u8),
}

impl Thing {
    pub fn flexpage(self, rights: Rights) -> Flexpage {
        match self {
            Self::Page(number) => {
                Flexpage::memory(PAGES + Word::from(number) * PAGE_SIZE, PAGE_ORDER, rights)
            }
            Self::BothPages => Flexpage::memory(PAGES, PAGE_ORDER + 1, rights),
            Self::Slot(number) => Flexpage::capabilities(SLOTS + Word::from(number), 0, rights),
        }
    }

    /// What it is one of, and its number, if it is one thing.
    pub fn unit(self) -> Option<(Resource, u32)> {
        match self {
            Self::Page(number) => {
                Some((Resource::Memory, (PAGES >> PAGE_ORDER) as u32 + u32::from(number)))
            }
            Self::BothPages => None,
            Self::Slot(number) => Some((Resource::Capability, SLOTS as u32 + u32::from(number))),
        }
    }
}

/// A thing on its way into another task, or the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub thing: Thing,
    /// Which of the receiver's two pages or slots it becomes.
    pub place: u8,
    pub rights: Rights,
    pub grant: bool,
}

impl Item {
    pub const fn map(thing: Thing, place: u8) -> Self {
        Self { thing, place, rights: Rights::all(), grant: false }
    }

    pub const fn grant(self) -> Self {
        Self { grant: true, ..self }
    }

    const fn with(self, rights: Rights) -> Self {
        Self { rights, ..self }
    }

    pub fn encode(self) -> MapItem {
        let place = Word::from(self.place);
        let send_base = match self.thing {
            Thing::Slot(_) => (SLOTS + place) << PAGE_ORDER,
            _ => PAGES + place * PAGE_SIZE,
        };
        let flexpage = self.thing.flexpage(self.rights);
        MapItem { send_base, grant: self.grant, flexpage }
    }
}

/// Another thread: so many further on in the circle of three. 0 is the thread itself.
pub type Other = u8;

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Send {
        to: Other,
        item: Option<Item>,
    },
    Call {
        to: Other,
        item: Option<Item>,
    },
    Wait,
    Receive {
        from: Other,
    },
    ReplyAndWait {
        item: Option<Item>,
    },
    /// Sets aside what it owes, in one of the two slots.
    SetAside {
        slot: u8,
    },
    /// Answers from one of the two slots, and waits if it is without an item.
    Later {
        slot: u8,
        item: Option<Item>,
    },
    /// Writes to a page that it does not have; its pager is the next thread.
    Fault {
        page: u8,
    },
    /// Maps or grants into a task.
    Map {
        to: Other,
        item: Item,
    },
    Unmap {
        thing: Thing,
        take: Rights,
        own: bool,
    },
    /// Sends a thread elsewhere, whatever it is in.
    Cancel {
        thread: Other,
    },
}

/// What a message was composed for; its tag and words say so, and who composed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Send = 1,
    Call = 2,
    Reply = 3,
}

/// The tag of a message.
pub fn tag_of(kind: Kind, items: usize) -> MessageTag {
    MessageTag::new(kind as isize, 2, items)
}

/// Its words.
pub fn words_of(kind: Kind, sender: u16) -> [Word; 2] {
    let word = Word::from(sender) << 4 | kind as Word;
    [word, !word]
}

const PAGE: Item = Item::map(Thing::Page(0), 0);
pub const BOTH: Item = Item::map(Thing::BothPages, 0);
const SLOT: Item = Item::map(Thing::Slot(0), 0);

pub const fn unmap(thing: Thing, take: Rights, own: bool) -> Act {
    Act::Unmap { thing, take, own }
}

/// Map, grant and unmap of pages and capabilities, in every direction.
pub const MAPPINGS: &[Act] = &[
    Act::Map { to: 1, item: PAGE },
    Act::Map { to: 2, item: PAGE },
    Act::Map { to: 1, item: PAGE.with(Rights::READ) },
    Act::Map { to: 0, item: Item::map(Thing::Page(0), 1) },
    Act::Map { to: 1, item: Item::map(Thing::Page(1), 0) },
    Act::Map { to: 1, item: BOTH },
    Act::Map { to: 1, item: PAGE.grant() },
    Act::Map { to: 2, item: PAGE.with(Rights::READ).grant() },
    Act::Map { to: 1, item: SLOT },
    Act::Map { to: 2, item: Item::map(Thing::Slot(0), 1).grant() },
    unmap(Thing::Page(0), Rights::all(), false),
    unmap(Thing::Page(0), Rights::all(), true),
    unmap(Thing::Page(0), Rights::WRITE, true),
    unmap(Thing::BothPages, Rights::all(), false),
    unmap(Thing::Slot(0), Rights::all(), false),
    unmap(Thing::Slot(0), Rights::all(), true),
];

/// Messages, with and without items, faults, and threads that are sent elsewhere.
pub const MESSAGES: &[Act] = &[
    Act::Wait,
    Act::Receive { from: 1 },
    Act::Send { to: 1, item: None },
    Act::Send { to: 2, item: Some(BOTH) },
    Act::Call { to: 1, item: None },
    Act::Call { to: 2, item: None },
    Act::Call { to: 1, item: Some(BOTH) },
    Act::ReplyAndWait { item: None },
    Act::ReplyAndWait { item: Some(PAGE) },
    Act::Fault { page: 0 },
    Act::Cancel { thread: 1 },
];

/// A little of everything.
pub const EVERYTHING: &[Act] = &[
    Act::Wait,
    Act::Send { to: 1, item: Some(BOTH) },
    Act::Call { to: 1, item: None },
    Act::Call { to: 2, item: Some(SLOT) },
    Act::ReplyAndWait { item: Some(PAGE) },
    Act::Fault { page: 0 },
    Act::Cancel { thread: 1 },
    Act::Map { to: 1, item: PAGE },
    Act::Map { to: 2, item: PAGE.with(Rights::READ).grant() },
    Act::Map { to: 1, item: SLOT },
    unmap(Thing::Page(0), Rights::all(), false),
    unmap(Thing::BothPages, Rights::all(), true),
    unmap(Thing::Slot(0), Rights::all(), true),
];
