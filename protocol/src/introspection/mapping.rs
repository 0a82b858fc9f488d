//! The mapping database as it lies in memory.
//!
//! Every mapping is a [`MappingNode`]. The nodes of one tree are a doubly linked list in depth-first
//! order: a node's children follow it with a depth of one more, and its subtree are all nodes behind
//! it with a greater depth. A node has depth 0 where its resource entered the system: sigma0's own
//! pages and ports, and the first capability to a new object.
//!
//! The rights, the frame, and what the processor notes stand in the table entry, and only there.
//! Each frame of entries (page directory, page table, capability table) has a *companion*: the frame
//! right behind it, [`COMPANION_OFFSET`] further on, an array of `u32`. The companion of entry `n` is
//! number `n`: the index of its node, or 0 if there is none. A node leads back to its entry by its
//! task, kind and number. Node number `n` lies at physical address `n * 16`.
//!
//! Ports are kept like pages: port `p` is the page number `p` of a space of its own, with one
//! directory ([`super::TaskRecord::port_directory`]) of tables in the processor's entry format; the
//! frame of such an entry is the port.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// From a frame of entries to its companion, in bytes.
pub const COMPANION_OFFSET: u64 = 4096;

/// The greatest depth of a mapping; one that deep cannot be mapped on. Each step is somebody who hands on
/// what was handed to it, and no system has as many layers; but whoever follows a mapping to its root
/// can rely on it.
pub const MAX_DEPTH: u16 = 255;

/// One mapping of one page, superpage, port, block of ports, or capability.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct MappingNode {
    /// The next node in depth-first order, 0 at the end. In a free node: how much further on the
    /// next free node is than the one right behind it (wrapping), so that a zeroed frame is a list.
    pub next: u32,
    /// The node before, 0 at the beginning.
    pub previous: u32,
    /// A [`Place`] in its task.
    pub place: Place,
    /// The task, or [`super::NOBODY`] for a bookmark.
    pub task: u16,
    /// Distance from the root of its tree.
    pub depth: u16,
}

const _: () = assert!(size_of::<MappingNode>() == 16);

/// Bytes of a node: its address by its index.
pub const NODE_SIZE: u64 = size_of::<MappingNode>() as u64;

/// What a mapping maps. Stored in two bits of [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A page of memory.
    Memory,
    /// An I/O port.
    Ports,
    /// A capability.
    Capability,
    /// Nothing: the place where an unmap that was interrupted goes on. Its number is the thread's, or
    /// [`super::NOBODY`] where the kernel takes objects apart.
    Bookmark,
}

/// Where a mapping stands in its task: from the lowest bit number (20), superpage (1), granted (1),
/// resource (2), watched (1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Place(pub u32);

const NUMBER_MASK: u32 = 0xf_ffff;
const SUPERPAGE: u32 = 1 << 20;
const GRANTED: u32 = 1 << 21;
const RESOURCE_SHIFT: u32 = 22;
const WATCHED: u32 = 1 << 24;

impl Place {
    /// A place of a mapping that came by map.
    #[inline(always)]
    pub const fn new(resource: Resource, number: u32, superpage: bool) -> Self {
        let superpage = if superpage { SUPERPAGE } else { 0 };
        Self(number & NUMBER_MASK | superpage | (resource as u32) << RESOURCE_SHIFT)
    }

    /// The place so many pages further on, which must have a number too.
    #[inline(always)]
    pub const fn further(self, pages: u32) -> Self {
        Self(self.0 + pages)
    }

    /// The same place of a mapping that came by grant.
    pub const fn granted(self) -> Self {
        Self(self.0 | GRANTED)
    }

    /// The same place of a mapping that an interrupted unmap will come back to.
    pub const fn watched(self) -> Self {
        Self(self.0 | WATCHED)
    }

    /// Whether an unmap that was interrupted may come back to this mapping: it is the one whose
    /// descendants are to go, or the top of the subtree that the unmap is in.
    #[inline(always)]
    pub const fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    /// The place alone, without how the mapping came there and who watches it.
    pub const fn bare(self) -> Self {
        Self(self.0 & !(GRANTED | WATCHED))
    }

