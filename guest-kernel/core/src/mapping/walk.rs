//! Walks over the trees of the mapping database, which take mappings or some of their rights away.
//!
//! A tree is walked from the leaves up, so that at each moment every mapping that is left has a
//! parent with at least its rights.

use crate::{
    arch::Entry,
    mapping::{
        capability::Slot,
        database::{self, Links},
        mappings::Mappings,
        precedence::Claim,
        progress::Progress,
        space::{Pages, Spot, Stale, table_index},
        stretch::Preempted,
    },
    memory::{
        frames::PhysicalAddress,
        index::{FactoryIndex, TableIndex, TaskIndex},
        machine::Machine,
        node::{MaybeNode, NodeIndex},
    },
};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::Rights,
    introspection::mapping::{MappingNode, Place, Resource},
    object::CapabilityIndex,
};

/// Steps that taking one mapping away costs.
const TAKE_STEPS: u32 = 6;

/// So many times more it costs if that is not a small page.
const OTHERS: u32 = 2;

/// Steps that any other change of one costs.
const ACT_STEPS: u32 = 13;

/// Steps that looking at one costs.
const VISIT_STEPS: u32 = 3;

/// Steps that beginning with a tree costs, and ending, or being interrupted there for the first time.
const TREE_STEPS: u32 = 18;

/// Steps that it costs to act on the mapping itself that a tree hangs on.
const OWN_STEPS: u32 = 9;

/// Steps that passing one by costs.
pub(crate) const PASS_STEPS: u32 = 1;

/// What was done so far.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Mappings that are gone.
    pub removed: u32,
    /// Mappings that have fewer rights.
    pub reduced: u32,
    /// Their entries, [`Entry::joined`]: what the processor had noted of the pages.
    pub noted: Entry,
}

impl Default for Tally {
    fn default() -> Self {
        Self { removed: 0, reduced: 0, noted: Entry::EMPTY }
    }
}

impl Tally {
    #[inline(always)]
    fn note_usage(&mut self, entry: Entry) {
        self.noted = self.noted.joined(entry);
    }

    /// Adds what somebody else has done.
    pub(crate) fn add(&mut self, other: Self) {
        self.removed += other.removed;
        self.reduced += other.reduced;
        self.note_usage(other.noted);
    }
}

/// What is to be done to the mappings of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Rights to take away; with the read right among them the whole mapping.
    pub take: Rights,
    /// Only mappings of these frames, and superpages; `None`: all.
    pub frames: Option<Frames>,
    /// Whether what the processor has noted of the pages is noted and cleared.
    pub collect: bool,
}

/// Frames in a row, by their numbers. Of ports, the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    first: u32,
    count: u32,
}

impl Frames {
    /// Those of `size` bytes from `start` on.
    pub fn new(start: PhysicalAddress, size: Word) -> Self {
        Self { first: number(start), count: (size >> PAGE_ORDER) as u32 }
    }

    fn contain(self, address: PhysicalAddress) -> bool {
        number(address).wrapping_sub(self.first) < self.count
    }
}

fn number(address: PhysicalAddress) -> u32 {
    (address.0 >> PAGE_ORDER) as u32
}

impl Effect {
    /// Away with all.
    pub const REMOVE: Self = Self { take: Rights::all(), frames: None, collect: true };

    /// Whether every mapping of the tree goes.
    fn takes_all(&self) -> bool {
        self.take.contains(Rights::READ) && self.frames.is_none()
    }
}

/// A walk over the descendants of a mapping. One that is meant for all goes to the end of their list and
/// acts on the way back. One for some frames goes through it in depth-first order, and acts on the
/// subtrees of those that it is meant for, each from its end to its top.
///
/// While it is interrupted its root and top are watched: when one of them goes or moves, the walk
/// learns of it ([`Mappings::forget_walks`]).
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The mapping whose descendants are walked.
    pub(crate) root: NodeIndex,
    /// Its depth.
    depth: u16,
    pub(crate) effect: Effect,
    /// Whether the root goes too.
    pub(crate) own: bool,
    /// Where it stands in relation to others, once it has been interrupted.
    pub(crate) claim: Option<Claim>,
    phase: Phase,
    /// The mapping that heads the subtree which the walk is in.
    top: Top,
    /// The node that was looked at last; backward, the one to look at next. While the walk is
    /// interrupted the thread's bookmark stands behind it instead.
    last: MaybeNode,
    /// The node to look at next, forward.
    next: MaybeNode,
}

