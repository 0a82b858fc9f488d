//! Unmap: taking rights away from everything that was derived from a mapping.
//!
//! A tree is walked from the leaves up, so that at each moment every mapping that is left has a
//! parent with at least its rights.

use crate::{
    arch::{Entry, TABLE_ORDER},
    database::{self, Links, MaybeNode, NodeIndex},
    frames::PhysicalAddress,
    index::{TableIndex, TaskIndex, ThreadIndex},
    kernel::Kernel,
    machine::Machine,
    restart::{Operation, Preempted, Progress},
    space::{DirectoryEntry, Pages, Spot, table_index},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Area, Flexpage, Kind as FlexpageKind, Rights, low_mask},
    introspection::{
        mapping::{MappingNode, Place, Resource},
        record::{Kind, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED},
    },
    layout::MAPPABLE_END,
    object::{CapabilityIndex, task},
};

/// Steps that taking one mapping away costs.
const TAKE_STEPS: u32 = 5;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Mappings that are gone.
    pub removed: u32,
    /// Mappings that have fewer rights.
    pub reduced: u32,
    /// Whether one of the pages had been accessed.
    pub accessed: bool,
    /// Whether one of the pages had been written.
    pub dirty: bool,
}

/// What is to be done to the mappings of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Rights to take away; with the read right among them the whole mapping.
    pub take: Rights,
    /// Only mappings of these frames, and superpages; `None`: all.
    pub frames: Option<(PhysicalAddress, PhysicalAddress)>,
}

impl Effect {
    /// Away with all.
    pub const REMOVE: Self = Self { take: Rights::all(), frames: None };
}

