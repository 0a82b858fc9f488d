//! The rules of map and grant, the same for pages, ports and capabilities: what a mapping becomes
//! where it arrives, and whose child it is.

use crate::{
    arch::Entry,
    mapping::{
        capability::Slot,
        database::{self, NewMapping},
        life::Mortal,
        mappings::Mappings,
        progress::Progress,
        space::{Entries, Spot},
        stretch::Preempted,
        walk::{Effect, PASS_STEPS},
    },
    memory::{
        frames::{NoMemory, PhysicalAddress},
        index::{TableIndex, TaskIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{flexpage::Rights, introspection::mapping::Place, message::MapItem};

/// Steps that it costs to look at what is in the place of a mapping, beside entering it.
const CARE_STEPS: u32 = 22;

/// Why a page is not entered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotEntered {
    Preempted,
    NoMemory,
    TooDeep,
    /// Something has changed meanwhile: all is to be looked at anew.
    Stale,
}

impl From<Preempted> for NotEntered {
    fn from(_: Preempted) -> Self {
        Self::Preempted
    }
}

impl From<NoMemory> for NotEntered {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// What the rules of map and grant need to know of an entry.
pub(crate) trait Mapping: Entries {
    fn is_present(self) -> bool;
    fn rights(self) -> Rights;
    /// Whether both map the same frame, port or object.
    fn is_same(self, other: Self) -> bool;
    /// The same with other rights.
    fn with_rights(self, rights: Rights) -> Self;
    /// A new mapping of the same, which nobody has used yet.
    fn derived(self, rights: Rights) -> Self;
    /// The frame.
    fn physical(self) -> PhysicalAddress;
    /// The object, if it maps one that can end.
    fn mortal(self) -> Option<Mortal>;
}

impl Mapping for Entry {
    #[inline(always)]
    fn is_present(self) -> bool {
        self.is_present()
    }
    #[inline(always)]
    fn rights(self) -> Rights {
        self.rights()
    }
    #[inline(always)]
    fn is_same(self, other: Self) -> bool {
        self.physical() == other.physical()
    }
    #[inline(always)]
    fn with_rights(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    #[inline(always)]
    fn derived(self, rights: Rights) -> Self {
        self.without_usage().with_rights(rights)
    }
    #[inline(always)]
    fn physical(self) -> PhysicalAddress {
        self.physical()
    }
    #[inline(always)]
    fn mortal(self) -> Option<Mortal> {
        None
    }
}

impl Mapping for Slot {
    fn is_present(self) -> bool {
        self.is_present()
    }
    fn rights(self) -> Rights {
        self.rights()
    }
    fn is_same(self, other: Self) -> bool {
        self.with_rights(Rights::empty()) == other.with_rights(Rights::empty())
    }
    fn with_rights(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    fn derived(self, rights: Rights) -> Self {
        self.with_rights(rights)
    }
    fn physical(self) -> PhysicalAddress {
        PhysicalAddress(0)
    }
    fn mortal(self) -> Option<Mortal> {
        self.capability()?.object.mortal()
    }
}

/// What is mapped on: an entry as it would be in a table of the smallest pages, and its node.
#[derive(Clone, Copy)]
pub(crate) struct Source<E> {
    pub entry: E,
    pub node: NodeIndex,
    /// Where it stands, if it can be granted: not a part of a superpage, and not sigma0's.
    pub own: Option<(TaskIndex, Place, Spot<E>)>,
}

/// Where it is to be entered.
#[derive(Clone, Copy)]
pub(crate) struct Target<E> {
    pub task: TaskIndex,
    pub place: Place,
    pub spot: Spot<E>,
}

impl<M: Machine> Mappings<M> {
    /// Enters one mapping by the rules of map and grant, the same for all resources.
    #[inline(always)]
    pub(crate) fn enter<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        target: Target<E>,
        item: MapItem,
    ) -> Result<(), NotEntered> {
        if self.interrupted_walks != 0 {
            self.give_way(progress, source)?;
        }
        let allowed = source.entry.rights() & item.flexpage.rights();
        let old = target.spot.entry(&mut self.machine);
        let entered = if old.is_present() || source.own.is_some() {
            self.enter_with_care(progress, source, target, item.flexpage.rights(), old)?
        } else {
            self.derive(source, target, allowed)?
        };
        progress.outcome.note(entered, 1);
        Ok(())
    }

    /// A new child of the sender's mapping.
    #[inline(always)]
    fn derive<E: Mapping>(
        &mut self,
        source: Source<E>,
        target: Target<E>,
        allowed: Rights,
    ) -> Result<E, NotEntered> {
        let factory = self.tasks[target.task].factory;
        let node = self.allocate_node(factory)?;
        let mapping = NewMapping { task: target.task.position(), place: target.place };
        if !database::insert_child(&mut self.machine, source.node, node, mapping) {
            database::free_node(&mut self.machine, &mut self.factories[factory], node);
            return Err(NotEntered::TooDeep);
        }
        let entry = source.entry.derived(allowed);
        target.spot.set_node(&mut self.machine, node.into());
        target.spot.set_entry(&mut self.machine, entry);
        Ok(entry)
    }

    /// Enters a mapping where there is one already, or by grant.
    #[cold]
    #[inline(never)]
    fn enter_with_care<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        target: Target<E>,
        arriving: Rights,
        old: E,
    ) -> Result<E, NotEntered> {
        self.stretch.account(CARE_STEPS);
        let allowed = source.entry.rights() & arriving;
        let depth = database::depth_below(&mut self.machine, source.node);
        if depth.is_none() && source.own.is_none() {
            return Err(NotEntered::TooDeep);
        }
        if let Some(node) = target.spot.node(&mut self.machine) {
            if old.is_same(source.entry)
                && let Some(entry) = self.enter_over_same(source, target, allowed, (old, node))
            {
                return Ok(entry);
            }
            if progress.was_empty() {
                // Its place was empty before somebody else mapped over that, and it is gone again.
                if source.own.is_some() {
                    self.unmap_tree(progress, source.node, Effect::REMOVE, true)?;
                }
                return Ok(source.entry.derived(allowed));
            }
            self.unmap_tree(progress, node, Effect::REMOVE, true)?;
        }
        match source.own {
            Some(own) => self.move_mapping(progress, source, own, target, arriving),
            None => self.derive(source, target, allowed),
        }
    }

    /// The receiver has the same frame, port or object there already: its rights may grow. `None` if
    /// what was derived from it is in the way.
    fn enter_over_same<E: Mapping>(
        &mut self,
        source: Source<E>,
        target: Target<E>,
        allowed: Rights,
        (old, node): (E, NodeIndex),
    ) -> Option<E> {
        if old.rights().contains(allowed) {
            return Some(old);
        }
        let (is_child, looked) = database::is_child_of(&mut self.machine, node, source.node);
        self.stretch.account(looked * PASS_STEPS);
        let rights = if is_child {
            old.rights() | allowed
        } else {
            let can_move = database::depth_below(&mut self.machine, source.node).is_some()
                && !self.has_children(node);
            if !can_move {
                return None;
            }
            // It can become the sender's child.
            let mapping = NewMapping { task: target.task.position(), place: target.place };
            let place = self.machine.node(node).place;
            self.forget_walks(node, place);
            database::unlink(&mut self.machine, node);
            database::insert_child(&mut self.machine, source.node, node, mapping);
            (old.rights() | allowed) & source.entry.rights()
        };
        let entry = old.with_rights(rights);
        let stale = target.spot.replace_entry(&mut self.machine, entry);
        self.entry_changed(target.task, target.place, stale);
        Some(entry)
    }

    /// Grant: the mapping itself changes hands; what was derived from it stays (lecture, "aliases
    /// remain").
    fn move_mapping<E: Mapping>(
        &mut self,
        progress: &mut Progress,
        source: Source<E>,
        (from, place, spot): (TaskIndex, Place, Spot<E>),
        target: Target<E>,
        arriving: Rights,
    ) -> Result<E, NotEntered> {
        let allowed = source.entry.rights() & arriving;
        let (giver, taker) = (self.tasks[from].factory, self.tasks[target.task].factory);
        if giver != taker {
            // Before anything is changed.
            self.need_node(taker)?;
        }
        // The giver's own mapping too, so that nobody gets from it what its descendants lose while
        // this is interrupted.
        let effect = Effect { take: Rights::all() - arriving, frames: None, collect: false };
        if source.entry.rights() != allowed {
            self.unmap_tree(progress, source.node, effect, true)?;
        }
        let was_watched = self.machine.node(source.node).place.is_watched();
        let mut node = source.node;
        if giver != taker {
            // Each factory keeps its own nodes.
            node = self.allocate_node(taker)?;
            database::replace(&mut self.machine, source.node, node);
            database::free_node(&mut self.machine, &mut self.factories[giver], source.node);
        }
        let moved = self.machine.node(node);
        moved.task = target.task.position();
        moved.place = target.place.granted();
        if let Some(object) = source.entry.mortal() {
            self.lives.move_root(object, source.node, node);
        }
        if was_watched {
            self.redirect_walks(source.node, Some(node));
        }
        let stale = spot.clear(&mut self.machine);
        self.entry_changed(from, place, stale);
        let entry = source.entry.with_rights(allowed);
        target.spot.set_node(&mut self.machine, node.into());
        target.spot.set_entry(&mut self.machine, entry);
        Ok(entry)
    }
}