#[derive(Clone, Copy, Debug)]
struct Top {
    node: NodeIndex,
    depth: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Forward, looking for a mapping to act on.
    Search,
    /// Forward to the end of the top's subtree.
    ToEnd,
    /// Backward to the top, acting.
    Act,
    /// Forward again, over what was left of the top's subtree.
    Skip,
}

#[cfg(test)]
impl Walk {
    /// The same, whenever it has begun.
    pub fn without_claim(self) -> Self {
        Self { claim: None, ..self }
    }
}

impl Walk {
    /// Whether `node` is the mapping whose descendants are walked.
    pub(crate) fn is_of(&self, node: NodeIndex) -> bool {
        self.root == node
    }

    /// If `node` is the top of the subtree which the walk is in, `heir` is from now on; without one that
    /// is over. Returns whether it was the top.
    pub(crate) fn replace_top(&mut self, node: NodeIndex, heir: Option<NodeIndex>) -> bool {
        let was_top = self.top.node == node;
        match heir {
            _ if !was_top => {}
            Some(heir) => self.top.node = heir,
            None => self.phase = Phase::Search,
        }
        was_top
    }
}

impl<M: Machine> Mappings<M> {
    /// Acts on all that was derived from one mapping, and on that itself if it is to go too.
    pub(crate) fn unmap_tree(
        &mut self,
        progress: &mut Progress,
        node: NodeIndex,
        effect: Effect,
        own: bool,
    ) -> Result<(), Preempted> {
        let is_tree = self.walkers[progress.walker].walk.is_some()
            || database::may_have_children(&mut self.machine, node);
        let tree_steps = if is_tree { TREE_STEPS } else { 0 };
        self.stretch.account(tree_steps + if own { OWN_STEPS } else { 0 });
        if is_tree {
            match effect.frames {
                None => self.strip(progress, node, effect, own)?,
                Some(_) => self.walk(progress, node, effect, own)?,
            }
        }
        if own {
            self.act(&mut progress.tally, node, effect);
        }
        Ok(())
    }

    /// Goes on with the walk that a map or grant was interrupted in. What it had decided to take away
    /// must go before it looks again: what is left would lead to other decisions.
    pub(crate) fn finish_walk(&mut self, progress: &mut Progress) -> Result<(), Preempted> {
        match self.walkers[progress.walker].walk {
            Some(Walk { root, effect, own, .. }) => self.unmap_tree(progress, root, effect, own)?,
            None => return Ok(()),
        }
        progress.note_empty();
        Ok(())
    }

    /// Takes all descendants of a mapping away, or rights of all, from the last one in the list to the
    /// first. What others map on the way, while it is interrupted, comes to stand before it and is
    /// met too; on what it has passed nobody maps with more rights than it has left.
    fn strip(
        &mut self,
        progress: &mut Progress,
        root: NodeIndex,
        effect: Effect,
        own: bool,
    ) -> Result<(), Preempted> {
        let mut walk = self.begin_walk(progress, root, effect, own);
        let mut node = walk.last.get().unwrap_or(root);
        let stripped = self.strip_on(progress, &mut walk, &mut node);
        if stripped.is_err() {
            self.leave_walk(progress, &mut walk, node);
        }
        stripped
    }

    /// Goes on to the end of the list below the root of `walk`, then acts on the way back.
    #[inline(always)]
    fn strip_on(
        &mut self,
        progress: &mut Progress,
        walk: &mut Walk,
        node: &mut NodeIndex,
    ) -> Result<(), Preempted> {
        while walk.phase != Phase::Act {
            self.need(PASS_STEPS)?;
            let most = self.stretch.times(PASS_STEPS);
            let (last, passed) = database::last_deeper(&mut self.machine, *node, walk.depth, most);
            *node = last;
            self.stretch.account(passed * PASS_STEPS);
            if passed < most {
                walk.phase = Phase::Act;
            }
        }
        if !walk.effect.takes_all() {
            return self.reduce_back(progress, walk, node);
        }
        while *node != walk.root {
            self.need(TAKE_STEPS)?;
            let most = self.stretch.times(TAKE_STEPS);
            self.stretch.account(most * TAKE_STEPS);
            *node = self.take_back(&mut progress.tally, *node, walk.root, most);
        }
        Ok(())
    }

