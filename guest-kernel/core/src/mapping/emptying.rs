//! A task that ends: all that it has goes, and every frame that it was made of comes back.
//!
//! Nobody maps anything into the task any more and none of its threads runs, so what was found empty stays
//! empty: how far this has come is kept with the task, and whoever goes on with it goes on there. What
//! others do in between can only take mappings of the task away.

use crate::{
    arch::{Entry, TABLE_ENTRIES, TABLE_ORDER},
    mapping::{
        capability::SLOTS_PER_FRAME,
        mappings::Mappings,
        progress::Progress,
        space::{DirectoryEntry, Entries, Pages, Spot, table_index},
        stretch::Preempted,
        walk::Effect,
    },
    memory::{
        frames::{FramePair, TableFrame},
        index::{TaskIndex, WalkerIndex},
        machine::Machine,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{IO_PORTS, align_down},
    layout::USER_END,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// Steps that looking at one entry costs.
const LOOK_STEPS: u32 = 4;

/// Steps that it costs to look through some groups of entries.
const SEARCH_STEPS: u32 = 15;

/// Steps that clearing a piece of a frame costs.
pub(crate) const CLEAR_STEPS: u32 = 12;

/// Steps that giving a space's frames back costs.
const SPACE_STEPS: u32 = 36;

/// What is empty is found in groups of words.
type Group = [Word; 8];
const GROUPS: usize = PAGE_SIZE / size_of::<Group>();

/// So many of them are looked through at once.
const GROUPS_AT_ONCE: usize = 16;

/// Frames are cleared piece by piece.
type Piece = [Word; 64];
const PIECES: usize = PAGE_SIZE / size_of::<Piece>();

/// Pieces of a pair of frames.
pub(crate) const PAIR_PIECES: usize = 2 * PIECES;

/// How far the emptying of a task has come. All before is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// Pages, and then ports, below an address.
    Pages(Pages, Word),
    /// Pages and ports, and the capabilities before this one.
    Capabilities(CapabilityIndex),
    /// All that it had. Of the last pair of frames that it has for UTCBs so many pieces are left.
    Utcbs(usize),
    /// All that it was made of.
    Whole,
}

impl Emptied {
    /// How far it has come with a task that lives.
    pub const NOTHING: Self = Self::Pages(Pages::Memory, 0);
}

impl<M: Machine> Mappings<M> {
    /// Takes all away that a task has, and gives back the frames of its space, its capability table and its
    /// UTCBs. Nothing may lead to its UTCBs any more, none of its threads may run again, and nobody may map
    /// into it. Its place in the table is not vacant yet.
    pub fn empty_task(&mut self, walker: WalkerIndex, task: TaskIndex) -> Result<(), Preempted> {
        let (dying, other) = (&self.tasks[task].space, &self.tasks[TaskIndex::SIGMA0].space);
        self.machine.leave_space(dying.root(), other.root());
        self.machine.forget_ports(task);
        let mut progress = Progress::new(walker);
        loop {
            self.spend(LOOK_STEPS)?;
            let emptied = match self.tasks[task].emptied {
                Emptied::Pages(pages, address) if address < end_of(pages) => {
                    self.empty_pages(&mut progress, task, pages, address)?
                }
                Emptied::Pages(Pages::Memory, _) => Emptied::Pages(Pages::Ports, 0),
                Emptied::Pages(Pages::Ports, _) => self.end_ports(task),
                Emptied::Capabilities(index) if index.0 < CAPABILITY_TABLE_SIZE => {
                    self.empty_capabilities(&mut progress, task, index)?
                }
                Emptied::Capabilities(_) => {
                    Emptied::Utcbs(self.tasks[task].utcb_area.frames_of_last() * PIECES)
                }
                Emptied::Utcbs(left) => self.empty_utcbs(task, left)?,
                Emptied::Whole => break,
            };
            self.tasks[task].emptied = emptied;
        }
        self.end_walk(walker);
        Ok(())
    }

    /// Goes on with pages or ports, of which there may be more from `address` on.
    fn empty_pages(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        pages: Pages,
        address: Word,
    ) -> Result<Emptied, Preempted> {
        let Some(spot) = self.tasks[task].space.directory_spot(pages, address) else {
            return Ok(Emptied::Pages(pages, end_of(pages)));
        };
        let start = align_down(address, TABLE_ORDER);
        let entry = DirectoryEntry::from(spot.entry(&mut self.machine));
        let DirectoryEntry::Table(table) = entry else {
            let entries = self.empty_entries(progress, spot)?;
            return Ok(Emptied::Pages(pages, start + (entries << TABLE_ORDER)));
        };
        let index = table_index(address);
        let reached = index + self.empty_entries(progress, Spot::<Entry>::new(table, index))?;
        if reached == TABLE_ENTRIES {
            self.remove_table(task, pages, address);
        }
        Ok(Emptied::Pages(pages, start + (reached << PAGE_ORDER)))
    }

    fn end_ports(&mut self, task: TaskIndex) -> Emptied {
        let dying = &mut self.tasks[task];
        let (factory, directory) = (dying.factory, dying.space.take_port_directory());
        dying.record.port_directory = 0;
        if let Some(directory) = directory {
            self.give_back(factory, directory);
        }
        Emptied::Capabilities(CapabilityIndex(0))
    }

    /// Goes on with capabilities, of which there may be more from one on.
    fn empty_capabilities(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        index: CapabilityIndex,
    ) -> Result<Emptied, Preempted> {
        let behind = (index.0 / SLOTS_PER_FRAME + 1) * SLOTS_PER_FRAME;
        let reached = match self.tasks[task].capabilities.spot(index) {
            Some(spot) => index.0 + self.empty_entries(progress, spot)?,
            None => behind,
        };
        if reached == behind {
            let factory = self.tasks[task].factory;
            if let Some(frames) = self.tasks[task].take_capability_frames(index) {
                self.give_back(factory, frames);
            }
        }
        Ok(Emptied::Capabilities(CapabilityIndex(reached)))
    }

    /// Empties an entry, or finds that it and some behind it in its frame are empty. Returns how many are
    /// then.
    fn empty_entries<E: Entries>(
        &mut self,
        progress: &mut Progress,
        spot: Spot<E>,
    ) -> Result<usize, Preempted> {
        let per_group = size_of::<Group>() / size_of::<E>();
        if let Some(node) = spot.node(&mut self.machine) {
            self.unmap_tree(progress, node, Effect::REMOVE, true)?;
        } else if spot.index().is_multiple_of(per_group) {
            self.need(SEARCH_STEPS)?;
            self.stretch.account(SEARCH_STEPS);
            let groups = empty_groups(&mut self.machine, spot.frame(), spot.index() / per_group);
            if groups != 0 {
                return Ok(groups * per_group);
            }
        }
        // The kernel's own pages have no node.
        spot.take(&mut self.machine);
        Ok(1)
    }

    /// Clears another piece of the frames of UTCBs, which tasks have written.
    fn empty_utcbs(&mut self, task: TaskIndex, left: usize) -> Result<Emptied, Preempted> {
        if self.tasks[task].utcb_area.last().is_none() {
            return Ok(self.empty_space(task));
        }
        self.spend(CLEAR_STEPS)?;
        let dying = &mut self.tasks[task];
        if let Some(frames) = dying.utcb_area.last()
            && let Some(piece) = left.checked_sub(1)
        {
            clear_piece(&mut self.machine, frames, piece);
            return Ok(Emptied::Utcbs(piece));
        }
        let factory = dying.factory;
        if let Some(frames) = dying.utcb_area.remove_last() {
            self.give_back(factory, frames);
        }
        Ok(Emptied::Utcbs(PAIR_PIECES))
    }

    /// Gives the frames back that a space begins with.
    fn empty_space(&mut self, task: TaskIndex) -> Emptied {
        self.stretch.go_on_with(&mut self.machine, SPACE_STEPS);
        self.stretch.account(SPACE_STEPS);
        let factory = self.tasks[task].factory;
        let frames = self.tasks[task].space.take_apart(&mut self.machine);
        for pair in frames {
            self.give_back(factory, pair);
        }
        Emptied::Whole
    }
    /// Gives the page table for `address` back if nothing stands in it. False if something does, or if
    /// there is none.
    #[cold]
    pub(crate) fn remove_if_empty(&mut self, task: TaskIndex, pages: Pages, address: Word) -> bool {
        let table = self.tasks[task].space.table(&mut self.machine, pages, address);
        let Some(table) = table else { return false };
        let mut looked = 0;
        while looked < GROUPS {
            let more = empty_groups(&mut self.machine, table, looked);
            self.stretch.account(SEARCH_STEPS);
            // It cannot be left here: others would enter something where it has looked. And if it is left
            // soon, and begins again, it must have come further.
            self.stretch.go_on_with(&mut self.machine, SEARCH_STEPS);
            if more == 0 {
                return false;
            }
            looked += more;
        }
        self.remove_table(task, pages, address);
        true
    }
}

/// Where the pages or ports of a task end.
fn end_of(pages: Pages) -> Word {
    match pages {
        Pages::Memory => USER_END,
        Pages::Ports => IO_PORTS << PAGE_ORDER,
    }
}

/// Clears a piece of a pair of frames.
pub(crate) fn clear_piece(machine: &mut impl Machine, frames: &FramePair, piece: usize) {
    let frame = if piece < PIECES { frames.first() } else { frames.second() };
    machine.view::<[Piece; PIECES]>(frame)[piece % PIECES].fill(0);
}

/// How many groups of a frame are zero from one on, of those that are looked through at once.
fn empty_groups(machine: &mut impl Machine, frame: TableFrame, first: usize) -> usize {
    let groups = &machine.view::<[Group; GROUPS]>(frame.entries())[first..];
    let looked = groups.iter().take(GROUPS_AT_ONCE);
    looked.take_while(|group| group.iter().fold(0, |all, word| all | word) == 0).count()
}
