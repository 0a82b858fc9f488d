//! Unmap: taking rights away from everything that was derived from a mapping.

use crate::{
    arch::{Entry, TABLE_ORDER},
    database::{self, MaybeNode, NodeIndex},
    index::{TableIndex, TaskIndex, ThreadIndex},
    invocation::{Answer, Reply},
    kernel::Kernel,
    machine::Machine,
    restart::{Operation, Progress},
    space::{DirectoryEntry, Pages, Spot, page_of_superpage, table_index},
    stretch::Preempted,
    walk::{Effect, Frames, Tally},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Area, Flexpage, Kind as FlexpageKind, Rights, low_mask},
    introspection::{
        mapping::MappingNode,
        record::{Kind, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED},
    },
    layout::MAPPABLE_END,
    message::MessageTag,
    object::{CapabilityIndex, task},
};

/// Steps from the last page of a flexpage to the first one of the next flexpage, or to the end.
const FLEXPAGE_STEPS: u32 = 30;

/// Steps that looking for one mapping costs.
const LOOK_STEPS: u32 = 6;

/// So many mappings are taken away at once, without preemption points.
const FEW: u32 = 12;

impl<M: Machine> Kernel<M> {
    /// [`task::UNMAP`]: takes rights away in the terms of `task`.
    pub(crate) fn unmap(
        &mut self,
        invoker: ThreadIndex,
        task: TaskIndex,
        rights: Word,
        count: Word,
    ) -> Answer {
        let own = rights & task::UNMAP_OWN != 0 && task != TaskIndex::SIGMA0;
        let take = Rights::from_bits_truncate(rights as u8);
        let mut progress = self.begin(Operation::Unmap { task });
        while progress.number < count {
            let register = 3 + progress.number;
            let flexpage = Flexpage(self.utcb(invoker).message[register]);
            let done = self.unmap_flexpage(&mut progress, task, flexpage, take, own);
            self.utcb(invoker).message[register] |= progress.tally.usage_bits();
            if done.is_ok() {
                self.end_walk(&mut progress);
            }
            match done {
                Ok(true) => {
                    let tally = progress.tally;
                    self.trace_unmap(Unmapping { task, flexpage, take, own, tally }, invoker, None);
                }
                Ok(false) => {
                    self.end_stretch();
                    return Err(ObjectError::InvalidArgument.into());
                }
                Err(preempted) => {
                    self.interrupt(progress);
                    return Err(preempted.into());
                }
            }
            progress.next();
        }
        self.end_stretch();
        Ok(Reply::words(3 + count))
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
        while progress.done < size {
            self.spend(LOOK_STEPS)?;
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
                    if let Some(node) = directory.node(&mut self.machine) {
                        self.unmap_tree(progress, node, effect, own)?;
                    }
                }
                DirectoryEntry::Table(table) => {
                    let spot = Spot::<Entry>::new(table, table_index(address));
                    if let Some(node) = spot.node(&mut self.machine) {
                        self.unmap_tree(
                            progress,
                            node,
                            Effect { take, frames: None, collect: true },
                            own,
                        )?;
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
            self.spend(LOOK_STEPS)?;
            let index = CapabilityIndex((area.base() + progress.done) >> PAGE_ORDER);
            if let Some(spot) = self.tasks[task].capabilities.spot(index)
                && let Some(node) = spot.node(&mut self.machine)
            {
                self.unmap_tree(progress, node, Effect { take, frames: None, collect: true }, own)?;
            }
            progress.done += PAGE_SIZE;
        }
        Ok(())
    }

    fn trace_unmap(
        &mut self,
        unmapping: Unmapping,
        invoker: ThreadIndex,
        replaced_for: Option<Operation>,
    ) {
        if self.traces(Kind::Unmap) {
            self.record_unmap(unmapping, invoker, replaced_for);
        }
    }

    #[inline(never)]
    fn record_unmap(
        &mut self,
        unmapping: Unmapping,
        invoker: ThreadIndex,
        replaced_for: Option<Operation>,
    ) {
        let Unmapping { task, flexpage, take, own, tally } = unmapping;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut record = self.new_record(Kind::Unmap, self.machine.time(), invoker);
        record.task = task.position();
        record.flags = take.bits()
            | flag(own, UNMAP_OWN)
            | flag(tally.noted.is_accessed(), UNMAP_ACCESSED)
            | flag(tally.noted.is_dirty(), UNMAP_DIRTY)
            | flag(replaced_for.is_some(), UNMAP_REPLACED);
        record.order = flexpage.order() as u8;
        record.a = (flexpage.address() & !low_mask(flexpage.order())) as u64;
        record.b = flexpage.0 as u64;
        record.c = u64::from(tally.removed) << 32 | u64::from(tally.reduced);
        record.e = self.ids_of(Some(invoker));
        if let Some(Operation::Transfer { receiver, .. }) = replaced_for {
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
        let tally = progress.tally;
        if tally.removed != 0
            && let Some(invoker) = self.current.get()
        {
            let unmapping = Unmapping { task, flexpage, take: Rights::all(), own: true, tally };
            self.trace_unmap(unmapping, invoker, Some(progress.operation));
        }
    }

    /// The hot case of [`task::UNMAP`]: all of one page of memory from which little was derived.
    /// False, with nothing done, in every other case.
    #[inline(never)]
    pub(crate) fn unmap_one_page(
        &mut self,
        invoker: ThreadIndex,
        task: TaskIndex,
        tag: MessageTag,
    ) -> bool {
        let [operation, rights, count, word, ..] = self.utcb(invoker).message;
        let flexpage = Flexpage(word);
        let plain = (operation, count, tag.words()) == (task::UNMAP, 1, 4)
            && rights & Word::from(Rights::READ.bits()) != 0
            && flexpage.kind() == FlexpageKind::Memory
            && flexpage.order() == PAGE_ORDER
            && flexpage.address() < MAPPABLE_END
            && self.threads[invoker].progress.is_none();
        if !plain {
            return false;
        }
        let Some(spot) = self.small_page(task, flexpage.address() >> PAGE_ORDER) else {
            return false;
        };
        let Some(node) = spot.node(&mut self.machine) else { return false };
        let mut tally = Tally::default();
        match database::last_or_leaf(&mut self.machine, node).map(MaybeNode::get) {
            Some(None) => {}
            Some(Some(child)) => {
                let MappingNode { task, place, .. } = *self.machine.node(child);
                let (task, number) = (TaskIndex::from_position(task), place.number() as Word);
                let Some(spot) = self.small_page(task, number) else { return false };
                self.remove_page(&mut tally, child, task, spot);
            }
            None => match self.take_few(node) {
                Some(taken) => tally = taken,
                None => return false,
            },
        }
        let own = rights & task::UNMAP_OWN != 0 && task != TaskIndex::SIGMA0;
        if own {
            self.remove(&mut tally, node);
        }
        self.utcb(invoker).message[3] |= tally.usage_bits();
        self.threads[invoker].context.set_result(MessageTag::new(0, 4, 0), 0);
        if self.traces(Kind::Unmap) {
            let take = Rights::from_bits_truncate(rights as u8);
            self.record_unmap(Unmapping { task, flexpage, take, own, tally }, invoker, None);
        }
        true
    }

    /// Takes all descendants of a page away, if they are few.
    #[cold]
    #[inline(never)]
    fn take_few(&mut self, page: NodeIndex) -> Option<Tally> {
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

/// What was unmapped.
struct Unmapping {
    task: TaskIndex,
    flexpage: Flexpage,
    take: Rights,
    own: bool,
    tally: Tally,
}

impl Tally {
    /// What the processor has noted, as [`task::UNMAP`] returns it.
    fn usage_bits(self) -> Word {
        let bit = |set, right: Rights| if set { Word::from(right.bits()) } else { 0 };
        bit(self.noted.is_accessed(), Rights::READ) | bit(self.noted.is_dirty(), Rights::WRITE)
    }
}
