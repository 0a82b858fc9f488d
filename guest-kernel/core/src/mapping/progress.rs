//! How far a map or unmap has come that is left at a preemption point, and who goes on with it.
//!
//! All that is kept in between is the walker's walk and, in the mapping database, its bookmark; the rest
//! is with whoever has begun.

use crate::{
    mapping::{
        database::{self, Links},
        item::Outcome,
        life::Turn,
        mappings::Mappings,
        precedence::{Ahead, Help, Ticket},
        stretch::{Preempted, WALKERS_AT_ONCE},
        walk::{PASS_STEPS, Tally, Walk},
    },
    memory::{
        frames::NoMemory,
        index::{FactoryIndex, Table, TableIndex, WalkerIndex},
        machine::{Machine, Memory},
        node::{MaybeNode, NodeIndex},
    },
};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Flexpage, Rights},
    introspection::mapping::{MappingNode, Place},
    message::MapItem,
};

/// Who can walk through the database.
pub type Walkers<M> = Table<WalkerIndex, <M as Memory>::Storage<Walker>>;

/// One of them: the kernel has one, and each thread.
#[derive(Clone, Copy, Debug)]
pub struct Walker {
    /// Its bookmark.
    pub bookmark: NodeIndex,
    /// The walk that it is interrupted in.
    pub(crate) walk: Option<Walk>,
    /// What others have done of that.
    pub(crate) help: Option<Help>,
    /// When the map was begun that it is in.
    pub(crate) ticket: Option<Ticket>,
    /// The window that its item arrives in: others may change it meanwhile.
    pub(crate) window: Option<Flexpage>,
    /// The walk that the map goes on with before.
    pub(crate) ahead: Option<Ahead>,
}

#[cfg(test)]
impl Walker {
    /// Whether it is in nothing at all.
    pub fn is_nowhere(&self) -> bool {
        let Self { bookmark: _, walk, help, ticket, window, ahead } = self;
        walk.is_none() && help.is_none() && ticket.is_none() && window.is_none() && ahead.is_none()
    }

    /// When the walk has begun that it is interrupted in, and the map.
    pub fn tickets(&self) -> [Option<Ticket>; 2] {
        [self.walk.and_then(|walk| walk.claim).map(|claim| claim.ticket), self.ticket]
    }
}

impl Walker {
    /// One that is nowhere yet.
    pub fn new(bookmark: NodeIndex) -> Self {
        Self { bookmark, walk: None, help: None, ticket: None, window: None, ahead: None }
    }
}

/// How far items or flexpages have come, of which there may be several.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Who goes on with it.
    pub walker: WalkerIndex,
    /// Number of the item or flexpage.
    pub number: u8,
    /// The item, once it is begun: the words that it stands in may change. What is unmapped is one too:
    /// [`Self::begin_unmap`].
    pub item: Option<MapItem>,
    /// Bytes of it that are done (ports and capabilities count as pages).
    pub done: Word,
    /// Whether one of the items before allows what had faulted.
    pub resolved: bool,
    /// The last turn of what ends because its first capability was taken away.
    pub ends: Option<Turn>,
    /// Pages that were done when a place was empty ([`Self::note_empty`]).
    past: u32,
    /// What became of the item so far.
    pub outcome: Outcome,
    /// What was unmapped of the flexpage so far, or in favour of the item.
    pub tally: Tally,
}

impl Progress {
    /// None at all.
    pub fn new(walker: WalkerIndex) -> Self {
        Self {
            walker,
            number: 0,
            item: None,
            done: 0,
            resolved: false,
            ends: None,
            past: u32::MAX,
            outcome: Outcome::NOTHING,
            tally: Tally::default(),
        }
    }

    /// What was where this has come to is gone: whatever is there now has come since, and stays.
    #[inline]
    pub(crate) fn note_empty(&mut self) {
        self.past = self.pages();
    }

