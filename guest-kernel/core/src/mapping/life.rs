//! Lives: an object lives as long as the first capability to it.
//!
//! When that is taken away, with all that was derived from it, the object comes to the front of the list
//! of dying ones. Nothing else happens here: those who know what objects are made of take it apart. Until
//! it is gone it stays among those that its factory has made.

use crate::{
    mapping::{
        capability::{Capability, Object},
        database,
        mappings::Mappings,
    },
    memory::{
        index::{FactoryIndex, GateIndex, Storage, TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        node::{MaybeNode, NodeIndex},
    },
};
use core::marker::PhantomData;
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
}

/// A mortal object or none, as it stands in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MaybeMortal(u32);

/// The life of one object. Its size is a power of two, which makes finding it a shift.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct Life(LifeRecord);

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
}

/// The lives of all objects.
#[derive(Debug)]
pub struct Lives<M: Machine> {
    pub(crate) tables: LifeTables<M>,
    /// Those whose first capability is gone; first what is taken apart first.
    dying: DueList,
    /// Gates that nobody holds any more, which their threads have not been told yet.
    unheld: DueList,
    /// Ids of who does what leads to ends.
    cause: u32,
    /// Whether that has taken a first capability away.
    has_news: bool,
    machine: PhantomData<M>,
}

#[cfg(test)]
impl Life {
    /// All that is known of it.
    pub fn record(&self) -> &LifeRecord {
        &self.0
    }
}

#[cfg(test)]
impl<M: Machine> Lives<M> {
    /// The next one of those that the same factory has made.
    pub fn next_made(&self, object: Mortal) -> Option<Mortal> {
        MaybeMortal(self.of(object).0.next).get()
    }

    /// Whatever becomes of their first capabilities, the objects that there are now do not end.
    pub fn forget_roots(&mut self) {
        let LifeTables { gates, threads, tasks, factories, replies } = &mut self.tables;
        for table in [gates, threads, tasks, factories, replies] {
            table.iter_mut().for_each(|life| life.0.root = 0);
        }
    }
}

#[cfg(test)]
impl<M: Machine> Clone for Lives<M>
where
    M::Storage<Life>: Clone,
{
    fn clone(&self) -> Self {
        let LifeTables { gates, threads, tasks, factories, replies } = &self.tables;
        let (gates, threads, tasks) = (gates.clone(), threads.clone(), tasks.clone());
        let (factories, replies) = (factories.clone(), replies.clone());
        let tables = LifeTables { gates, threads, tasks, factories, replies };
        let Self { dying, unheld, cause, has_news, .. } = *self;
        Self { tables, dying, unheld, cause, has_news, machine: PhantomData }
    }
}

/// Objects that something is due to.
#[derive(Clone, Copy, Debug)]
struct DueList {
    first: MaybeMortal,
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
            Self::Console | Self::Scheduler | Self::Debugger | Self::Platform => return None,
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
    const NONE: Self = Self(LifeRecord {
        root: 0,
        next: 0,
        previous: 0,
        next_due: 0,
        previous_due: 0,
        made: 0,
        factory: NOBODY,
        state: LifeState::None as u16,
    });

    /// The node of its first capability, if that is there.
    pub fn root(&self) -> Option<NodeIndex> {
        let is_dying = self.is(LifeState::Dying);
        MaybeNode::from_raw(self.0.root).get().filter(|_| !is_dying)
    }

    /// The factory that has paid for it, if one has.
    pub fn factory(&self) -> Option<FactoryIndex> {
        (self.0.factory != NOBODY).then(|| FactoryIndex::from_position(self.0.factory))
    }

    fn is(&self, state: LifeState) -> bool {
        self.0.state == state as u16
    }
}

impl<M: Machine> Lives<M> {
    /// Nobody lives yet.
    pub fn new(tables: LifeTables<M>) -> Self {
        let none = DueList { first: MaybeMortal::NONE };
        Self { tables, dying: none, unheld: none, cause: 0, has_news: false, machine: PhantomData }
    }

    /// The life of an object that there is.
    pub fn of(&self, object: Mortal) -> &Life {
        match object {
            Mortal::Gate(gate) => &self.tables.gates[usize::from(gate.position())],
            Mortal::Thread(thread) => &self.tables.threads[usize::from(thread.position())],
            Mortal::Task(task) => &self.tables.tasks[usize::from(task.position())],
            Mortal::Factory(factory) => &self.tables.factories[usize::from(factory.position())],
            Mortal::Reply(thread) => &self.tables.replies[usize::from(thread.position())],
        }
    }