    /// Whether it is a small page of memory, the most frequent of all.
    #[inline(always)]
    pub const fn is_small_page(self) -> bool {
        self.0 & (SUPERPAGE | 3 << RESOURCE_SHIFT) == 0
    }

    /// Page number, port, capability index, or thread of a bookmark.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 & NUMBER_MASK
    }

    /// Whether it is one directory entry: a superpage, or as many ports.
    #[inline(always)]
    pub const fn is_superpage(self) -> bool {
        self.0 & SUPERPAGE != 0
    }

    /// Whether it came to its task by grant.
    pub const fn is_granted(self) -> bool {
        self.0 & GRANTED != 0
    }

    /// What it maps.
    #[inline(always)]
    pub const fn resource(self) -> Resource {
        match self.0 >> RESOURCE_SHIFT & 3 {
            0 => Resource::Memory,
            1 => Resource::Ports,
            2 => Resource::Capability,
            _ => Resource::Bookmark,
        }
    }
}

/// A slot of a capability table: from the lowest bit [`ObjectKind`] (8), rights (8), index of the
/// object (16). Zero is an empty slot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct CapabilitySlot(pub u32);

impl CapabilitySlot {
    /// A slot that holds a capability.
    #[inline]
    pub const fn new(kind: ObjectKind, rights: u8, index: u16) -> Self {
        Self(kind as u32 | (rights as u32) << 8 | (index as u32) << 16)
    }

    /// The kind of object; `None` for empty slots and for what is none.
    #[inline(always)]
    pub const fn kind(self) -> Option<ObjectKind> {
        ObjectKind::from_u8(self.0 as u8)
    }

    /// The rights ([`crate::flexpage::Rights`]).
    #[inline(always)]
    pub const fn rights(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The object among those of its kind.
    #[inline(always)]
    pub const fn index(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// What a capability stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// An IPC gate.
    Gate = 1,
    /// A thread.
    Thread = 2,
    /// A task.
    Task = 3,
    /// A factory.
    Factory = 4,
    /// The console.
    Console = 5,
    /// The scheduler.
    Scheduler = 6,
    /// The debugger object.
    Debugger = 7,
    /// The platform.
    Platform = 8,
    /// The answer that a thread waits for. Its index is the thread's.
    Reply = 9,
    /// The interrupts, of which objects can be made.
    Interrupts = 10,
    /// One interrupt. Its index is its number.
    Interrupt = 11,
}

impl ObjectKind {
    /// Reads the wire form.
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Gate,
            2 => Self::Thread,
            3 => Self::Task,
            4 => Self::Factory,
            5 => Self::Console,
            6 => Self::Scheduler,
            7 => Self::Debugger,
            8 => Self::Platform,
            9 => Self::Reply,
            10 => Self::Interrupts,
            11 => Self::Interrupt,
            _ => return None,
        })
    }
}

/// A factory as viewers see it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FactoryRecord {
    /// Bytes of kernel memory that it may spend.
    pub limit: u64,
    /// Bytes that it has spent: on objects, tables, frames of nodes, and limits of factories made
    /// from it.
    pub used: u64,
    /// Its first free node, 0 if there is none.
    pub free_nodes: u32,
    /// Nodes in the frames that it has paid for, without the first one of each pair of frames.
    pub nodes: u32,
    /// The factory that it was made from, or [`super::NOBODY`]. If it is unused, the next entry that is,
    /// or [`super::NOBODY`].
    pub parent: u16,
    /// [`super::UNUSED`] or [`super::ALIVE`].
    pub state: u16,
    /// Counts the factories that have had this table entry, with this one.
    pub generation: u32,
    /// The first node of the last pair of frames that it has paid for, or 0. It is of no mapping: the
    /// next one in it is the first node of the pair before, or 0.
    pub node_frames: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FactoryRecord>() == 40);

