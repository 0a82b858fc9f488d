//! A task that ends: all that it has goes, and every frame that it was made of comes back.
//!
//! Nobody maps anything into the task any more and none of its threads runs, so what was found empty stays
//! empty: how far this has come is kept with the task, and whoever goes on with it goes on there. What
//! others do in between can only take mappings of the task away.

use crate::{
    arch::{Entry, TABLE_ORDER},
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
    flexpage::IO_PORTS,
    layout::USER_END,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// Steps that it costs to begin with a piece.
const PIECE_STEPS: u32 = 4;

/// Steps that looking for what is not empty costs, beside the groups.
const LOOK_STEPS: u32 = 3;

/// Steps that looking at a group of entries costs.
const GROUP_STEPS: u32 = 2;

/// Steps that it costs to look through some groups of entries.
const SEARCH_STEPS: u32 = LOOK_STEPS + GROUPS_AT_ONCE as u32 * GROUP_STEPS;

/// Steps that clearing a piece of a frame costs.
pub(crate) const CLEAR_STEPS: u32 = 12;

/// Steps that giving a space's frames back costs.
const SPACE_STEPS: u32 = 36;

/// What is empty is found in groups of words.
type Group = [Word; 128 / size_of::<Word>()];
const GROUPS: usize = PAGE_SIZE / size_of::<Group>();

/// So many of them are looked through at once.
const GROUPS_AT_ONCE: usize = 8;

/// Frames are cleared piece by piece.
type Piece = [Word; 128];
const PIECES: usize = PAGE_SIZE / size_of::<Piece>();

/// Pieces of a pair of frames.
pub(crate) const PAIR_PIECES: usize = 2 * PIECES;

/// What a search has come to.
enum Found<E> {
    /// An entry that is not empty.
    Used(Spot<E>),
    /// None before this one, which may be behind the last.
    EmptyTo(usize),
}

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
            self.spend(PIECE_STEPS)?;
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
        let space = &self.tasks[task].space;
        let address = match pages {
            Pages::Memory => space.next_touched(address),
            Pages::Ports => address,
        };
        let spot =
            if address < end_of(pages) { space.directory_spot(pages, address) } else { None };
        let Some(spot) = spot else { return Ok(Emptied::Pages(pages, end_of(pages))) };
        // Behind the user area the directory is the kernel's.
        let (first, end) = ((address >> TABLE_ORDER) - spot.index(), end_of(pages) >> TABLE_ORDER);
        let start = |index: usize| (first + index).min(end) << TABLE_ORDER;
        let found = match self.find_used(spot)? {
            Found::Used(found) => found,
            Found::EmptyTo(index) => return Ok(Emptied::Pages(pages, start(index))),
        };
        let (start, behind) = (start(found.index()), start(found.index() + 1));
        match DirectoryEntry::from(found.entry(&mut self.machine)) {
            _ if start == behind => {}
            DirectoryEntry::Table(table) => {
                let first = Spot::<Entry>::new(table, table_index(address.max(start)));
                if let Err(index) = self.empty_frame(progress, first) {
                    self.tasks[task].emptied = Emptied::Pages(pages, start + (index << PAGE_ORDER));
                    return Err(Preempted);
                }
                self.remove_table(task, pages, start);
            }
            _ => self.empty_entry(progress, found)?,
        }
        Ok(Emptied::Pages(pages, behind))
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
        let start = index.0 / SLOTS_PER_FRAME * SLOTS_PER_FRAME;
        if let Some(first) = self.tasks[task].capabilities.spot(index)
            && let Err(reached) = self.empty_frame(progress, first)
        {
            self.tasks[task].emptied = Emptied::Capabilities(CapabilityIndex(start + reached));
            return Err(Preempted);
        }
        let factory = self.tasks[task].factory;
        if let Some(frames) = self.tasks[task].take_capability_frames(index) {
            self.give_back(factory, frames);
        }
        Ok(Emptied::Capabilities(CapabilityIndex(start + SLOTS_PER_FRAME)))
    }

    /// Empties the entries of a frame from one on. If it is left before that is done, the one that it came to.
    fn empty_frame<E: Entries>(
        &mut self,
        progress: &mut Progress,
        first: Spot<E>,
    ) -> Result<(), usize> {
        let mut index = first.index();
        while index < entries_per_frame::<E>() {
            let from = Spot::<E>::new(first.frame(), index);
            match self.find_used(from).map_err(|Preempted| index)? {
                Found::Used(spot) => {
                    index = spot.index();
                    self.empty_entry(progress, spot).map_err(|Preempted| index)?;
                }
                Found::EmptyTo(reached) => index = reached,
            }
        }
        Ok(())
    }

    /// Looks for an entry of a frame that is not empty, from one on before which all are.
    #[inline(always)]
    fn find_used<E: Entries>(&mut self, from: Spot<E>) -> Result<Found<E>, Preempted> {
        self.need(SEARCH_STEPS)?;
        let per_group = size_of::<Group>() / size_of::<E>();
        let group = from.index() / per_group;
        let empty = empty_groups(&mut self.machine, from.frame(), group);
        self.stretch.account(LOOK_STEPS + empty as u32 * GROUP_STEPS);
        let index = from.index().max((group + empty) * per_group);
        if empty == GROUPS_AT_ONCE {
            return Ok(Found::EmptyTo(index));
        }
        let entries = &self.machine.view::<E::Frame>(from.frame().entries()).as_mut()[index..];
        Ok(match entries.iter().position(|entry| *entry != E::EMPTY) {
            Some(further) => Found::Used(Spot::new(from.frame(), index + further)),
            None => Found::EmptyTo(entries_per_frame::<E>()),
        })
    }

    /// Empties an entry.
    fn empty_entry<E: Entries>(
        &mut self,
        progress: &mut Progress,
        spot: Spot<E>,
    ) -> Result<(), Preempted> {
        match spot.node(&mut self.machine) {
            Some(node) => self.unmap_tree(progress, node, Effect::REMOVE, true),
            // The kernel's own pages have no node.
            None => {
                spot.clear(&mut self.machine).is_unknown();
                Ok(())
            }
        }
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

fn entries_per_frame<E>() -> usize {
    PAGE_SIZE / size_of::<E>()
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