    fn record(&mut self, object: Mortal) -> &mut LifeRecord {
        let (storage, index) = match object {
            Mortal::Gate(gate) => (&mut self.tables.gates, gate.position()),
            Mortal::Thread(thread) => (&mut self.tables.threads, thread.position()),
            Mortal::Task(task) => (&mut self.tables.tasks, task.position()),
            Mortal::Factory(factory) => (&mut self.tables.factories, factory.position()),
            Mortal::Reply(thread) => (&mut self.tables.replies, thread.position()),
        };
        // A table of objects grows by one at a time, and so does that of their lives.
        if usize::from(index) == storage.len() {
            storage.push(Life::NONE);
        }
        &mut storage[usize::from(index)].0
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
    pub fn first_unheld(&self) -> Option<Mortal> {
        self.unheld.first.get()
    }

    /// Who does what may lead to ends from now on.
    #[inline(always)]
    pub(crate) fn set_cause(&mut self, ids: Ids) {
        self.cause = ids.bits();
        self.has_news = false;
    }

    /// Whether the one who does something has taken a first capability away since this was asked last.
    #[inline(always)]
    pub(crate) fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.has_news)
    }

    /// What ends from now on was ended by somebody else; and whether that has taken a first capability away
    /// already. Returns who it was before, and whether that has.
    pub(crate) fn act_for(&mut self, cause: u32, has_news: bool) -> (u32, bool) {
        let before = (self.cause, self.has_news);
        (self.cause, self.has_news) = (cause, has_news);
        before
    }

    /// Who has ended what is taken apart now.
    pub(crate) fn cause(&self) -> Ids {
        Ids::from_bits(self.cause)
    }

    /// What ends because a dying object does was ended by who has ended that.
    pub(crate) fn inherit_cause(&mut self, dying: Mortal) {
        self.cause = self.of(dying).0.root;
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
        let life = &mut self.tables.replies[usize::from(caller.position())].0;
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
        let life = &mut self.tables.replies[usize::from(caller.position())].0;
        (life.root, life.state) = (0, LifeState::None as u16);
    }

    /// Puts an object in front of those that it is one of from now on.
    fn make_due(&mut self, object: Mortal, state: LifeState) {
        self.clear_due(object);
        let list = if state == LifeState::Dying { &mut self.dying } else { &mut self.unheld };
        let first = core::mem::replace(&mut list.first, object.into());
        if let Some(first) = first.get() {
            self.record(first).previous_due = MaybeMortal::from(object).0;
        }
        let record = self.record(object);
        record.state = state as u16;
        (record.next_due, record.previous_due) = (first.0, 0);
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
        match previous.get() {
            Some(previous) => self.record(previous).next_due = next.0,
            None if is_dying => self.dying.first = next,
            None => self.unheld.first = next,
        }
        if let Some(next) = next.get() {
            self.record(next).previous_due = previous.0;
        }
    }

    /// An object whose first capability is gone comes first of those that are to be taken apart.
    pub(crate) fn put_in_front(&mut self, object: Mortal) {
        self.make_due(object, LifeState::Dying);
        self.record(object).root = self.cause;
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
            *self.lives.record(object) = LifeRecord { state, ..Life::NONE.0 };
            return;
        };
        let made = &mut self.lives.record(Mortal::Factory(factory)).made;
        let next = core::mem::replace(made, MaybeMortal::from(object).0);
        *self.lives.record(object) =
            LifeRecord { next, factory: factory.position(), state, ..Life::NONE.0 };
        if let Some(next) = MaybeMortal(next).get() {
            self.lives.record(next).previous = MaybeMortal::from(object).0;
        }
    }

    /// An object is gone, with all that it was made of.
    pub fn end_life(&mut self, object: Mortal) {
        self.lives.clear_due(object);
        let LifeRecord { next, previous, factory, .. } =
            core::mem::replace(self.lives.record(object), Life::NONE.0);
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
    }

    /// An object that a factory has made and that is not gone yet.
    pub fn first_made(&self, factory: FactoryIndex) -> Option<Mortal> {
        MaybeMortal(self.lives.of(Mortal::Factory(factory)).0.made).get()
    }

    /// A capability is gone, and `node` is in its tree no more.
    #[cold]
    pub(crate) fn capability_is_gone(&mut self, capability: Capability, node: NodeIndex) {
        let Some(object) = capability.object.mortal() else { return };
        if self.lives.of(object).root() == Some(node) {
            self.lives.put_in_front(object);
            self.lives.has_news = true;
        } else if let Mortal::Gate(_) = object {
            self.look_for_holders(object);
        }
    }

    /// Whether anybody holds a gate by a capability that was derived from its first one.
    pub fn is_held(&mut self, gate: GateIndex) -> bool {
        let root = self.lives.of(Mortal::Gate(gate)).root();
        root.is_some_and(|root| database::has_children(&mut self.machine, root))
    }

    /// If there is nobody, its thread is to learn that.
    pub(crate) fn look_for_holders(&mut self, gate: Mortal) {
        let life = self.lives.of(gate);
        if let Some(root) = life.root()
            && life.is(LifeState::Living)
            && !database::has_children(&mut self.machine, root)
        {
            self.lives.make_due(gate, LifeState::Unheld);
        }
    }
}
