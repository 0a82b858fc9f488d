//! Lives: an object lives as long as the first capability to it.
//!
//! When that is taken away, with all that was derived from it, the object comes to the list of dying ones:
//! behind the others, if a system call has ended it, so that the turn of each of them comes; but what ends
//! because another one does comes before that. Nothing else happens here: those who know what objects are
//! made of take it apart. Until it is gone it stays among those that its factory has made.

use crate::{
    mapping::{
        capability::{Capability, Object},
        mappings::Mappings,
    },
    memory::{
        index::{
            FactoryIndex, GateIndex, InterruptIndex, Storage, TableIndex, TaskIndex, ThreadIndex,
        },
        machine::Machine,
        node::{MaybeNode, NodeIndex},
    },
};
use core::{marker::PhantomData, num::NonZeroU64};
use protocol::introspection::{
    NOBODY,
    mapping::{CapabilitySlot, LifeRecord, LifeState, ObjectKind},
    record::Ids,
};

/// An object that can end. The others are the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mortal {
    /// A gate.
    Gate(GateIndex),
    /// A thread.
    Thread(ThreadIndex),
    /// A task.
    Task(TaskIndex),
    /// A factory.
    Factory(FactoryIndex),
    /// The answer that a thread waits for.
    Reply(ThreadIndex),
    /// An interrupt.
    Interrupt(InterruptIndex),
}

/// A mortal object or none, as it stands in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MaybeMortal(u32);

/// The life of one object. Its size is a power of two, which makes finding it a shift.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct Life {
    record: LifeRecord,
    /// The lower half of its turn, while it is dying.
    turn: u32,
}

const _: () = assert!(size_of::<Life>() == 32);

/// Memory for the lives of all objects that there can be.
#[derive(Debug)]
pub struct LifeTables<M: Machine> {
    /// For gates.
    pub gates: M::Storage<Life>,
    /// For threads.
    pub threads: M::Storage<Life>,
    /// For tasks.
    pub tasks: M::Storage<Life>,
    /// For factories.
    pub factories: M::Storage<Life>,
    /// For the answers that threads wait for.
    pub replies: M::Storage<Life>,
    /// For interrupts.
    pub interrupts: M::Storage<Life>,
}

/// The lives of all objects.
#[derive(Debug)]
pub struct Lives<M: Machine> {
    pub(crate) tables: LifeTables<M>,
    /// Those whose first capability is gone; first what is taken apart first.
    dying: DueList,
    /// Gates that nobody holds any more, which their threads have not been told yet.
    unheld: DueList,
    /// Who does what leads to ends.
    cause: Cause,
    /// The last turn of what it has ended.
    news: Option<Turn>,
    /// Turns so far.
    turns: u64,
    machine: PhantomData<M>,
}

#[cfg(test)]
impl Life {
    /// All that is known of it.
    pub fn record(&self) -> &LifeRecord {
        &self.record
    }
}

#[cfg(test)]
impl<M: Machine> Lives<M> {
    /// The next one of those that the same factory has made.
    pub fn next_made(&self, object: Mortal) -> Option<Mortal> {
        MaybeMortal(self.of(object).record.next).get()
    }

    /// Those that are dying, each with its turn as far as it is kept, and the gates that are unheld: both from
    /// the first one to the last. An error if the list is not whole.
    pub fn all_due(&self) -> Result<[Vec<(Mortal, u32)>; 2], String> {
        let lists = [(self.dying, LifeState::Dying), (self.unheld, LifeState::Unheld)];
        let mut found = [Vec::new(), Vec::new()];
        for ((list, state), found) in lists.into_iter().zip(&mut found) {
            let (mut next, mut previous) = (list.first, MaybeMortal::NONE);
            while let Some(object) = next.get() {
                let life = self.of(object);
                let is_sound = life.is(state) && life.record.previous_due == previous.0;
                if !is_sound || found.len() > usize::from(u16::MAX) {
                    return Err(format!("{object:?} among the due: {life:?}"));
                }
                found.push((object, life.turn));
                (previous, next) = (next, MaybeMortal(life.record.next_due));
            }
            if list.last != previous {
                return Err(format!("the last one that is due is {previous:?}, not {list:?}"));
            }
        }
        Ok(found)
    }

