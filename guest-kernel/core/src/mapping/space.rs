//! Address spaces: a directory of page tables, the same two levels on every architecture. Memory
//! has one, and so have I/O ports, where port number `p` stands in for page number `p`.

use crate::{
    arch::{
        DIRECTORY_FRAMES, Entry, SPINE_PAIRS, TABLE_ENTRIES, TABLE_ORDER, Table, link_spine,
        unlink_spine,
    },
    memory::{
        frames::{FramePair, PhysicalAddress, TableFrame},
        index::TaskIndex,
        machine::{Memory, Processor},
        node::{MaybeNode, NodeIndex},
    },
};
use core::marker::PhantomData;
use protocol::{PAGE_ORDER, Word, introspection::mapping::Resource, layout::USER_END};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// The nodes of a frame of entries.
pub type Companion = [MaybeNode; TABLE_ENTRIES];

/// A task's memory and ports. The processor's tables are the only record of what it maps.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Space {
    root: PhysicalAddress,
    spine: [TableFrame; SPINE_PAIRS],
    directories: [TableFrame; DIRECTORY_FRAMES],
    ports: Option<FramePair>,
    /// A bit for each part of memory's directories where something has ever been entered.
    touched: u64,
}

/// Binary logarithm of the size of such a part.
const PART_ORDER: u32 = TABLE_ORDER + 5;

const _: () = assert!(USER_END >> PART_ORDER <= u64::BITS as usize);

/// Memory or ports: which of a task's directories is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Pages of memory.
    Memory,
    /// I/O ports.
    Ports,
}

impl Pages {
    /// How nodes name it.
    #[inline(always)]
    pub fn resource(self) -> Resource {
        match self {
            Self::Memory => Resource::Memory,
            Self::Ports => Resource::Ports,
        }
    }
}

/// What stands in a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryEntry {
    /// Nothing.
    Empty,
    /// A superpage; the entry has its frame and rights.
    Superpage(Entry),
    /// A page table.
    Table(TableFrame),
}

/// Where an entry and its companion stand: a page, a superpage, or a capability.
#[derive(Debug)]
pub struct Spot<E> {
    frame: TableFrame,
    index: usize,
    entry: PhantomData<E>,
}

impl<E> Clone for Spot<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Spot<E> {}

/// An entry has changed that somebody may have gone by. Who changes it gets this, and can only get rid of it
/// by telling the processor, or by saying that there is nobody to tell.
#[must_use = "the processor may still go by the old entry"]
#[derive(Debug)]
pub struct Stale(());

impl Stale {
    /// Tells the processor, as to a page of memory of the space with this top-level page table.
    #[inline(always)]
    pub fn flush(self, machine: &mut impl Processor, root: PhysicalAddress, address: Word) {
        machine.flush_page(root, address);
    }

    /// Tells it, as to a task's ports.
    pub fn forget_ports(self, machine: &mut impl Processor, task: TaskIndex) {
        machine.forget_ports(task);
    }

    /// The processor does not know it: a capability, or of a space that is left for good.
    #[inline(always)]
    pub fn is_unknown(self) {}
}

/// Frames of entries of one kind.
pub trait Entries: Copy + PartialEq {
    /// A frame of them.
    type Frame: FromBytes + IntoBytes + KnownLayout + AsMut<[Self]>;
    /// The nodes of such a frame.
    type Companion: FromBytes + IntoBytes + KnownLayout + AsMut<[MaybeNode]>;
    /// Nothing.
    const EMPTY: Self;
}

impl Entries for Entry {
    type Frame = Table;
    type Companion = Companion;
    const EMPTY: Self = Self::EMPTY;
}

impl<E: Entries> Spot<E> {
    /// The spot at a position of a table.
    #[inline(always)]
    pub fn new(frame: TableFrame, index: usize) -> Self {
        Self { frame, index, entry: PhantomData }
    }

    /// Its table.
    pub fn frame(self) -> TableFrame {
        self.frame
    }

