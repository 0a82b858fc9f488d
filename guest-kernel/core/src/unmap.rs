//! Unmap: taking rights away from everything that was derived from a mapping.

use crate::{
    arch::{Entry, TABLE_ORDER},
    frames::PhysicalAddress,
    index::{TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    restart::{Operation, Preempted, Progress},
    space::{DirectoryEntry, Pages, Spot, table_index},
    walk::{Effect, Tally},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Area, Flexpage, Kind as FlexpageKind, Rights, low_mask},
    introspection::record::{Kind, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED},
    layout::MAPPABLE_END,
    object::{CapabilityIndex, task},
};

impl<M: Machine> Kernel<'_, M> {
    /// [`task::UNMAP`]: takes rights away in the terms of `task`.
    pub(crate) fn unmap(
        &mut self,
        invoker: ThreadIndex,
        task: TaskIndex,
        rights: Word,
        count: Word,
    ) -> Result<usize, ObjectError> {
        let own = rights & task::UNMAP_OWN != 0 && task != TaskIndex::SIGMA0;
        let take = Rights::from_bits_truncate(rights as u8);
        let mut progress = self.begin(Operation::Unmap { task });
        while progress.number < count {
            let register = 3 + progress.number;
            let flexpage = Flexpage(self.utcb(invoker).message[register]);
            let done = self.unmap_flexpage(&mut progress, task, flexpage, take, own);
            let Tally { accessed, dirty, .. } = progress.tally;
            self.utcb(invoker).message[register] |= usage_bits(accessed, dirty);
            if done.is_ok() {
                self.end_walk(&mut progress);
            }
            match done {
                Ok(true) => self.trace_unmap(&progress, invoker, task, flexpage, take, own),
                Ok(false) => {
                    self.end_stretch();
                    return Err(ObjectError::InvalidArgument);
                }
                Err(Preempted) => {
                    self.interrupt(progress);
                    return Ok(0);
                }
            }
            progress.next();
        }
        self.end_stretch();
        Ok(3 + count)
    }

    /// False if the flexpage names nothing that there could be.
    fn unmap_flexpage(
        &mut self,
        progress: &mut Progress,
        task: TaskIndex,
        flexpage: Flexpage,
        take: Rights,
        own: bool,
    ) -> Result<bool, Preempted> {
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
        while progress.done < size {
            self.spend(1)?;
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
                    let frames = part.then(|| {
                        let inside = (address & low_mask(TABLE_ORDER)) as u64;
                        let start = entry.physical().0 + inside;
                        (PhysicalAddress(start), PhysicalAddress(start + size as u64))
                    });
                    let effect = Effect { take, frames };
                    if let Some(node) = directory.node(&mut self.machine) {
                        self.unmap_tree(progress, node, effect, own)?;
                    }
                }
                DirectoryEntry::Table(table) => {
                    let spot = Spot::<Entry>::new(table, table_index(address));
                    if let Some(node) = spot.node(&mut self.machine) {
                        self.unmap_tree(progress, node, Effect { take, frames: None }, own)?;
                    }
                    progress.done += PAGE_SIZE;
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
            self.spend(1)?;
            let index = CapabilityIndex((area.base() + progress.done) >> PAGE_ORDER);
            if let Some(spot) = self.tasks[task].capabilities.spot(index)
                && let Some(node) = spot.node(&mut self.machine)
            {
                self.unmap_tree(progress, node, Effect { take, frames: None }, own)?;
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }

    fn trace_unmap(
        &mut self,
        progress: &Progress,
        invoker: ThreadIndex,
        task: TaskIndex,
        flexpage: Flexpage,
        take: Rights,
        own: bool,
    ) {
        if !self.traces(Kind::Unmap) {
            return;
        }
        let Tally { removed, reduced, accessed, dirty } = progress.tally;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let replaced = !matches!(progress.operation, Operation::Unmap { .. });
        let mut record = self.new_record(Kind::Unmap, self.machine.time(), invoker);
        record.task = task.position();
        record.flags = take.bits()
            | flag(own, UNMAP_OWN)
            | flag(accessed, UNMAP_ACCESSED)
            | flag(dirty, UNMAP_DIRTY)
            | flag(replaced, UNMAP_REPLACED);
        record.order = flexpage.order() as u8;
        record.a = (flexpage.address() & !low_mask(flexpage.order())) as u64;
        record.b = flexpage.0 as u64;
        record.c = u64::from(removed) << 32 | u64::from(reduced);
        record.e = self.ids_of(Some(invoker));
        if let Operation::Transfer { receiver, .. } = progress.operation
            && replaced
        {
            record.d = self.answered_fault(receiver);
        }
        self.machine.record(record);
    }

    /// Records that a new mapping took the place of an old one in `place` of `task`.
    pub(crate) fn trace_replaced(
        &mut self,
        progress: &Progress,
        task: TaskIndex,
        flexpage: Flexpage,
    ) {
        if progress.tally.removed != 0
            && let Some(invoker) = self.current.get()
        {
            self.trace_unmap(progress, invoker, task, flexpage, Rights::all(), true);
        }
    }
}

/// What the processor has noted, as [`task::UNMAP`] returns it.
fn usage_bits(accessed: bool, dirty: bool) -> Word {
    let bit = |set, right: Rights| if set { Word::from(right.bits()) } else { 0 };
    bit(accessed, Rights::READ) | bit(dirty, Rights::WRITE)
}