    /// Whatever becomes of their first capabilities, the objects that there are now do not end.
    pub fn forget_roots(&mut self) {
        let LifeTables { gates, threads, tasks, factories, replies, interrupts } = &mut self.tables;
        for table in [gates, threads, tasks, factories, replies, interrupts] {
            table.iter_mut().for_each(|life| life.record.root = 0);
        }
    }
}

#[cfg(test)]
impl<M: Machine> Clone for Lives<M>
where
    M::Storage<Life>: Clone,
{
    fn clone(&self) -> Self {
        let LifeTables { gates, threads, tasks, factories, replies, interrupts } = &self.tables;
        let (gates, threads, tasks) = (gates.clone(), threads.clone(), tasks.clone());
        let (factories, replies) = (factories.clone(), replies.clone());
        let interrupts = interrupts.clone();
        let tables = LifeTables { gates, threads, tasks, factories, replies, interrupts };
        let Self { dying, unheld, cause, news, turns, .. } = *self;
        Self { tables, dying, unheld, cause, news, turns, machine: PhantomData }
    }
}

/// When an object is taken apart: before all with a later turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(NonZeroU64);

/// Who does what leads to ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cause {
    /// Ids of who has begun.
    ids: u32,
    /// The lower half of the turn of the object whose end does it; `None`: a system call.
    turn: Option<u32>,
}

/// Objects that something is due to.
#[derive(Clone, Copy, Debug)]
struct DueList {
    first: MaybeMortal,
    last: MaybeMortal,
}

impl DueList {
    const EMPTY: Self = Self { first: MaybeMortal::NONE, last: MaybeMortal::NONE };
}

impl Mortal {
    /// The object that capabilities stand for.
    pub fn object(self) -> Object {
        match self {
            Self::Gate(gate) => Object::Gate(gate),
            Self::Thread(thread) => Object::Thread(thread),
            Self::Task(task) => Object::Task(task),
            Self::Factory(factory) => Object::Factory(factory),
            Self::Reply(thread) => Object::Reply(thread),
            Self::Interrupt(interrupt) => Object::Interrupt(interrupt),
        }
    }

    /// Its kind and its number among those of its kind.
    pub fn kind(self) -> (ObjectKind, u16) {
        match self {
            Self::Gate(gate) => (ObjectKind::Gate, gate.position()),
            Self::Thread(thread) => (ObjectKind::Thread, thread.position()),
            Self::Task(task) => (ObjectKind::Task, task.position()),
            Self::Factory(factory) => (ObjectKind::Factory, factory.position()),
            Self::Reply(thread) => (ObjectKind::Reply, thread.position()),
            Self::Interrupt(interrupt) => (ObjectKind::Interrupt, interrupt.position()),
        }
    }
}

impl Object {
    /// The object, if it can end.
    pub fn mortal(self) -> Option<Mortal> {
        Some(match self {
            Self::Gate(gate) => Mortal::Gate(gate),
            Self::Thread(thread) => Mortal::Thread(thread),
            Self::Task(task) => Mortal::Task(task),
            Self::Factory(factory) => Mortal::Factory(factory),
            Self::Reply(thread) => Mortal::Reply(thread),
            Self::Interrupt(interrupt) => Mortal::Interrupt(interrupt),
            Self::Console
            | Self::Scheduler
            | Self::Debugger
            | Self::Platform
            | Self::Interrupts => return None,
        })
    }
}

impl MaybeMortal {
    const NONE: Self = Self(0);

    fn get(self) -> Option<Mortal> {
        let slot = CapabilitySlot(self.0);
        let index = slot.index();
        Some(match slot.kind()? {
            ObjectKind::Gate => Mortal::Gate(GateIndex::from_position(index)),
            ObjectKind::Thread => Mortal::Thread(ThreadIndex::from_position(index)),
            ObjectKind::Task => Mortal::Task(TaskIndex::from_position(index)),
            ObjectKind::Factory => Mortal::Factory(FactoryIndex::from_position(index)),
            ObjectKind::Reply => Mortal::Reply(ThreadIndex::from_position(index)),
            ObjectKind::Interrupt => Mortal::Interrupt(InterruptIndex::from_position(index)),
            _ => return None,
        })
    }
}

impl From<Mortal> for MaybeMortal {
    fn from(object: Mortal) -> Self {
        let (kind, index) = object.kind();
        Self(CapabilitySlot::new(kind, 0, index).0)
    }
}