/// A walk over the descendants of a mapping, in depth-first order. It acts on the subtrees of those
/// that it is meant for, each from its end to its top.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The mapping whose descendants are walked.
    root: NodeIndex,
    /// Its depth.
    depth: u16,
    effect: Effect,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Forward, looking for a mapping to act on.
    Search,
    /// Forward to the end of the subtree of a mapping of this depth.
    ToEnd(u16),
    /// Backward to that mapping, acting.
    Act(u16),
    /// Forward again over what was left of the subtree.
    Skip(u16),
}

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

    /// Acts on all that was derived from one mapping, and on that itself if it is to go too.
    pub(crate) fn unmap_tree(
        &mut self,
        progress: &mut Progress,
        node: NodeIndex,
        effect: Effect,
        own: bool,
    ) -> Result<(), Preempted> {
        let interrupted = progress.walk.is_some();
        self.walk(progress, node, effect)?;
        if !own {
            return Ok(());
        }
        if effect.take.contains(Rights::READ) {
            // While the walk was interrupted, others may have mapped on what it had passed.
            while database::has_children(&mut self.machine, node) {
                self.walk(progress, node, effect)?;
            }
            self.act(progress, node, effect);
            return Ok(());
        }
        let reduced = progress.tally.reduced;
        self.act(progress, node, effect);
        if interrupted && progress.tally.reduced != reduced {
            // They cannot any more, with the rights that are gone now.
            self.walk(progress, node, effect)?;
        }
        Ok(())
    }

    /// Acts on the descendants of a mapping. Goes on where an interrupted walk had its bookmark.
    fn walk(
        &mut self,
        progress: &mut Progress,
        root: NodeIndex,
        effect: Effect,
    ) -> Result<(), Preempted> {
        let (mut walk, mut last, mut next) = self.begin_walk(progress, root, effect);
        loop {
            let steps = if matches!(walk.phase, Phase::Act(_)) { TAKE_STEPS } else { 1 };
            if let Err(preempted) = self.spend(steps)
                && let Some(behind) = last.get()
            {
                self.put_bookmark(self.current.expected(), behind);
                progress.walk = Some(walk);
                return Err(preempted);
            }
            if let Phase::Act(top) = walk.phase {
                // Whatever stood before the bookmark may be gone; then so is the subtree.
                let Some(node) = last.get() else {
                    walk.phase = Phase::Search;
                    continue;
                };
                let MappingNode { depth, previous, .. } = *self.machine.node(node);
                if self.machine.node(node).is_bookmark() {
                    last = MaybeNode::from_raw(previous);
                } else if depth < top {
                    walk.phase = Phase::Search;
                    next = self.machine.node(node).following();
                } else {
                    let removed = self.act(progress, node, effect);
                    if depth > top {
                        last = MaybeNode::from_raw(previous);
                    } else if removed {
                        walk.phase = Phase::Search;
                        last = MaybeNode::from_raw(previous);
                        next = self.follower(last);
                    } else {
                        walk.phase = Phase::Skip(top);
                        last = node.into();
                        next = self.follower(last);
                    }
                }
                continue;
            }
            let found = next.get().map(|node| (node, *self.machine.node(node)));
            if let Some((node, MappingNode { next: further, .. })) = found
                && found.is_some_and(|(_, node)| node.is_bookmark())
            {
                (last, next) = (node.into(), MaybeNode::from_raw(further));
                continue;
            }
            let depth = found.map_or(0, |(_, node)| node.depth);
            match walk.phase {
                Phase::Search => {
                    let Some((node, MappingNode { next: further, .. })) = found else {
                        return Ok(());
                    };
                    if depth <= walk.depth {
                        return Ok(());
                    }
                    if self.is_meant(node, effect) {
                        walk.phase = Phase::ToEnd(depth);
                    }
                    (last, next) = (node.into(), MaybeNode::from_raw(further));
                }
                Phase::ToEnd(top) => match found {
                    Some((node, MappingNode { next: further, .. })) if depth > top => {
                        (last, next) = (node.into(), MaybeNode::from_raw(further));
                    }
                    _ => walk.phase = Phase::Act(top),
                },
                Phase::Skip(top) => match found {
                    Some((node, MappingNode { next: further, .. })) if depth > top => {
                        (last, next) = (node.into(), MaybeNode::from_raw(further));
                    }
                    _ => walk.phase = Phase::Search,
                },
                Phase::Act(_) => {}
            }
        }
    }

    /// Where to walk: the state, the node before and the next one.
    fn begin_walk(
        &mut self,
        progress: &mut Progress,
        root: NodeIndex,
        effect: Effect,
    ) -> (Walk, MaybeNode, MaybeNode) {
        if let Some(walk) = progress.walk.take() {
            let (before, behind) = self.take_bookmark(self.current.expected());
            if walk.root == root && walk.effect == effect {
                return (walk, before, behind);
            }
        }
        let MappingNode { depth, next, .. } = *self.machine.node(root);
        let walk = Walk { root, depth, effect, phase: Phase::Search };
        (walk, root.into(), MaybeNode::from_raw(next))
    }

    fn follower(&mut self, node: MaybeNode) -> MaybeNode {
        node.get().map_or(MaybeNode::NONE, |node| self.machine.node(node).following())
    }

    /// Whether a descendant is among those that an unmap is for.
    fn is_meant(&mut self, node: NodeIndex, effect: Effect) -> bool {
        let Some((start, end)) = effect.frames else { return true };
        let MappingNode { task, place, .. } = *self.machine.node(node);
        if place.is_superpage() {
            return true;
        }
        let spot = self.page_spot(TaskIndex::from_position(task), place);
        let physical = spot.map(|spot| spot.entry(&mut self.machine).physical());
        physical.is_some_and(|physical| (start..end).contains(&physical))
    }

    /// Does to one mapping what is to be done, and notes what the processor had noted. Returns
    /// whether the mapping is gone.
    #[inline]
    fn act(&mut self, progress: &mut Progress, node: NodeIndex, effect: Effect) -> bool {
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let task = TaskIndex::from_position(task);
        let tally = &mut progress.tally;
        if place.resource() == Resource::Capability {
            return self.act_on_capability(tally, task, place, node, effect.take);
        }
        let Some(spot) = self.page_spot(task, place) else { return false };
        let entry = spot.entry(&mut self.machine);
        tally.accessed |= entry.is_accessed();
        tally.dirty |= entry.is_dirty();
        let remove = effect.take.contains(Rights::READ);
        let new = if remove {
            Entry::EMPTY
        } else {
            entry.with_rights(entry.rights() - effect.take).without_usage()
        };
        if new != entry {
            spot.set_entry(&mut self.machine, new);
            self.entry_changed(task, place);
        }
        if remove {
            tally.removed += 1;
            spot.set_node(&mut self.machine, MaybeNode::NONE);
            self.drop_node(task, node);
        } else {
            tally.reduced += u32::from(new.rights() != entry.rights());
        }
        remove
    }

    #[cold]
    fn act_on_capability(
        &mut self,
        tally: &mut Tally,
        task: TaskIndex,
        place: Place,
        node: NodeIndex,
        take: Rights,
    ) -> bool {
        let index = CapabilityIndex(place.number() as Word);
        let Some(spot) = self.tasks[task].capabilities.spot(index) else { return false };
        let slot = spot.entry(&mut self.machine);
        if take.contains(Rights::READ) {
            tally.removed += 1;
            spot.set_entry(&mut self.machine, crate::capability::Slot::EMPTY);
            spot.set_node(&mut self.machine, MaybeNode::NONE);
            self.drop_node(task, node);
            return true;
        }
        let rights = slot.rights() - take;
        tally.reduced += u32::from(rights != slot.rights());
        spot.set_entry(&mut self.machine, slot.with_rights(rights));
        false
    }

    #[inline]
    fn drop_node(&mut self, task: TaskIndex, node: NodeIndex) {
        database::unlink(&mut self.machine, node);
        let factory = self.tasks[task].factory;
        database::free_node(&mut self.machine, &mut self.factories[factory], node);
    }

    /// Where a mapping of memory or ports stands.
    #[inline]
    pub(crate) fn page_spot(&mut self, task: TaskIndex, place: Place) -> Option<Spot<Entry>> {
        let pages = if place.resource() == Resource::Memory { Pages::Memory } else { Pages::Ports };
        let address = (place.number() as Word) << PAGE_ORDER;
        let space = &self.tasks[task].space;
        if place.is_superpage() {
            space.directory_spot(pages, address)
        } else {
            space.spot(&mut self.machine, pages, address)
        }
    }

    /// Makes the processor forget an entry of memory or ports that has changed.
    #[inline]
    pub(crate) fn entry_changed(&mut self, task: TaskIndex, place: Place) {
        if place.resource() == Resource::Memory {
            self.flush_if_current(task, (place.number() as Word) << PAGE_ORDER);
        } else {
            self.machine.forget_ports(task);
        }
    }

    /// The processor caches entries only of the space that it works in; the switch to another space
    /// forgets everything of this one.
    #[inline]
    fn flush_if_current(&mut self, task: TaskIndex, address: Word) {
        let current = self.current.get().map(|thread| self.task_of(thread));
        if current == Some(task) {
            self.machine.flush_page(address);
        }
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