/// How long an object lives: as long as its first capability. Objects are named by their kind
/// ([`ObjectKind`], bits 0 to 15) and index (bits 16 to 31), 0 for none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LifeRecord {
    /// The node of its first capability, 0 if it has none. Of one that is dying, the ids
    /// ([`super::record::ids`]) of who took that away.
    pub root: u32,
    /// The next one that the same factory has made.
    pub next: u32,
    /// The one before.
    pub previous: u32,
    /// The next one in the list of objects that something is due to ([`LifeState::Dying`]).
    pub next_due: u32,
    /// The one before.
    pub previous_due: u32,
    /// Of a factory, the first one of those that it has made.
    pub made: u32,
    /// The factory that has paid for it, or [`super::NOBODY`].
    pub factory: u16,
    /// A [`LifeState`].
    pub state: u16,
}

const _: () = assert!(size_of::<LifeRecord>() == 28);

/// What a [`LifeRecord`] is in. Stored as `u16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum LifeState {
    /// There is no such object.
    None = 0,
    /// It lives.
    Living = 1,
    /// The last capability to a gate that was derived from its first one is gone, which its thread has
    /// not been told yet.
    Unheld = 2,
    /// Its first capability is gone: the kernel is about to take it apart.
    Dying = 3,
}

/// An IPC gate as viewers see it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct GateRecord {
    /// What the receiver gets to see.
    pub label: u64,
    /// The thread that receives. If it is unused, the next entry that is, or [`super::NOBODY`].
    pub thread: u16,
    /// [`super::UNUSED`] or [`super::ALIVE`].
    pub state: u16,
    /// Counts the gates that have had this table entry, with this one.
    pub generation: u32,
}

const _: () = assert!(size_of::<GateRecord>() == 16);

/// An interrupt as viewers see it. Its index in the table is its number
/// ([`crate::operation::interrupts`]).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct InterruptRecord {
    /// [`super::UNUSED`] or [`super::ALIVE`].
    pub state: u16,
    /// The gate that it is bound to, or [`super::NOBODY`].
    pub gate: u16,
    /// [`InterruptRecord::OPEN`] and others.
    pub flags: u32,
    /// Counts the objects that there have been of this interrupt, with this one.
    pub generation: u32,
    /// Times that somebody was told of it, as far as they can be counted.
    pub told: u32,
}

const _: () = assert!(size_of::<InterruptRecord>() == 16);

impl InterruptRecord {
    /// It is not masked.
    pub const OPEN: u32 = 1;
    /// It has come, and nobody was told of that yet.
    pub const PENDING: u32 = 2;
    /// It has come again while it was masked.
    pub const MISSED: u32 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        for resource in
            [Resource::Memory, Resource::Ports, Resource::Capability, Resource::Bookmark]
        {
            for (number, superpage) in [(0, false), (0xf_ffff, true), (0x1234, false)] {
                let place = Place::new(resource, number, superpage);
                assert_eq!((place.resource(), place.number()), (resource, number));
                assert_eq!((place.is_superpage(), place.is_granted()), (superpage, false));
                let granted = place.granted();
                assert_eq!((granted.resource(), granted.number()), (resource, number));
                assert!(granted.is_granted() && granted.is_superpage() == superpage);
                let watched = granted.watched();
                assert_eq!((watched.resource(), watched.number()), (resource, number));
                assert!(watched.is_watched() && watched.is_granted() && !granted.is_watched());
                let small_page = resource == Resource::Memory && !superpage;
                assert_eq!(watched.is_small_page(), small_page);
                assert_eq!(watched.bare(), place);
            }
        }
    }

    #[test]
    fn slots_come_back_and_nonsense_is_empty() {
        let slot = CapabilitySlot::new(ObjectKind::Factory, 5, 0xbeef);
        assert_eq!(slot.0, 0xbeef_0504);
        assert_eq!(slot.kind(), Some(ObjectKind::Factory));
        assert_eq!((slot.rights(), slot.index()), (5, 0xbeef));
        assert_eq!(CapabilitySlot::default().kind(), None);
        assert_eq!(CapabilitySlot(0xff).kind(), None);
    }
}