impl Life {
    /// Of an object that there is not.
    const NONE: Self = Self {
        record: LifeRecord {
            root: 0,
            next: 0,
            previous: 0,
            next_due: 0,
            previous_due: 0,
            made: 0,
            factory: NOBODY,
            state: LifeState::None as u16,
        },
        turn: 0,
    };

    /// The node of its first capability, if that is there.
    pub fn root(&self) -> Option<NodeIndex> {
        let is_dying = self.is(LifeState::Dying);
        MaybeNode::from_raw(self.record.root).get().filter(|_| !is_dying)
    }

    /// The factory that has paid for it, if one has.
    pub fn factory(&self) -> Option<FactoryIndex> {
        (self.record.factory != NOBODY).then(|| FactoryIndex::from_position(self.record.factory))
    }

    fn is(&self, state: LifeState) -> bool {
        self.record.state == state as u16
    }
}

impl<M: Machine> Lives<M> {
    /// Nobody lives yet.
    pub fn new(tables: LifeTables<M>) -> Self {
        let (dying, unheld, cause) = (DueList::EMPTY, DueList::EMPTY, Cause::default());
        let mut tables = tables;
        for _ in InterruptIndex::all() {
            tables.interrupts.push(Life::NONE);
        }
        Self { tables, dying, unheld, cause, news: None, turns: 0, machine: PhantomData }
    }

    /// The life of an object that there is.
    pub fn of(&self, object: Mortal) -> &Life {
        match object {
            Mortal::Gate(gate) => &self.tables.gates[usize::from(gate.position())],
            Mortal::Thread(thread) => &self.tables.threads[usize::from(thread.position())],
            Mortal::Task(task) => &self.tables.tasks[usize::from(task.position())],
            Mortal::Factory(factory) => &self.tables.factories[usize::from(factory.position())],
            Mortal::Reply(thread) => &self.tables.replies[usize::from(thread.position())],
            Mortal::Interrupt(number) => &self.tables.interrupts[usize::from(number.position())],
        }
    }

    fn record(&mut self, object: Mortal) -> &mut LifeRecord {
        &mut self.life(object).record
    }

    fn life(&mut self, object: Mortal) -> &mut Life {
        let (storage, index) = match object {
            Mortal::Gate(gate) => (&mut self.tables.gates, gate.position()),
            Mortal::Thread(thread) => (&mut self.tables.threads, thread.position()),
            Mortal::Task(task) => (&mut self.tables.tasks, task.position()),
            Mortal::Factory(factory) => (&mut self.tables.factories, factory.position()),
            Mortal::Reply(thread) => (&mut self.tables.replies, thread.position()),
            Mortal::Interrupt(number) => (&mut self.tables.interrupts, number.position()),
        };
        // A table of objects grows by one at a time, and so does that of their lives.
        if usize::from(index) == storage.len() {
            storage.push(Life::NONE);
        }
        &mut storage[usize::from(index)]
    }