    /// Its position there.
    pub fn index(self) -> usize {
        self.index
    }

    /// The entry there.
    #[inline(always)]
    pub fn entry(self, machine: &mut impl Memory) -> E {
        machine.view::<E::Frame>(self.frame.entries()).as_mut()[self.index]
    }

    /// Its node, if it has one.
    #[inline(always)]
    pub fn node(self, machine: &mut impl Memory) -> Option<NodeIndex> {
        machine.companion::<E::Companion>(self.frame).as_mut()[self.index].get()
    }

    /// Enters something where nothing is.
    #[inline(always)]
    pub fn set_entry(self, machine: &mut impl Memory, entry: E) {
        debug_assert!(self.entry(machine) == E::EMPTY, "something is there");
        self.write(machine, entry);
    }

    /// Replaces the entry.
    #[inline(always)]
    pub fn replace_entry(self, machine: &mut impl Memory, entry: E) -> Stale {
        self.write(machine, entry);
        Stale(())
    }

    #[inline(always)]
    fn write(self, machine: &mut impl Memory, entry: E) {
        machine.view::<E::Frame>(self.frame.entries()).as_mut()[self.index] = entry;
    }

    /// Replaces the node.
    #[inline(always)]
    pub fn set_node(self, machine: &mut impl Memory, node: MaybeNode) {
        machine.companion::<E::Companion>(self.frame).as_mut()[self.index] = node;
    }

    /// Leaves neither entry nor node.
    #[inline(always)]
    pub fn clear(self, machine: &mut impl Memory) -> Stale {
        self.set_node(machine, MaybeNode::NONE);
        self.replace_entry(machine, E::EMPTY)
    }
}

impl Space {
    /// A space that maps only the kernel, made of zeroed frames.
    pub fn new(
        machine: &mut impl Memory,
        spine: [TableFrame; SPINE_PAIRS],
        directories: [TableFrame; DIRECTORY_FRAMES],
    ) -> Self {
        let root = link_spine(machine, spine, directories);
        Self { root, spine, directories, ports: None, touched: 0 }
    }

    /// What the processor's page-table register has to hold.
    #[inline]
    pub fn root(&self) -> PhysicalAddress {
        self.root
    }

    /// Whether there is a directory of ports.
    pub fn has_port_directory(&self) -> bool {
        self.ports.is_some()
    }

    /// Adds a directory of ports, made of zeroed frames.
    pub fn set_port_directory(&mut self, directory: FramePair) {
        self.ports = Some(directory);
    }

    /// Takes the directory of ports out, which must be empty.
    pub fn take_port_directory(&mut self) -> Option<FramePair> {
        self.ports.take()
    }

    /// Something is entered into memory's directory for `address`, which is in the user area.
    pub fn touch(&mut self, address: Word) {
        self.touched |= 1 << (address >> PART_ORDER);
    }

    /// The first address from `address` on, which is in the user area, for which something may ever have been
    /// entered into memory's directory; where there is none, the end of the user area.
    pub fn next_touched(&self, address: Word) -> Word {
        let part = address >> PART_ORDER;
        match self.touched >> part {
            0 => USER_END,
            further if further & 1 != 0 => address,
            further => (part + further.trailing_zeros() as usize) << PART_ORDER,
        }
    }

    /// What a space was made of that maps nothing any more but the kernel, zero again. It must not be used
    /// then.
    pub fn take_apart<M: Memory>(
        &self,
        machine: &mut M,
    ) -> impl Iterator<Item = FramePair> + use<M> {
        unlink_spine(machine, self.spine, self.directories);
        self.spine.into_iter().chain(self.directories).map(TableFrame::into_pair)
    }

    /// The spot of the directory entry for `address`, which must be in the user area; `None` if
    /// there is no such directory.
    #[inline(always)]
    pub fn directory_spot(&self, pages: Pages, address: Word) -> Option<Spot<Entry>> {
        let number = address >> TABLE_ORDER;
        let directory = match pages {
            Pages::Memory => self.directories[number / TABLE_ENTRIES],
            Pages::Ports => self.ports.as_ref()?.table(),
        };
        Some(Spot::new(directory, number % TABLE_ENTRIES))
    }

