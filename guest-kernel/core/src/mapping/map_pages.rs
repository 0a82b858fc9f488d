//! Items page by page: superpages, small pages, capabilities.

use crate::{
    arch::{Entry, Restriction, TABLE_ENTRIES, TABLE_ORDER},
    mapping::{
        database::{self, NewMapping, Stock},
        derivation::{Mapping, NotEntered, Source, Target},
        mappings::Mappings,
        progress::Progress,
        space::{DirectoryEntry, Pages, Spot, page_of_superpage, table_index},
        stretch::Stretch,
        tables::capability_place,
        walk::Effect,
    },
    memory::{
        factory::Factory,
        frames::TableFrame,
        index::{TableIndex, TaskIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Placement, align_down, low_mask},
    introspection::mapping::Place,
    layout::{MAPPABLE_END, MAPPABLE_START},
    message::MapItem,
    object::CapabilityIndex,
};

/// Steps that entering one page by the rules costs.
const ENTER_STEPS: u32 = 12;

/// Steps that sigma0 costs for each page that may have to be made first.
const FABRICATE_STEPS: u32 = 36;

/// Steps that a directory entry costs.
const DIRECTORY_STEPS: u32 = 6;

/// Steps that pages in a row cost that nothing is special about.
const ROW_STEPS: u32 = 8;

/// Steps that each of them costs.
const PLAIN_STEPS: u32 = 3;

/// What one item of memory or ports is about.
struct Run {
    from: TaskIndex,
    to: TaskIndex,
    pages: Pages,
    placement: Placement,
    item: MapItem,
    /// The sender's directory entry that is looked at.
    spot: Spot<Entry>,
}

impl Run {
    /// Source and destination when `done` bytes are done.
    #[inline(always)]
    fn addresses(&self, done: Word) -> (Word, Word) {
        (self.placement.source + done, self.placement.destination + done)
    }

    /// Pages from there on that lie in one table on both sides and are not the kernel's.
    #[inline(always)]
    fn pages_left(&self, done: Word) -> usize {
        let (source, destination) = self.addresses(done);
        let end = match self.pages {
            Pages::Memory => MAPPABLE_END - source.max(destination),
            Pages::Ports => Word::MAX,
        };
        let left = (self.placement.size() - done).min(end) >> PAGE_ORDER;
        let in_source = TABLE_ENTRIES - table_index(source);
        let in_target = TABLE_ENTRIES - table_index(destination);
        left.min(in_source).min(in_target)
    }

    #[inline(always)]
    fn place(&self, address: Word, superpage: bool) -> Place {
        Place::new(self.pages.resource(), (address >> PAGE_ORDER) as u32, superpage)
    }

    /// Whether whole mappings change hands: none of sigma0's, which keeps all that it ever had.
    #[inline(always)]
    fn moves(&self) -> bool {
        self.item.grant && self.from != TaskIndex::SIGMA0
    }

    /// What a grant would move.
    #[inline(always)]
    fn own(&self, place: Place, spot: Spot<Entry>) -> Option<(TaskIndex, Place, Spot<Entry>)> {
        self.moves().then_some((self.from, place, spot))
    }
}

/// Pages of a run in a row, in one table of the receiver.
struct Row {
    /// Who gets them.
    task: u16,
    table: TableFrame,
    /// The first one.
    start: Place,
    /// How many there are at most.
    most: u32,
}

impl Row {
    /// Makes each a new child of what `source` finds for the page of that number, as long as it finds
    /// something, the place is empty, and `factory` has nodes in stock. Returns how many; fewer, too,
    /// at a preemption point where it is time for others. A function of its own: what the loop works
    /// on stays in registers.
    #[inline(never)]
    fn derive<M: Machine>(
        &self,
        machine: &mut M,
        factory: &mut Factory,
        stretch: &mut Stretch,
        source: impl Fn(&mut M, u32) -> Option<(Entry, NodeIndex)>,
    ) -> usize {
        let Self { task, table, start, most } = *self;
        let mut stock = Stock::of(factory);
        let (mut count, mut goal) = (0, 0);
        while count == goal && count != most && stretch.need(machine, PLAIN_STEPS).is_ok() {
            goal = most.min(count + stretch.times(PLAIN_STEPS));
            let first = start.further(count);
            let end = start.further(goal);
            let mut place = first;
            while place != end {
                let number = place.number();
                let spot = Spot::<Entry>::new(table, number as usize % TABLE_ENTRIES);
                if spot.entry(machine).is_present() {
                    break;
                }
                let Some((entry, parent)) = source(machine, number) else { break };
                let Some(depth) = database::depth_below(machine, parent) else { break };
                let Some(node) = stock.first() else { break };
                spot.set_entry(machine, entry);
                spot.set_node(machine, node.into());
                stock.drop_first(machine, node);
                database::insert_behind(machine, parent, node, depth, NewMapping { task, place });
                place = place.further(1);
            }
            let done = place.0 - first.0;
            stretch.account(done * PLAIN_STEPS);
            count += done;
        }
        stock.put_back(factory);
        count as usize
    }
}

impl<M: Machine> Mappings<M> {
    pub(crate) fn map_pages(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        pages: Pages,
        item: MapItem,
        placement: Placement,
    ) -> Result<(), NotEntered> {
        while progress.done < placement.size() {
            let makes_pages = from == TaskIndex::SIGMA0;
            self.spend(if makes_pages { FABRICATE_STEPS } else { DIRECTORY_STEPS })?;
            let source = placement.source + progress.done;
            let destination = placement.destination + progress.done;
            if is_kernels(pages, source.max(destination)) {
                break;
            }
            if pages == Pages::Memory && destination < MAPPABLE_START {
                progress.done += PAGE_SIZE;
                continue;
            }
            if from == TaskIndex::SIGMA0 {
                self.fabricate(pages, source)?;
            }
            let spot = self.tasks[from].space.directory_spot(pages, source);
            let Some(spot) = spot else {
                if from != TaskIndex::SIGMA0 {
                    break;
                }
                // It gets a directory of ports with the first port that is not the kernel's.
                progress.done += PAGE_SIZE;
                continue;
            };
            let run = Run { from, to, pages, placement, item, spot };
            match DirectoryEntry::from(spot.entry(&mut self.machine)) {
                // sigma0 may have to get the next page first.
                DirectoryEntry::Empty if from == TaskIndex::SIGMA0 => progress.done += PAGE_SIZE,
                DirectoryEntry::Empty => {
                    progress.done = (progress.done | low_mask(TABLE_ORDER)) + 1;
                }
                DirectoryEntry::Superpage(entry)
                    if placement.order >= TABLE_ORDER
                        && is_aligned(destination)
                        && self.takes_superpage(&run, destination) =>
                {
                    self.map_superpage(progress, &run, entry)?;
                }
                found => self.map_small_pages(progress, &run, found)?,
            }
        }
        Ok(())
    }

    /// Whether a superpage can be entered: there is no page table in its place, unless that was empty and
    /// is gone now, and of memory it does not cover what cannot be mapped.
    fn takes_superpage(&mut self, run: &Run, destination: Word) -> bool {
        if run.pages == Pages::Memory && align_down(destination, TABLE_ORDER) < MAPPABLE_START {
            return false;
        }
        let space = &self.tasks[run.to].space;
        let entry = space.directory_entry(&mut self.machine, run.pages, destination);
        !matches!(entry, DirectoryEntry::Table(_))
            || self.remove_if_empty(run.to, run.pages, destination)
    }

    fn map_superpage(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        entry: Entry,
    ) -> Result<(), NotEntered> {
        let (source, destination) = run.addresses(progress.done);
        self.touch_directory(run.to, run.pages, destination)?;
        let target = self.tasks[run.to].space.directory_spot(run.pages, destination);
        if let (Some(node), Some(spot)) = (run.spot.node(&mut self.machine), target) {
            let own = run.own(run.place(source, true), run.spot);
            let source = Source { entry, node, own };
            let target = Target { task: run.to, place: run.place(destination, true), spot };
            self.enter(progress, source, target, run.item)?;
        }
        progress.done += 1 << TABLE_ORDER;
        Ok(())
    }

    /// Maps the small pages that lie in one directory entry on both sides: of a table, or parts of
    /// a superpage.
    fn map_small_pages(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        found: DirectoryEntry,
    ) -> Result<(), NotEntered> {
        let (source, destination) = run.addresses(progress.done);
        let space = &self.tasks[run.to].space;
        let entry = space.directory_entry(&mut self.machine, run.pages, destination);
        let table = if let DirectoryEntry::Table(table) = entry {
            table
        } else {
            let Some(first) = self.source_page(run, found, source) else {
                progress.done += PAGE_SIZE;
                return Ok(());
            };
            if let DirectoryEntry::Superpage(old) = entry {
                return self.map_over_superpage(progress, run, first, old);
            }
            self.add_table(run.to, run.pages, destination)?
        };
        let start = progress.done;
        let mut left = run.pages_left(start);
        while left != 0 {
            self.need(ENTER_STEPS)?;
            let derived = self.derive_pages(progress, run, found, table, left);
            if derived != 0 {
                self.stretch.account(ROW_STEPS);
                left -= derived;
                continue;
            }
            self.stretch.account(ENTER_STEPS);
            let (source, destination) = run.addresses(progress.done);
            match self.source_page(run, found, source) {
                Some(source) => {
                    let place = run.place(destination, false);
                    let spot = Spot::new(table, table_index(destination));
                    let target = Target { task: run.to, place, spot };
                    self.enter(progress, source, target, run.item)?;
                }
                // It may only have to be made, unless that was tried.
                None if run.from == TaskIndex::SIGMA0 && progress.done != start => break,
                None => {}
            }
            progress.done += PAGE_SIZE;
            left -= 1;
        }
        Ok(())
    }

    /// Maps the next pages into `table` as long as nothing is special about them: the sender has
    /// them and keeps them, nothing is in their place, and there are nodes in stock. At most `most`.
    /// Returns how many.
    #[inline(always)]
    fn derive_pages(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        found: DirectoryEntry,
        table: TableFrame,
        most: usize,
    ) -> usize {
        let (source, destination) = run.addresses(progress.done);
        let start = run.place(destination, false);
        let row = Row { task: run.to.position(), table, start, most: most as u32 };
        let factory = &mut self.factories[self.tasks[run.to].factory];
        let stretch = &mut self.stretch;
        let rights = run.item.flexpage.rights();
        let Some(restriction) = Restriction::to(rights) else { return 0 };
        let (resource, ticket) =
            (run.pages.resource(), self.walkers[progress.walker].ticket.unwrap_or_default());
        let (precedence, is_quiet) = (&self.precedence, self.interrupted_walks == 0);
        let count = match found {
            DirectoryEntry::Table(from) if !run.moves() => {
                let ahead = (source >> PAGE_ORDER).wrapping_sub(destination >> PAGE_ORDER);
                let page = move |machine: &mut M, number: u32| {
                    let index = (number as usize).wrapping_add(ahead) % TABLE_ENTRIES;
                    let spot = Spot::<Entry>::new(from, index);
                    let node = spot.node(machine)?;
                    // Only a page that is present has a node.
                    Some((restriction.of(spot.entry(machine)), node))
                };
                if is_quiet {
                    row.derive(&mut self.machine, factory, stretch, page)
                } else {
                    row.derive(&mut self.machine, factory, stretch, move |machine, number| {
                        page(machine, number).filter(|(entry, _)| {
                            precedence.lets_pass(resource, entry.physical(), ticket)
                        })
                    })
                }
            }
            DirectoryEntry::Superpage(entry)
                if is_quiet || precedence.lets_pass(resource, entry.physical(), ticket) =>
            {
                let node = run.spot.node(&mut self.machine);
                let first = restriction.of(page_of_superpage(entry, source));
                let Some(node) = node else { return 0 };
                row.derive(&mut self.machine, factory, stretch, move |_, number| {
                    Some((first.further((number - start.number()) as usize), node))
                })
            }
            _ => 0,
        };
        if count != 0 {
            let first = Spot::<Entry>::new(table, table_index(destination));
            progress.outcome.note(first.entry(&mut self.machine), count as u32);
            progress.done += count << PAGE_ORDER;
        }
        count
    }

    /// The smallest page at `address` of the sender, if there is one that can be mapped on.
    #[inline(always)]
    fn source_page(
        &mut self,
        run: &Run,
        found: DirectoryEntry,
        address: Word,
    ) -> Option<Source<Entry>> {
        match found {
            DirectoryEntry::Table(table) => {
                let spot = Spot::<Entry>::new(table, table_index(address));
                let entry = spot.entry(&mut self.machine);
                let node = spot.node(&mut self.machine)?;
                Some(Source { entry, node, own: run.own(run.place(address, false), spot) })
            }
            DirectoryEntry::Superpage(entry) => {
                let node = run.spot.node(&mut self.machine)?;
                Some(Source { entry: page_of_superpage(entry, address), node, own: None })
            }
            DirectoryEntry::Empty => None,
        }
    }

    /// A small page where the receiver has a superpage: if that is not of the same frame, or has
    /// not all the rights, it is unmapped first.
    #[cold]
    fn map_over_superpage(
        &mut self,
        progress: &mut Progress,
        run: &Run,
        source: Source<Entry>,
        old: Entry,
    ) -> Result<(), NotEntered> {
        let (_, destination) = run.addresses(progress.done);
        let piece = page_of_superpage(old, destination);
        let allowed = source.entry.rights() & run.item.flexpage.rights();
        if !(piece.is_same(source.entry) && piece.rights().contains(allowed)) {
            let spot = self.tasks[run.to].space.directory_spot(run.pages, destination);
            let node = spot.and_then(|spot| spot.node(&mut self.machine));
            if let Some(node) = node.filter(|_| !progress.was_empty()) {
                self.unmap_tree(progress, node, Effect::REMOVE, true)?;
                // What is there now has come since.
                progress.note_empty();
                return Ok(());
            }
        }
        progress.outcome.note(piece, 1);
        progress.done += PAGE_SIZE;
        Ok(())
    }

    #[cold]
    pub(crate) fn map_capabilities(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        placement: Placement,
    ) -> Result<(), NotEntered> {
        while progress.done < placement.size() {
            self.spend(ENTER_STEPS)?;
            let source = CapabilityIndex((placement.source + progress.done) >> PAGE_ORDER);
            let target = CapabilityIndex((placement.destination + progress.done) >> PAGE_ORDER);
            let found = self.tasks[from].capabilities.spot(source).filter(|_| target.0 != 0);
            if let Some(spot) = found
                && let Some(node) = spot.node(&mut self.machine)
            {
                let entry = spot.entry(&mut self.machine);
                let moves = item.grant && from != TaskIndex::SIGMA0;
                // There is never more than one capability to an answer.
                if entry.reply().is_some() && !moves {
                    progress.done += PAGE_SIZE;
                    continue;
                }
                let own = moves.then_some((from, capability_place(source), spot));
                let spot = self.capability_spot(to, target)?;
                let target = Target { task: to, place: capability_place(target), spot };
                self.enter(progress, Source { entry, node, own }, target, item)?;
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }
}

/// Whether a superpage can begin at an address. In an item of superpages what is left begins elsewhere only
/// if it was interrupted among small pages, and the page table that they went to is gone meanwhile.
#[inline(always)]
fn is_aligned(address: Word) -> bool {
    address & low_mask(TABLE_ORDER) == 0
}

/// Whether a page is one of those that the kernel has put into every task.
#[inline(always)]
fn is_kernels(pages: Pages, address: Word) -> bool {
    pages == Pages::Memory && address >= MAPPABLE_END
}