    /// Whether something is due to somebody.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.dying.first != MaybeMortal::NONE || self.unheld.first != MaybeMortal::NONE
    }

    /// The object that is to be taken apart first.
    pub fn first_dying(&self) -> Option<Mortal> {
        self.dying.first.get()
    }

    /// A gate whose thread is to learn that nobody holds it any more.
    #[inline(always)]
    pub fn first_unheld(&self) -> Option<Mortal> {
        // Most often there is none.
        if self.unheld.first == MaybeMortal::NONE { None } else { self.unheld.first.get() }
    }

    /// Who does what may lead to ends from now on.
    #[inline(always)]
    pub(crate) fn set_cause(&mut self, ids: Ids) {
        self.cause = Cause { ids: ids.bits(), turn: None };
        self.news = None;
    }

    /// The last turn of what the one who does something has ended since this was asked last.
    #[inline(always)]
    pub(crate) fn take_news(&mut self) -> Option<Turn> {
        self.news.take()
    }

    /// What ends from now on was ended by somebody else; and the last turn of what that has ended already.
    /// Returns who it was before, and that turn of what it has.
    pub(crate) fn act_for(&mut self, cause: Cause, news: Option<Turn>) -> (Cause, Option<Turn>) {
        let before = (self.cause, self.news);
        (self.cause, self.news) = (cause, news);
        before
    }

    /// Who does what leads to ends.
    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// The ids of who has ended what is taken apart now.
    pub(crate) fn cause_ids(&self) -> Ids {
        Ids::from_bits(self.cause.ids)
    }

    /// What ends because a dying object does was ended by who has ended that, and comes before it.
    pub(crate) fn inherit_cause(&mut self, dying: Mortal) {
        let Life { record, turn } = *self.of(dying);
        self.cause = Cause { ids: record.root, turn: Some(turn) };
    }

    /// Whether no later turn was given out.
    #[inline(always)]
    pub(crate) fn is_last(&self, turn: Turn) -> bool {
        self.turns == turn.0.get()
    }

    /// Whether all up to a turn is taken apart.
    pub(crate) fn is_behind(&self, turn: Turn) -> bool {
        let Some(first) = self.first_dying() else { return true };
        // There are never so many that are dying that the lower half would not do.
        let ago = (self.turns as u32).wrapping_sub(self.of(first).turn);
        self.turns.saturating_sub(ago.into()) > turn.0.get()
    }

    /// The first capability of an object stands at a node.
    pub(crate) fn set_root(&mut self, object: Mortal, root: NodeIndex) {
        self.record(object).root = root.get();
    }

    /// A capability has moved, which may be the first one.
    pub(crate) fn move_root(&mut self, object: Mortal, from: NodeIndex, to: NodeIndex) {
        if self.of(object).root() == Some(from) {
            self.set_root(object, to);
        }
    }

    /// The answer that a thread waits for is a capability from now on, whose node this is. Nobody has paid
    /// for it.
    #[inline(always)]
    pub(crate) fn begin_reply(&mut self, caller: ThreadIndex, root: NodeIndex) {
        let life = &mut self.tables.replies[usize::from(caller.position())].record;
        (life.root, life.state) = (root.get(), LifeState::Living as u16);
    }

    /// It is none any more. Returns the node, if it is one.
    pub(crate) fn end_reply(&mut self, caller: ThreadIndex) -> Option<NodeIndex> {
        let reply = Mortal::Reply(caller);
        let root = self.of(reply).root();
        self.clear_due(reply);
        self.forget_reply(caller);
        root
    }

    /// The capability to an answer is gone, and nobody is to learn that.
    #[inline(always)]
    pub(crate) fn forget_reply(&mut self, caller: ThreadIndex) {
        let life = &mut self.tables.replies[usize::from(caller.position())].record;
        (life.root, life.state) = (0, LifeState::None as u16);
    }

    /// Puts an object before or behind those that it is one of from now on.
    fn make_due(&mut self, object: Mortal, state: LifeState, is_first: bool) -> &mut Life {
        if !self.of(object).is(LifeState::Living) {
            self.clear_due(object);
        }
        let new = MaybeMortal::from(object);
        let list = if state == LifeState::Dying { &mut self.dying } else { &mut self.unheld };
        let (next, previous) = match is_first {
            true => (core::mem::replace(&mut list.first, new), MaybeMortal::NONE),
            false => (MaybeMortal::NONE, core::mem::replace(&mut list.last, new)),
        };
        if list.first == MaybeMortal::NONE {
            list.first = new;
        }
        if list.last == MaybeMortal::NONE {
            list.last = new;
        }
        if let Some(next) = next.get() {
            self.record(next).previous_due = new.0;
        }
        if let Some(previous) = previous.get() {
            self.record(previous).next_due = new.0;
        }
        let life = self.life(object);
        life.record.state = state as u16;
        (life.record.next_due, life.record.previous_due) = (next.0, previous.0);
        life
    }

    /// Nothing is due to an object any more.
    #[cold]
    #[inline(never)]
    pub(crate) fn clear_due(&mut self, object: Mortal) {
        let record = self.record(object);
        let is_dying = record.state == LifeState::Dying as u16;
        if !is_dying && record.state != LifeState::Unheld as u16 {
            return;
        }
        let (next, previous) = (MaybeMortal(record.next_due), MaybeMortal(record.previous_due));
        record.state = LifeState::Living as u16;
        if is_dying {
            record.root = 0;
        }
        (record.next_due, record.previous_due) = (0, 0);
        let list = if is_dying { &mut self.dying } else { &mut self.unheld };
        if previous == MaybeMortal::NONE {
            list.first = next;
        }
        if next == MaybeMortal::NONE {
            list.last = previous;
        }
        if let Some(previous) = previous.get() {
            self.record(previous).next_due = next.0;
        }
        if let Some(next) = next.get() {
            self.record(next).previous_due = previous.0;
        }
    }

    /// An object whose first capability is gone is to be taken apart: as the last one, if a system call has
    /// ended it, or before the first one, if that is why it ends.
    pub(crate) fn put_among_dying(&mut self, object: Mortal) {
        let Cause { ids, turn } = self.cause;
        let is_first = turn.is_some();
        let turn = turn.unwrap_or_else(|| {
            self.news = self.give_turn();
            self.turns as u32
        });
        let life = self.make_due(object, LifeState::Dying, is_first);
        (life.record.root, life.turn) = (ids, turn);
    }

    /// The next turn, of an object that a system call ends.
    #[inline(always)]
    pub(crate) fn give_turn(&mut self) -> Option<Turn> {
        self.turns += 1;
        NonZeroU64::new(self.turns).map(Turn)
    }

    /// The same with an object that ends because another one does; who has ended it already is not forgotten.
    pub(crate) fn put_before_dying(&mut self, object: Mortal) {
        let life = self.of(object);
        let by = life.is(LifeState::Dying).then_some(life.record.root);
        self.put_among_dying(object);
        if let Some(by) = by {
            self.record(object).root = by;
        }
    }
}