    /// The spot of memory's directory entry for any `address`, if there is one. Beyond the user area it may
    /// be the kernel's: then nothing there has a node.
    #[inline(always)]
    pub fn any_directory_spot(&self, address: Word) -> Option<Spot<Entry>> {
        let number = address >> TABLE_ORDER;
        let directory = *self.directories.get(number / TABLE_ENTRIES)?;
        Some(Spot::new(directory, number % TABLE_ENTRIES))
    }

    /// The spot of a small page of memory at `address`, which must be in the user area, if there is a table.
    #[inline(always)]
    pub fn small_spot(&self, machine: &mut impl Memory, address: Word) -> Option<Spot<Entry>> {
        let table = self.table(machine, Pages::Memory, address)?;
        Some(Spot::new(table, table_index(address)))
    }

    /// The directory entry for `address`, which must be in the user area.
    #[inline(always)]
    pub fn directory_entry(
        &self,
        machine: &mut impl Memory,
        pages: Pages,
        address: Word,
    ) -> DirectoryEntry {
        match self.directory_spot(pages, address) {
            Some(spot) => DirectoryEntry::from(spot.entry(machine)),
            None => DirectoryEntry::Empty,
        }
    }

    /// The page table for `address`, if there is one.
    #[inline(always)]
    pub fn table(
        &self,
        machine: &mut impl Memory,
        pages: Pages,
        address: Word,
    ) -> Option<TableFrame> {
        match self.directory_entry(machine, pages, address) {
            DirectoryEntry::Table(table) => Some(table),
            DirectoryEntry::Empty | DirectoryEntry::Superpage(_) => None,
        }
    }

    /// The spot that maps the page at `address` for itself or as a part of a superpage; `None` if
    /// there is not even a table. The entry may be empty.
    #[inline(always)]
    pub fn spot(
        &self,
        machine: &mut impl Memory,
        pages: Pages,
        address: Word,
    ) -> Option<Spot<Entry>> {
        let spot = self.directory_spot(pages, address)?;
        match DirectoryEntry::from(spot.entry(machine)) {
            DirectoryEntry::Empty => None,
            DirectoryEntry::Superpage(_) => Some(spot),
            DirectoryEntry::Table(table) => Some(Spot::new(table, table_index(address))),
        }
    }

    /// The entry that maps the smallest page at `address`: of its table, or as if its superpage
    /// were a table.
    #[inline]
    pub fn page_entry(&self, machine: &mut impl Memory, pages: Pages, address: Word) -> Entry {
        match self.directory_entry(machine, pages, address) {
            DirectoryEntry::Empty => Entry::EMPTY,
            DirectoryEntry::Superpage(entry) => page_of_superpage(entry, address),
            DirectoryEntry::Table(table) => {
                Spot::<Entry>::new(table, table_index(address)).entry(machine)
            }
        }
    }
}

impl From<Entry> for DirectoryEntry {
    #[inline(always)]
    fn from(entry: Entry) -> Self {
        if !entry.is_present() {
            return Self::Empty;
        }
        if entry.is_superpage() {
            return Self::Superpage(entry);
        }
        entry.table_frame().map_or(Self::Empty, Self::Table)
    }
}

/// The position of the page at `address` in its table.
#[inline(always)]
pub fn table_index(address: Word) -> usize {
    (address >> PAGE_ORDER) % TABLE_ENTRIES
}

/// The table entry that would map the page at `address` as the superpage `entry` does.
#[inline]
pub fn page_of_superpage(entry: Entry, address: Word) -> Entry {
    let inside = table_index(address) << PAGE_ORDER;
    Entry::page(PhysicalAddress(entry.physical().0 + inside as u64), entry.rights(), false)
}
