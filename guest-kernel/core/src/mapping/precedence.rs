//! First come, first served: nobody can map on what is being taken away as fast as it is taken.
//!
//! A walk that is interrupted has a ticket, and so has a map. Who would map from a tree in which a walk is
//! interrupted that began before, goes on with that walk first, in its own time, until nothing is left for
//! it to do. So once a walk has begun, only maps that had begun before can still add to its tree; all
//! others make it shorter. Nobody waits, and no map goes on with walks that began after it.

use crate::{
    arch::{Entry, TABLE_ORDER},
    mapping::{
        capability::Slot,
        derivation::{Mapping, NotEntered, Source},
        life::{Cause, Turn},
        mappings::Mappings,
        progress::Progress,
        stretch::{Preempted, WALKERS_AT_ONCE},
        walk::{Tally, Walk},
    },
    memory::{
        frames::PhysicalAddress,
        index::{TableIndex, TaskIndex, WalkerIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{
    PAGE_ORDER, Word,
    introspection::mapping::{MappingNode, Resource},
    object::CapabilityIndex,
};

/// Steps that it costs to go on with the walk of somebody else.
const HELP_STEPS: u32 = 40;

/// When a walk or a map has begun: the number of interrupted walks before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What a tree of mappings is of. The tree of a superpage has its small pages in it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    resource: Resource,
    is_superpage: bool,
    /// Of a frame, port, superpage, or object.
    number: u32,
}

/// What an interrupted walk has a right to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub ticket: Ticket,
    subject: Subject,
    /// Who causes what ends by it.
    cause: Cause,
}

/// What others have done of a walk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Help {
    tally: Tally,
    /// The last turn of what ends by that.
    ends: Option<Turn>,
    /// Whether there is nothing left to do.
    pub is_over: bool,
}

/// A walk of somebody else that comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    walker: WalkerIndex,
    ticket: Ticket,
}

/// Which trees walks are interrupted in: how many of those whose subjects fall to the same place, and how old
/// they are at most.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    walks: u16,
    oldest: Ticket,
}

const PLACES: usize = 64;

/// The interrupted walks.
#[derive(Clone, Debug)]
pub(crate) struct Precedence {
    places: [Place; PLACES],
    next: Ticket,
}

impl Subject {
    /// A small page of memory, or a port.
    #[inline(always)]
    pub fn page(resource: Resource, page: PhysicalAddress) -> Self {
        Self { resource, is_superpage: false, number: (page.0 >> PAGE_ORDER) as u32 }
    }

    /// The superpage that it is in.
    #[inline(always)]
    pub fn superpage(resource: Resource, page: PhysicalAddress) -> Self {
        Self { resource, is_superpage: true, number: (page.0 >> TABLE_ORDER) as u32 }
    }

    fn capability(slot: Slot) -> Self {
        let number = slot.object_number();
        Self { resource: Resource::Capability, is_superpage: false, number }
    }

    #[inline(always)]
    fn place(self) -> usize {
        let kind = (self.resource as usize) << 1 | usize::from(self.is_superpage);
        (self.number as usize).wrapping_add(kind * (PLACES / 8)) % PLACES
    }
}

impl Precedence {
    /// No walk is interrupted.
    pub const fn new() -> Self {
        Self { places: [Place { walks: 0, oldest: Ticket(0) }; PLACES], next: Ticket(0) }
    }

    /// For what begins now.
    #[inline(always)]
    pub fn ticket(&self) -> Ticket {
        self.next
    }

    /// Whether a walk may be interrupted in a tree of this that began before.
    #[inline(always)]
    pub fn may_concern(&self, subject: Subject, ticket: Ticket) -> bool {
        let place = &self.places[subject.place()];
        place.walks != 0 && place.oldest < ticket
    }

    /// Whether that is out of the question for a small page, in its own tree and in that of its superpage.
    pub fn lets_pass(&self, resource: Resource, page: PhysicalAddress, ticket: Ticket) -> bool {
        let small = Subject::page(resource, page);
        let whole = Subject::superpage(resource, page);
        !self.may_concern(small, ticket) && !self.may_concern(whole, ticket)
    }

    /// A walk is left that was not left before.
    fn claim(&mut self, subject: Subject, cause: Cause) -> Claim {
        let ticket = self.next;
        self.next.0 += 1;
        Claim { ticket, subject, cause }
    }

    /// A walk with this claim is interrupted.
    pub fn add(&mut self, claim: Claim) {
        let place = &mut self.places[claim.subject.place()];
        if place.walks == 0 || claim.ticket < place.oldest {
            place.oldest = claim.ticket;
        }
        place.walks += 1;
    }

