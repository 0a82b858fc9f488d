//! Unmap: taking rights away from everything that was derived from a mapping.

use crate::{
    arch::{Entry, TABLE_ORDER},
    mapping::{
        database,
        mappings::Mappings,
        progress::Progress,
        space::{DirectoryEntry, Pages, Spot, page_of_superpage, table_index},
        stretch::Preempted,
        walk::{Effect, Frames, Tally},
    },
    memory::{index::TaskIndex, machine::Machine, node::NodeIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    flexpage::{Area, Flexpage, Kind as FlexpageKind, Rights, low_mask},
    layout::MAPPABLE_END,
    object::CapabilityIndex,
};

/// Steps from the last page of a flexpage to the first one of the next flexpage, or to the end.
const FLEXPAGE_STEPS: u32 = 30;

/// Steps that looking for one mapping costs.
const LOOK_STEPS: u32 = 6;

/// So many mappings are taken away at once, without preemption points.
const FEW: u32 = 12;

impl<M: Machine> Mappings<M> {
    /// False if the flexpage names nothing that there could be.
    pub(crate) fn unmap_flexpage(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        flexpage: Flexpage,
        take: Rights,
        own: bool,
    ) -> Result<bool, Preempted> {
        self.take_help(progress);
        match flexpage.kind() {
            FlexpageKind::Capability => {
                let Some(area) = flexpage.capability_area() else { return Ok(false) };
                self.unmap_capabilities(progress, task, area, take, own)?;
            }
            FlexpageKind::IoPorts => {
                let Some(area) = flexpage.port_area() else { return Ok(false) };
                self.unmap_pages(progress, task, Pages::Ports, area, take, own)?;
            }
            FlexpageKind::Memory | FlexpageKind::Special => {
                let area = flexpage.memory_area().filter(|_| !flexpage.is_whole_space());
                let Some(area) = area else { return Ok(false) };
                self.unmap_pages(progress, task, Pages::Memory, area, take, own)?;
            }
        }
        progress.done = Word::MAX;
        self.spend(FLEXPAGE_STEPS)?;
        Ok(true)
    }

    fn unmap_pages(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        pages: Pages,
        area: Area,
        take: Rights,
        own: bool,
    ) -> Result<(), Preempted> {
        let size = area.size();
        // What covers a table, and takes all that is in it, takes it too.
        let takes_tables = own && take.contains(Rights::READ) && size >= 1 << TABLE_ORDER;
        while progress.done < size {
            self.spend(LOOK_STEPS)?;
            let was_empty = progress.was_empty();
            let address = area.base() + progress.done;
            if pages == Pages::Memory && address >= MAPPABLE_END {
                break;
            }
            let space = &self.tasks[task].space;
            let Some(directory) = space.directory_spot(pages, address) else { break };
            match DirectoryEntry::from(directory.entry(&mut self.machine)) {
                DirectoryEntry::Empty => {}
                DirectoryEntry::Superpage(entry) => {
                    // A part of a superpage is taken from what was derived of that part. The
                    // task's own mapping is one and goes as a whole, and so must all below it.
                    let keeps_own = !own || take.is_empty();
                    let part = keeps_own && size < 1 << TABLE_ORDER;
                    let start = page_of_superpage(entry, address).physical();
                    let frames = part.then(|| Frames::new(start, size));
                    let effect = Effect { take, frames, collect: true };
                    if !was_empty && let Some(node) = directory.node(&mut self.machine) {
                        self.unmap_tree(progress, node, effect, own)?;
                    }
                }
                DirectoryEntry::Table(table) => {
                    let spot = Spot::<Entry>::new(table, table_index(address));
                    if !was_empty && let Some(node) = spot.node(&mut self.machine) {
                        self.unmap_tree(
                            progress,
                            node,
                            Effect { take, frames: None, collect: true },
                            own,
                        )?;
                    }
                    progress.done += PAGE_SIZE;
                    if takes_tables && progress.done.is_multiple_of(1 << TABLE_ORDER) {
                        self.remove_if_empty(task, pages, address);
                    }
                    continue;
                }
            }
            progress.done = (progress.done | low_mask(TABLE_ORDER)) + 1;
        }
        Ok(())
    }

    fn unmap_capabilities(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        area: Area,
        take: Rights,
        own: bool,
    ) -> Result<(), Preempted> {
        while progress.done < area.size() {
            self.spend(LOOK_STEPS)?;
            let index = CapabilityIndex((area.base() + progress.done) >> PAGE_ORDER);
            if !progress.was_empty()
                && let Some(spot) = self.tasks[task].capabilities.spot(index)
                && let Some(node) = spot.node(&mut self.machine)
            {
                self.unmap_tree(progress, node, Effect { take, frames: None, collect: true }, own)?;
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }

    /// Takes all descendants of a page away, if they are few.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_few(&mut self, page: NodeIndex) -> Option<Tally> {
        let depth = self.machine.node(page).depth;
        let (mut left, count) = database::last_deeper(&mut self.machine, page, depth, FEW + 1);
        if count > FEW {
            return None;
        }
        let mut tally = Tally::default();
        // Once is enough unless some of them are no plain small pages.
        while left != page {
            left = self.take_back(&mut tally, left, page, FEW);
        }
        Some(tally)
    }
}

impl Tally {
    /// What the processor has noted, as [`protocol::operation::task::Unmap`] returns it.
    pub fn usage_bits(self) -> Word {
        let bit = |set, right: Rights| if set { Word::from(right.bits()) } else { 0 };
        bit(self.noted.is_accessed(), Rights::READ) | bit(self.noted.is_dirty(), Rights::WRITE)
    }
}