    /// Takes rights away from mappings, from `node` back to the root of `walk`, which keeps them.
    fn reduce_back(
        &mut self,
        progress: &mut Progress,
        walk: &Walk,
        node: &mut NodeIndex,
    ) -> Result<(), Preempted> {
        while *node != walk.root {
            self.spend(ACT_STEPS)?;
            let found = *self.machine.node(*node);
            if !found.is_bookmark() {
                self.reduce(&mut progress.tally, *node, walk.effect);
            }
            *node = found.preceding().get().unwrap_or(walk.root);
        }
        Ok(())
    }

    /// Takes mappings away in a row, from `last` back to `root`, which stays, but not more than `most`.
    /// Returns the one that it came to. What is behind them in the list is linked to it at the end.
    pub(crate) fn take_back(
        &mut self,
        tally: &mut Tally,
        last: NodeIndex,
        root: NodeIndex,
        most: u32,
    ) -> NodeIndex {
        let mut taken = *tally;
        let mut behind = self.machine.node(last).following();
        let mut node = last;
        let mut left = most;
        while left != 0 && node != root {
            left -= 1;
            let found = *self.machine.node(node);
            if let Some(entry) = self.take_small_page(node, found) {
                taken.note_usage(entry);
                taken.removed += 1;
            } else {
                let taken = &mut taken;
                (behind, left) = self.take_other(taken, node, found.preceding(), behind, left);
            }
            node = found.preceding().get().unwrap_or(root);
        }
        *tally = taken;
        database::link(&mut self.machine, node, behind);
        node
    }

    /// Takes a mapping away that is no plain small page, or passes a bookmark by. Returns what is behind
    /// the next one then, and how many mappings more may be taken.
    #[cold]
    #[inline(never)]
    fn take_other(
        &mut self,
        tally: &mut Tally,
        node: NodeIndex,
        before: MaybeNode,
        behind: MaybeNode,
        left: u32,
    ) -> (MaybeNode, u32) {
        database::link(&mut self.machine, node, behind);
        if self.machine.node(node).is_bookmark() {
            return (node.into(), left);
        }
        self.remove_other(tally, node);
        // What was behind it may have been the bookmark of a walk that is over now.
        (self.follower(before), left.saturating_sub(OTHERS))
    }

    /// Takes a mapping away without regard to its neighbours in the list, if it is a small page that no
    /// walk comes back to. Returns what its entry was.
    #[inline(always)]
    fn take_small_page(&mut self, node: NodeIndex, found: MappingNode) -> Option<Entry> {
        let (task, place) = (TaskIndex::from_position(found.task), found.place);
        if !place.is_small_page() || place.is_watched() {
            return None;
        }
        let address = (place.number() as Word) << PAGE_ORDER;
        let owner = &self.tasks[task];
        let table = owner.space.table(&mut self.machine, Pages::Memory, address)?;
        let spot = Spot::<Entry>::new(table, table_index(address));
        let entry = spot.entry(&mut self.machine);
        let stale = spot.clear(&mut self.machine);
        stale.flush(&mut self.machine, owner.space.root(), address);
        let factory = &mut self.factories[owner.factory];
        database::free_node(&mut self.machine, factory, node);
        Some(entry)
    }

    /// Acts on the descendants of a mapping. Goes on where an interrupted walk had its bookmark.
    fn walk(
        &mut self,
        progress: &mut Progress,
        root: NodeIndex,
        effect: Effect,
        own: bool,
    ) -> Result<(), Preempted> {
        let mut walk = self.begin_walk(progress, root, effect, own);
        loop {
            let steps = if walk.phase == Phase::Act { ACT_STEPS } else { VISIT_STEPS };
            if let Err(preempted) = self.spend(steps)
                && let Some(behind) = walk.last.get()
            {
                self.leave_walk(progress, &mut walk, behind);
                return Err(preempted);
            }
            match walk.phase {
                Phase::Search => {
                    if !self.search(progress, &mut walk) {
                        return Ok(());
                    }
                }
                Phase::ToEnd => self.step_over(&mut walk, Phase::Act),
                Phase::Act => self.step_back(progress, &mut walk),
                Phase::Skip => self.step_over(&mut walk, Phase::Search),
            }
        }
    }

    fn begin_walk(
        &mut self,
        progress: &Progress,
        root: NodeIndex,
        effect: Effect,
        own: bool,
    ) -> Walk {
        if self.walkers[progress.walker].walk.is_some()
            && let Some((walk, last, next)) = self.resume_walk(progress.walker)
            && (walk.root, walk.effect, walk.own) == (root, effect, own)
        {
            return Walk { last, next, ..walk };
        }
        let node = self.machine.node(root);
        let (depth, next) = (node.depth, node.following());
        let top = Top { node: root, depth };
        let (phase, last) = (Phase::Search, root.into());
        Walk { root, depth, effect, own, claim: None, phase, top, last, next }
    }

