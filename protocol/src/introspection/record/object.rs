//! Objects: how they begin, what they are called, whom threads turn to, and how they end.

use super::{
    Ids, Kind, Recorded,
    fields::{Fields, halves, high, low, low_ids, name, name_words},
};
use crate::introspection::{NAME_LENGTH, mapping::ObjectKind};

/// A name, padded with zeros.
pub type Name = [u8; NAME_LENGTH];

/// See [`Event::TaskCreated`](super::Event::TaskCreated).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskCreated {
    /// Who created it.
    pub creator: Ids,
}

impl Recorded for TaskCreated {
    const KIND: Kind = Kind::TaskCreated;

    fn fields(&self) -> Fields {
        Fields::words([self.creator.bits().into(), 0, 0, 0, 0])
    }

    fn of(Fields { words: [creator, ..], .. }: Fields) -> Option<Self> {
        Some(Self { creator: low_ids(creator) })
    }
}

/// See [`Event::ThreadStarted`](super::Event::ThreadStarted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStarted {
    /// Who bound it.
    pub creator: Ids,
}

impl Recorded for ThreadStarted {
    const KIND: Kind = Kind::ThreadStarted;

    fn fields(&self) -> Fields {
        Fields::words([self.creator.bits().into(), 0, 0, 0, 0])
    }

    fn of(Fields { words: [creator, ..], .. }: Fields) -> Option<Self> {
        Some(Self { creator: low_ids(creator) })
    }
}

/// See [`Event::ObjectNamed`](super::Event::ObjectNamed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectNamed {
    /// What got the name. Its number is in [`Traced::who`](super::Traced::who).
    pub object: NamedObject,
    /// How many objects have had that number, with it.
    pub generation: u32,
    /// Who gave it; nobody if the kernel did.
    pub by: Ids,
    /// Its name.
    pub name: Name,
}

/// An object that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedObject {
    /// A task.
    Task {
        /// Index of the boot module with its image and symbols.
        image: Option<u32>,
    },
    /// A thread.
    Thread,
}

impl Recorded for ObjectNamed {
    const KIND: Kind = Kind::ObjectNamed;

    fn fields(&self) -> Fields {
        let (kind, last) = match self.object {
            NamedObject::Task { image } => (ObjectKind::Task, image_word(image)),
            NamedObject::Thread => (ObjectKind::Thread, 0),
        };
        let [first, second] = name_words(self.name);
        let words = [self.by.bits().into(), self.generation.into(), first, second, last];
        Fields { flags: kind as u8, ..Fields::words(words) }
    }

    fn of(Fields { flags, words, .. }: Fields) -> Option<Self> {
        let [by, generation, first, second, last] = words;
        let object = match ObjectKind::from_u8(flags)? {
            ObjectKind::Task => NamedObject::Task { image: image(last) },
            ObjectKind::Thread => NamedObject::Thread,
            _ => return None,
        };
        let (by, name) = (low_ids(by), name([first, second]));
        Some(Self { object, generation: low(generation), by, name })
    }
}

/// See [`Event::PagersSet`](super::Event::PagersSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagersSet {
    /// Who set them; nobody if the kernel did.
    pub by: Ids,
    /// Whom its page faults go to.
    pub pager: Handler,
    /// Whom its other exceptions go to.
    pub exception_handler: Handler,
}

/// Whom a thread turns to, as far as that is known when it is set: there need not be a gate yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Index of the gate in the capability table of the thread's task.
    pub capability: u16,
    /// The gate, if there is one.
    pub gate: Option<Gate>,
}

/// The gate to a pager or exception handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its label.
    pub label: u64,
    /// The thread that it leads to, which may be in no task yet.
    pub thread: Ids,
}

impl Handler {
    /// Ids of the thread and label of the gate.
    fn parts(&self) -> (Ids, u64) {
        self.gate.map_or((Ids::NOBODY, 0), |gate| (gate.thread, gate.label))
    }
}

impl Recorded for PagersSet {
    const KIND: Kind = Kind::PagersSet;