    /// Whether that is so.
    #[inline(always)]
    pub(crate) fn was_empty(&self) -> bool {
        self.past == self.pages()
    }

    #[inline(always)]
    fn pages(&self) -> u32 {
        (self.done >> PAGE_ORDER) as u32
    }

    /// What is to be unmapped, once it is begun: a flexpage, the rights to take away, and whether the task's
    /// own mappings are meant too.
    #[inline(always)]
    pub(crate) fn begin_unmap(&mut self, flexpage: Flexpage, take: Rights, own: bool) -> MapItem {
        if let Some(item) = self.item {
            return item;
        }
        let item = MapItem { send_base: 0, grant: own, flexpage: flexpage.with_rights(take) };
        (self.item, self.done, self.past) = (Some(item), 0, u32::MAX);
        self.tally = Tally::default();
        item
    }

    /// That is unmapped.
    #[inline(always)]
    pub(crate) fn end_unmap(&mut self) {
        (self.item, self.number) = (None, self.number + 1);
    }

    /// The next item or flexpage.
    pub fn next(&mut self) {
        let Self { number, resolved, ends, .. } = *self;
        *self = Self { number: number + 1, resolved, ends, ..Self::new(self.walker) };
    }
}

impl<M: Machine> Mappings<M> {
    /// Adds a walker, which is nowhere yet, behind the last one, or in the place of one that is nowhere any
    /// more.
    pub(crate) fn set_walker(&mut self, walker: WalkerIndex, bookmark: NodeIndex) {
        if walker.position() < self.walkers.used() {
            debug_assert!(self.walkers[walker].walk.is_none(), "a walk of somebody who is gone");
            self.walkers[walker] = Walker::new(bookmark);
        } else {
            self.walkers.push(Walker::new(bookmark));
        }
    }

    /// Takes some steps, if need be in the next stretch; or says that it is time for others.
    #[inline(always)]
    pub(crate) fn spend(&mut self, steps: u32) -> Result<(), Preempted> {
        self.stretch.need(&mut self.machine, steps)?;
        self.stretch.account(steps);
        Ok(())
    }

    /// Makes sure of some steps, if need be in the next stretch; or says that it is time for others.
    #[inline(always)]
    pub(crate) fn need(&mut self, steps: u32) -> Result<(), Preempted> {
        self.stretch.need(&mut self.machine, steps)
    }

    /// The kernel gets its own walker, the first one, with a bookmark of `factory`.
    pub(crate) fn begin_to_walk(&mut self, factory: FactoryIndex) -> Result<(), NoMemory> {
        let bookmark = self.allocate_node(factory)?;
        *self.machine.node(bookmark) = MappingNode::default();
        self.walkers.push(Walker::new(bookmark)).map(|_: WalkerIndex| ()).ok_or(NoMemory)
    }

    /// The operation is done.
    #[inline]
    pub(crate) fn end_stretch(&mut self) {
        self.stretch.end(&mut self.machine, false);
    }

    /// The item or flexpage is done or given up, or what came between ends it. If a walk was under way
    /// that nothing went on with, because others had taken what it was for, its bookmark must not stay
    /// behind.
    #[inline]
    pub(crate) fn end_walk(&mut self, walker: WalkerIndex) {
        let known = &mut self.walkers[walker];
        (known.help, known.ticket, known.ahead, known.window) = (None, None, None, None);
        if known.walk.is_some() {
            self.resume_walk(walker);
        }
    }

    /// Takes a walk from its walker that it does not go on with.
    #[inline(always)]
    pub(crate) fn drop_walk(&mut self, walker: WalkerIndex) {
        if self.walkers[walker].walk.is_some() {
            self.resume_walk(walker);
        }
    }