    #[cold]
    fn leave_walk(&mut self, progress: &Progress, walk: &mut Walk, behind: NodeIndex) {
        for node in [walk.root, walk.top.node] {
            let node = self.machine.node(node);
            node.place = node.place.watched();
        }
        if walk.claim.is_none() {
            walk.claim = Some(self.claim(walk.root));
        }
        self.interrupt_walk(progress.walker, walk, behind);
    }

    /// Looks at the next descendant. False if there is none.
    #[inline]
    fn search(&mut self, progress: &mut Progress, walk: &mut Walk) -> bool {
        // The last top may be gone.
        walk.top.node = walk.root;
        let Some(node) = walk.next.get() else { return false };
        let found = *self.machine.node(node);
        if !found.is_bookmark() {
            if found.depth <= walk.depth {
                return false;
            }
            if self.is_meant(&found, walk.effect) {
                if self.is_leaf(&found) {
                    // There is nothing below that would have to go first.
                    self.stretch.account(ACT_STEPS);
                    walk.next = found.following();
                    if !self.act(&mut progress.tally, node, walk.effect) {
                        walk.last = node.into();
                    }
                    return true;
                }
                walk.phase = Phase::ToEnd;
                walk.top = Top { node, depth: found.depth };
            }
        }
        (walk.last, walk.next) = (node.into(), found.following());
        true
    }

    #[inline(always)]
    fn is_leaf(&mut self, found: &MappingNode) -> bool {
        let next = found.following().get();
        next.is_none_or(|next| self.machine.node(next).depth <= found.depth)
    }

    /// Goes one further in the subtree of the top; behind it goes on with `then`.
    #[inline]
    fn step_over(&mut self, walk: &mut Walk, then: Phase) {
        if let Some(node) = walk.next.get() {
            let found = *self.machine.node(node);
            // Bookmarks are deeper than everything.
            if found.depth > walk.top.depth {
                (walk.last, walk.next) = (node.into(), found.following());
                return;
            }
        }
        walk.phase = then;
    }

    /// Acts on the last node of what is left of the top's subtree.
    #[inline]
    fn step_back(&mut self, progress: &mut Progress, walk: &mut Walk) {
        let Some(node) = walk.last.get() else {
            walk.phase = Phase::Search;
            return;
        };
        let found = *self.machine.node(node);
        if found.is_bookmark() {
            walk.last = found.preceding();
            return;
        }
        let removed = self.act(&mut progress.tally, node, walk.effect);
        if node != walk.top.node {
            walk.last = found.preceding();
        } else if removed {
            walk.phase = Phase::Search;
            walk.last = found.preceding();
            walk.next = self.follower(walk.last);
        } else {
            walk.phase = Phase::Skip;
            walk.next = found.following();
        }
    }

    fn follower(&mut self, node: MaybeNode) -> MaybeNode {
        node.get().map_or(MaybeNode::NONE, |node| self.machine.node(node).following())
    }

    /// Whether a descendant is among those that an unmap is for.
    fn is_meant(&mut self, node: &MappingNode, effect: Effect) -> bool {
        let Some(frames) = effect.frames else { return true };
        let (task, place) = (node.task, node.place);
        if place.is_superpage() {
            return true;
        }
        let spot = self.page_spot(TaskIndex::from_position(task), place);
        let physical = spot.map(|spot| spot.entry(&mut self.machine).physical());
        physical.is_some_and(|physical| frames.contain(physical))
    }

    /// Does to one mapping what is to be done. Returns whether it is gone.
    #[inline]
    fn act(&mut self, tally: &mut Tally, node: NodeIndex, effect: Effect) -> bool {
        let removes = effect.take.contains(Rights::READ);
        if removes {
            self.remove(tally, node);
        } else {
            self.reduce(tally, node, effect);
        }
        removes
    }

    /// Takes a mapping away that nothing is derived from, and notes what the processor had noted.
    #[inline(always)]
    pub(crate) fn remove(&mut self, tally: &mut Tally, node: NodeIndex) {
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let task = TaskIndex::from_position(task);
        if place.is_small_page()
            && let Some(spot) = self.small_page(task, place.number() as Word)
        {
            self.remove_page(tally, node, task, spot);
        } else {
            self.remove_other(tally, node);
        }
    }