    /// It goes on, or is over.
    pub fn remove(&mut self, claim: Claim) {
        self.places[claim.subject.place()].walks -= 1;
    }
}

impl<M: Machine> Mappings<M> {
    /// What the tree of a mapping is of.
    fn subject(&mut self, node: NodeIndex) -> Subject {
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let (task, resource) = (TaskIndex::from_position(task), place.resource());
        if resource == Resource::Capability {
            let index = CapabilityIndex(place.number() as Word);
            return Subject::capability(
                self.tasks[task].capabilities.slot(&mut self.machine, index),
            );
        }
        let spot = self.page_spot(task, place);
        let page = spot.map_or(Entry::EMPTY, |spot| spot.entry(&mut self.machine)).physical();
        if place.is_superpage() {
            Subject::superpage(resource, page)
        } else {
            Subject::page(resource, page)
        }
    }

    /// What a walk has a right to that is left for the first time.
    pub(crate) fn claim(&mut self, root: NodeIndex) -> Claim {
        let subject = self.subject(root);
        self.precedence.claim(subject, self.lives.cause())
    }

    /// A map is about to map from a mapping: first it goes on with a walk in that tree that began before, if
    /// one is interrupted. Then it has to look anew at what there is.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_way<E: Mapping>(
        &mut self,
        progress: &Progress,
        source: Source<E>,
    ) -> Result<(), NotEntered> {
        let ticket = self.walkers[progress.walker].ticket.unwrap_or_default();
        let own = self.subject(source.node);
        // A small page is below superpages, too.
        let whole = Subject::superpage(own.resource, source.entry.physical());
        for subject in [own, whole] {
            if self.precedence.may_concern(subject, ticket)
                && let Some(ahead) = self.find_walk(subject, ticket)
            {
                self.walkers[progress.walker].ahead = Some(ahead);
                self.need(HELP_STEPS)?;
                self.go_on_with_others(progress)?;
                return Err(NotEntered::Stale);
            }
        }
        Ok(())
    }

    /// A map goes on with the walk of somebody else, if it has to and that is not over yet.
    pub(crate) fn go_on_with_others(&mut self, progress: &Progress) -> Result<(), Preempted> {
        if let Some(Ahead { walker, ticket }) = self.walkers[progress.walker].ahead {
            let claim = self.walkers[walker].walk.and_then(|walk| walk.claim);
            if claim.is_some_and(|claim| claim.ticket == ticket) {
                self.help(walker)?;
            }
            self.walkers[progress.walker].ahead = None;
        }
        Ok(())
    }

    /// A walk in the tree of a subject that began before. There are as many walkers as threads: interrupts
    /// come in between.
    fn find_walk(&mut self, subject: Subject, ticket: Ticket) -> Option<Ahead> {
        for number in 0..self.walkers.used() {
            let walker = WalkerIndex::from_position(number);
            if number % WALKERS_AT_ONCE == WALKERS_AT_ONCE - 1 {
                self.stretch.go_on(&mut self.machine);
            }
            let claim = self.walkers[walker].walk.and_then(|walk| walk.claim);
            if let Some(claim) = claim
                && claim.subject == subject
                && claim.ticket < ticket
            {
                return Some(Ahead { walker, ticket: claim.ticket });
            }
        }
        None
    }

    /// Goes on with the walk that somebody else was interrupted in, as that would.
    fn help(&mut self, walker: WalkerIndex) -> Result<(), Preempted> {
        let Some(Walk { root, effect, own, claim: Some(claim), .. }) = self.walkers[walker].walk
        else {
            return Ok(());
        };
        let (cause, news) = self.lives.act_for(claim.cause, None);
        let mut progress = Progress::new(walker);
        let done = self.unmap_tree(&mut progress, root, effect, own);
        let (_, ends) = self.lives.act_for(cause, news);
        let help = self.walkers[walker].help.get_or_insert_default();
        help.tally.add(progress.tally);
        help.ends = help.ends.max(ends);
        help.is_over = done.is_ok();
        done
    }

    /// Takes over what others have done meanwhile of what this was interrupted in.
    #[inline(always)]
    pub(crate) fn take_help(&mut self, progress: &mut Progress) {
        if let Some(help) = self.walkers[progress.walker].help.take() {
            progress.tally.add(help.tally);
            progress.ends = progress.ends.max(help.ends);
            if help.is_over {
                progress.note_empty();
            }
        }
    }

    /// A walk is over by what somebody else did.
    pub(crate) fn end_walk_for(&mut self, walker: WalkerIndex) {
        self.drop_walk(walker);
        self.walkers[walker].help.get_or_insert_default().is_over = true;
    }
}