    /// Takes the walk from a walker that it was interrupted in, with the nodes before and behind its bookmark.
    #[cold]
    #[inline(never)]
    pub(crate) fn resume_walk(
        &mut self,
        walker: WalkerIndex,
    ) -> Option<(Walk, MaybeNode, MaybeNode)> {
        let walk = self.walkers[walker].walk.take()?;
        let (before, behind) = self.take_bookmark(walker, &walk);
        Some((walk, before, behind))
    }

    /// What one walker has begun another one goes on with.
    pub(crate) fn hand_over_walk(&mut self, from: WalkerIndex, to: WalkerIndex) {
        self.end_walk(to);
        let begun = self.walkers[from];
        let walker = &mut self.walkers[to];
        (walker.help, walker.ticket, walker.ahead) = (begun.help, begun.ticket, begun.ahead);
        walker.window = begun.window;
        if let Some((walk, before, _)) = self.resume_walk(from)
            && let Some(behind) = before.get()
        {
            self.interrupt_walk(to, &walk, behind);
        }
        self.end_walk(from);
    }

    /// A walker is interrupted in a walk. Its bookmark stands behind a node until it goes on.
    pub(crate) fn interrupt_walk(&mut self, walker: WalkerIndex, walk: &Walk, behind: NodeIndex) {
        let bookmark = self.walkers[walker].bookmark;
        let thread = walker.position().wrapping_sub(1);
        database::insert_bookmark(&mut self.machine, behind, bookmark, thread);
        self.interrupted_walks += 1;
        if let Some(claim) = walk.claim {
            self.precedence.add(claim);
        }
        self.walkers[walker].walk = Some(*walk);
    }

    /// Takes a walker's bookmark out of its list. Returns the nodes before and behind it.
    fn take_bookmark(&mut self, walker: WalkerIndex, walk: &Walk) -> (MaybeNode, MaybeNode) {
        self.interrupted_walks -= 1;
        if let Some(claim) = walk.claim {
            self.precedence.remove(claim);
        }
        let bookmark = self.walkers[walker].bookmark;
        database::remove_bookmark(&mut self.machine, bookmark)
    }

    /// Whether anything was derived from a mapping. There may be as many bookmarks behind it as threads:
    /// interrupts come in between.
    pub(crate) fn has_children(&mut self, node: NodeIndex) -> bool {
        let MappingNode { depth, mut next, .. } = *self.machine.node(node);
        while let Some(follower) = MaybeNode::from_raw(next).get() {
            let follower = *self.machine.node(follower);
            if !follower.is_bookmark() {
                return follower.depth > depth;
            }
            self.stretch.go_on_with(&mut self.machine, PASS_STEPS);
            self.stretch.account(PASS_STEPS);
            next = follower.next;
        }
        false
    }

    /// A mapping goes, or moves to another tree: interrupted walks that would come back to it must not
    /// take what is there then for it.
    #[inline(always)]
    pub(crate) fn forget_walks(&mut self, node: NodeIndex, place: Place) {
        if place.is_watched() && self.interrupted_walks != 0 {
            self.redirect_walks(node, None);
        }
    }

    /// The same for a mapping that has a new owner, or `heir`, in its place in the tree, with all that was
    /// derived from it: who walked over it for its old owner is done, who came upon it goes on. There are as
    /// many walkers as threads: interrupts come in between.
    #[cold]
    #[inline(never)]
    pub(crate) fn redirect_walks(&mut self, node: NodeIndex, heir: Option<NodeIndex>) {
        for number in 0..self.walkers.used() {
            let walker = WalkerIndex::from_position(number);
            if number % WALKERS_AT_ONCE == WALKERS_AT_ONCE - 1 {
                self.stretch.go_on(&mut self.machine);
            }
            let Some(walk) = &mut self.walkers[walker].walk else { continue };
            if walk.is_of(node) {
                self.end_walk_for(walker);
            } else if walk.replace_top(node, heir)
                && let Some(heir) = heir
            {
                let heir = self.machine.node(heir);
                heir.place = heir.place.watched();
            }
        }
    }
}