    #[inline(never)]
    fn remove_other(&mut self, tally: &mut Tally, node: NodeIndex) {
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let task = TaskIndex::from_position(task);
        let mut slot = Slot::EMPTY;
        if place.resource() == Resource::Capability {
            slot = self.clear_slot(task, place);
        } else if let Some(spot) = self.page_spot(task, place) {
            tally.note_usage(spot.entry(&mut self.machine));
            let stale = spot.clear(&mut self.machine);
            self.entry_changed(task, place, stale);
        }
        tally.removed += 1;
        self.drop_node(self.tasks[task].factory, node);
        if let Some(capability) = slot.capability() {
            self.capability_is_gone(capability, node);
        }
    }

    /// Where a task maps the page of a number, if it has a page table there.
    #[inline(always)]
    pub(crate) fn small_page(&mut self, task: TaskIndex, number: Word) -> Option<Spot<Entry>> {
        let address = number << PAGE_ORDER;
        let table = self.tasks[task].space.table(&mut self.machine, Pages::Memory, address)?;
        Some(Spot::new(table, table_index(address)))
    }

    /// Takes a small page of memory away, at `spot` of `task`: [`Mappings::remove`] on the hot path.
    #[inline(always)]
    pub(crate) fn remove_page(
        &mut self,
        tally: &mut Tally,
        node: NodeIndex,
        task: TaskIndex,
        spot: Spot<Entry>,
    ) {
        tally.note_usage(spot.entry(&mut self.machine));
        let stale = spot.clear(&mut self.machine);
        let number = self.machine.node(node).place.number();
        let owner = &self.tasks[task];
        let (root, factory) = (owner.space.root(), owner.factory);
        stale.flush(&mut self.machine, root, (number as Word) << PAGE_ORDER);
        tally.removed += 1;
        self.drop_node(factory, node);
    }

    #[inline(always)]
    pub(crate) fn drop_node(&mut self, factory: FactoryIndex, node: NodeIndex) {
        let place = self.machine.node(node).place;
        self.forget_walks(node, place);
        database::unlink(&mut self.machine, node);
        database::free_node(&mut self.machine, &mut self.factories[factory], node);
    }

    #[cold]
    fn clear_slot(&mut self, task: TaskIndex, place: Place) -> Slot {
        let index = CapabilityIndex(place.number() as Word);
        match self.tasks[task].capabilities.spot(index) {
            Some(spot) => {
                let slot = spot.entry(&mut self.machine);
                spot.clear(&mut self.machine).is_unknown();
                slot
            }
            None => Slot::EMPTY,
        }
    }

    /// Takes some rights of a mapping away, but not that to read.
    fn reduce(&mut self, tally: &mut Tally, node: NodeIndex, effect: Effect) {
        let take = effect.take;
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let task = TaskIndex::from_position(task);
        if place.resource() == Resource::Capability {
            return self.reduce_capability(tally, task, place, take);
        }
        let Some(spot) = self.page_spot(task, place) else { return };
        let old = spot.entry(&mut self.machine);
        let reduced = old.with_rights(old.rights() - take);
        let new = if effect.collect { reduced.without_usage() } else { reduced };
        if effect.collect {
            tally.note_usage(old);
        }
        if new != old {
            tally.reduced += u32::from(new.rights() != old.rights());
            let stale = spot.replace_entry(&mut self.machine, new);
            self.entry_changed(task, place, stale);
        }
    }

    #[cold]
    fn reduce_capability(
        &mut self,
        tally: &mut Tally,
        task: TaskIndex,
        place: Place,
        take: Rights,
    ) {
        let index = CapabilityIndex(place.number() as Word);
        if let Some(spot) = self.tasks[task].capabilities.spot(index) {
            let old = spot.entry(&mut self.machine);
            let new = old.with_rights(old.rights() - take);
            tally.reduced += u32::from(new != old);
            spot.replace_entry(&mut self.machine, new).is_unknown();
        }
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

    /// Makes the processor forget an entry that has changed.
    #[inline]
    pub(crate) fn entry_changed(&mut self, task: TaskIndex, place: Place, stale: Stale) {
        if place.resource() == Resource::Memory {
            let address = (place.number() as Word) << PAGE_ORDER;
            stale.flush(&mut self.machine, self.tasks[task].space.root(), address);
        } else {
            stale.forget_ports(&mut self.machine, task);
        }
    }
}