    fn fields(&self) -> Fields {
        let Self { by, pager, exception_handler: handler } = *self;
        let [(paging, pager_label), (handling, handler_label)] = [pager.parts(), handler.parts()];
        let places = [(paging, pager), (handling, handler)]
            .map(|(thread, place)| halves(thread.bits(), place.capability.into()));
        Fields::words([by.bits().into(), places[0], places[1], pager_label, handler_label])
    }

    fn of(Fields { words, .. }: Fields) -> Option<Self> {
        let [by, pager, exception_handler, pager_label, handler_label] = words;
        let handler = |place, label| {
            let (capability, thread) = (high(place) as u16, low_ids(place));
            let gate = (thread != Ids::NOBODY).then_some(Gate { label, thread });
            Handler { capability, gate }
        };
        Some(Self {
            by: low_ids(by),
            pager: handler(pager, pager_label),
            exception_handler: handler(exception_handler, handler_label),
        })
    }
}

/// See [`Event::ObjectEnded`](super::Event::ObjectEnded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectEnded {
    /// What ended.
    pub object: EndedObject,
    /// Its number among the objects of its kind.
    pub number: u16,
    /// How many objects have had that number, with it.
    pub generation: u32,
    /// Who took its first capability away.
    pub by: Ids,
}

/// An object that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedObject {
    /// A gate.
    Gate {
        /// Its label.
        label: u64,
    },
    /// A thread.
    Thread {
        /// Its name.
        name: Name,
    },
    /// A task.
    Task {
        /// Its name.
        name: Name,
        /// As [`NamedObject::Task::image`].
        image: Option<u32>,
    },
    /// A factory.
    Factory,
    /// The answer that a thread waited for.
    Reply,
    /// An interrupt.
    Interrupt,
}

impl EndedObject {
    /// Its kind.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Gate { .. } => ObjectKind::Gate,
            Self::Thread { .. } => ObjectKind::Thread,
            Self::Task { .. } => ObjectKind::Task,
            Self::Factory => ObjectKind::Factory,
            Self::Reply => ObjectKind::Reply,
            Self::Interrupt => ObjectKind::Interrupt,
        }
    }

    /// Its name, if such objects have one.
    pub const fn name(&self) -> Option<Name> {
        match *self {
            Self::Thread { name } | Self::Task { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl Recorded for ObjectEnded {
    const KIND: Kind = Kind::ObjectEnded;

    fn fields(&self) -> Fields {
        let Self { object, number, generation, by } = *self;
        let last = match object {
            EndedObject::Gate { label } => label,
            EndedObject::Task { image, .. } => image_word(image),
            _ => 0,
        };
        let [first, second] = name_words(object.name().unwrap_or_default());
        let which = halves(number.into(), generation);
        let words = [by.bits().into(), which, first, second, last];
        Fields { flags: object.kind() as u8, ..Fields::words(words) }
    }

    fn of(Fields { flags, words, .. }: Fields) -> Option<Self> {
        let [by, which, first, second, last] = words;
        let name = name([first, second]);
        let object = match ObjectKind::from_u8(flags)? {
            ObjectKind::Gate => EndedObject::Gate { label: last },
            ObjectKind::Thread => EndedObject::Thread { name },
            ObjectKind::Task => EndedObject::Task { name, image: image(last) },
            ObjectKind::Factory => EndedObject::Factory,
            ObjectKind::Reply => EndedObject::Reply,
            ObjectKind::Interrupt => EndedObject::Interrupt,
            _ => return None,
        };
        let (number, generation) = (low(which) as u16, high(which));
        Some(Self { object, number, generation, by: low_ids(by) })
    }
}

/// The module of an image plus 1, or 0.
const fn image_word(image: Option<u32>) -> u64 {
    match image {
        Some(module) => module as u64 + 1,
        None => 0,
    }
}

/// What that stands for.
const fn image(word: u64) -> Option<u32> {
    match word.checked_sub(1) {
        Some(module) => Some(module as u32),
        None => None,
    }
}
