//! Address spaces: a directory of page tables, the same two levels on every architecture.

use crate::{
    arch::{DIRECTORY_FRAMES, Entry, SPINE_FRAMES, TABLE_ENTRIES, TABLE_ORDER, Table, link_spine},
    frames::{KernelFrame, PhysicalAddress},
    machine::Machine,
};
use protocol::{PAGE_ORDER, Word};

/// Frames that a new space needs.
pub const SPACE_FRAMES: usize = SPINE_FRAMES + DIRECTORY_FRAMES;

/// An address space. The processor's tables are the only record of what it maps.
#[derive(Debug)]
pub struct Space {
    root: PhysicalAddress,
    directories: [KernelFrame; DIRECTORY_FRAMES],
}

/// What stands in a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryEntry {
    /// Nothing.
    Empty,
    /// A superpage; the entry has its frame and rights.
    Superpage(Entry),
    /// A page table.
    Table(KernelFrame),
}

impl Space {
    /// A space that maps only the kernel, made of zeroed frames.
    pub fn new(machine: &mut impl Machine, frames: [KernelFrame; SPACE_FRAMES]) -> Self {
        let (spine, directories) = frames.split_at(SPINE_FRAMES);
        let spine = core::array::from_fn(|level| spine[level]);
        let directories = core::array::from_fn(|number| directories[number]);
        let root = link_spine(machine, spine, directories);
        Self { root, directories }
    }

    /// What the processor's page-table register has to hold.
    #[inline]
    pub fn root(&self) -> PhysicalAddress {
        self.root
    }

    /// The directory entry for `address`, which must be in the user area.
    #[inline(always)]
    pub fn directory_entry(&self, machine: &mut impl Machine, address: Word) -> DirectoryEntry {
        let (frame, index) = self.directory_slot(address);
        let entry = machine.view::<Table>(frame)[index];
        if !entry.is_present() {
            return DirectoryEntry::Empty;
        }
        if entry.is_superpage() {
            return DirectoryEntry::Superpage(entry);
        }
        entry.table_frame().map_or(DirectoryEntry::Empty, DirectoryEntry::Table)
    }

    /// Replaces the directory entry for `address`.
    #[inline]
    pub fn set_directory_entry(&self, machine: &mut impl Machine, address: Word, entry: Entry) {
        let (frame, index) = self.directory_slot(address);
        machine.view::<Table>(frame)[index] = entry;
    }

    /// The entry that maps the smallest page at `address`: of its table, or as if its superpage
    /// were a table.
    #[inline(always)]
    pub fn page_entry(&self, machine: &mut impl Machine, address: Word) -> Entry {
        match self.directory_entry(machine, address) {
            DirectoryEntry::Empty => Entry::EMPTY,
            DirectoryEntry::Superpage(entry) => page_of_superpage(entry, address),
            DirectoryEntry::Table(frame) => machine.view::<Table>(frame)[table_index(address)],
        }
    }

    #[inline(always)]
    fn directory_slot(&self, address: Word) -> (KernelFrame, usize) {
        let number = address >> TABLE_ORDER;
        (self.directories[number / TABLE_ENTRIES], number % TABLE_ENTRIES)
    }
}

/// The position of the page at `address` in its table.
#[inline]
pub fn table_index(address: Word) -> usize {
    (address >> PAGE_ORDER) % TABLE_ENTRIES
}

/// The table entry that would map the page at `address` as the superpage `entry` does.
#[inline]
pub fn page_of_superpage(entry: Entry, address: Word) -> Entry {
    let inside = table_index(address) << PAGE_ORDER;
    Entry::page(PhysicalAddress(entry.physical().0 + inside as u64), entry.rights(), false)
}