impl<M: Machine> Mappings<M> {
    /// An object begins to live that `factory` has made and paid for, or nobody.
    pub(crate) fn begin_life(&mut self, object: Mortal, factory: Option<FactoryIndex>) {
        if let Mortal::Thread(thread) = object {
            // There is room for the answer that it may wait for.
            self.lives.record(Mortal::Reply(thread));
        }
        let state = LifeState::Living as u16;
        let Some(factory) = factory else {
            *self.lives.record(object) = LifeRecord { state, ..Life::NONE.record };
            return;
        };
        let made = &mut self.lives.record(Mortal::Factory(factory)).made;
        let next = core::mem::replace(made, MaybeMortal::from(object).0);
        *self.lives.record(object) =
            LifeRecord { next, factory: factory.position(), state, ..Life::NONE.record };
        if let Some(next) = MaybeMortal(next).get() {
            self.lives.record(next).previous = MaybeMortal::from(object).0;
        }
    }

    /// An object is gone, with all that it was made of. Returns the factory that has paid for it, if one has.
    pub fn end_life(&mut self, object: Mortal) -> Option<FactoryIndex> {
        if !self.lives.of(object).is(LifeState::Living) {
            self.lives.clear_due(object);
        }
        let life = core::mem::replace(self.lives.life(object), Life::NONE);
        let LifeRecord { next, previous, factory, .. } = life.record;
        match MaybeMortal(previous).get() {
            Some(previous) => self.lives.record(previous).next = next,
            None if factory == NOBODY => {}
            None => {
                let factory = Mortal::Factory(FactoryIndex::from_position(factory));
                self.lives.record(factory).made = next;
            }
        }
        if let Some(next) = MaybeMortal(next).get() {
            self.lives.record(next).previous = previous;
        }
        life.factory()
    }

    /// An object that a factory has made and that is not gone yet.
    pub fn first_made(&self, factory: FactoryIndex) -> Option<Mortal> {
        MaybeMortal(self.lives.of(Mortal::Factory(factory)).record.made).get()
    }

    /// A capability is gone, and `node` is in its tree no more.
    #[cold]
    pub(crate) fn capability_is_gone(&mut self, capability: Capability, node: NodeIndex) {
        let Some(object) = capability.object.mortal() else { return };
        if self.lives.of(object).root() == Some(node) {
            self.lives.put_among_dying(object);
        } else if let Mortal::Gate(_) = object {
            self.look_for_holders(object);
        }
    }

    /// Whether anybody holds a gate by a capability that was derived from its first one.
    pub fn is_held(&mut self, gate: GateIndex) -> bool {
        let root = self.lives.of(Mortal::Gate(gate)).root();
        root.is_some_and(|root| self.has_children(root))
    }

    /// If there is nobody, its thread is to learn that.
    pub(crate) fn look_for_holders(&mut self, gate: Mortal) {
        let life = self.lives.of(gate);
        if let Some(root) = life.root()
            && life.is(LifeState::Living)
            && !self.has_children(root)
        {
            self.lives.make_due(gate, LifeState::Unheld, false);
        }
    }
}
