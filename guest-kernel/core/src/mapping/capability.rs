//! Capability tables: what a task can name.

use crate::{
    mapping::space::{Entries, Spot},
    memory::{
        frames::FramePair,
        index::{FactoryIndex, GateIndex, InterruptIndex, TableIndex, TaskIndex, ThreadIndex},
        machine::Memory,
        node::MaybeNode,
    },
};
use protocol::{
    PAGE_SIZE,
    flexpage::Rights,
    introspection::{
        CAPABILITY_TABLE_FRAMES,
        mapping::{CapabilitySlot, ObjectKind},
    },
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex, label},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An object that a capability stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// An IPC gate: messages go to its thread.
    Gate(GateIndex),
    /// A thread.
    Thread(ThreadIndex),
    /// A task.
    Task(TaskIndex),
    /// A factory.
    Factory(FactoryIndex),
    /// The console.
    Console,
    /// The scheduler.
    Scheduler,
    /// The debugger object.
    Debugger,
    /// The platform.
    Platform,
    /// The answer that a thread waits for.
    Reply(ThreadIndex),
    /// The interrupts.
    Interrupts,
    /// One interrupt.
    Interrupt(InterruptIndex),
}

/// A capability: an object and what its holder may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The object.
    pub object: Object,
    /// Read: use; write: modify; execute: control.
    pub rights: Rights,
}

/// The protocol of each kind of object, 0 for gates, answers and empty slots.
const PROTOCOLS: [isize; 16] = {
    let mut protocols = [0; 16];
    protocols[ObjectKind::Thread as usize] = label::THREAD;
    protocols[ObjectKind::Task as usize] = label::TASK;
    protocols[ObjectKind::Factory as usize] = label::FACTORY;
    protocols[ObjectKind::Console as usize] = label::CONSOLE;
    protocols[ObjectKind::Scheduler as usize] = label::SCHEDULER;
    protocols[ObjectKind::Debugger as usize] = label::DEBUGGER;
    protocols[ObjectKind::Platform as usize] = label::PLATFORM;
    protocols[ObjectKind::Interrupts as usize] = label::INTERRUPT;
    protocols[ObjectKind::Interrupt as usize] = label::INTERRUPT;
    protocols
};

/// A slot of a capability table. Zero is an empty one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Slot(CapabilitySlot);

pub(crate) const SLOTS_PER_FRAME: usize = PAGE_SIZE / size_of::<Slot>();

const _: () = assert!(CAPABILITY_TABLE_SIZE == SLOTS_PER_FRAME * CAPABILITY_TABLE_FRAMES);

impl Entries for Slot {
    type Frame = [Slot; SLOTS_PER_FRAME];
    type Companion = [MaybeNode; SLOTS_PER_FRAME];
    const EMPTY: Self = Self::EMPTY;
}

impl From<Capability> for Slot {
    fn from(capability: Capability) -> Self {
        let (kind, index) = match capability.object {
            Object::Gate(gate) => (ObjectKind::Gate, gate.position()),
            Object::Thread(thread) => (ObjectKind::Thread, thread.position()),
            Object::Task(task) => (ObjectKind::Task, task.position()),
            Object::Factory(factory) => (ObjectKind::Factory, factory.position()),
            Object::Console => (ObjectKind::Console, 0),
            Object::Scheduler => (ObjectKind::Scheduler, 0),
            Object::Debugger => (ObjectKind::Debugger, 0),
            Object::Platform => (ObjectKind::Platform, 0),
            Object::Reply(thread) => (ObjectKind::Reply, thread.position()),
            Object::Interrupts => (ObjectKind::Interrupts, 0),
            Object::Interrupt(interrupt) => (ObjectKind::Interrupt, interrupt.position()),
        };
        Self(CapabilitySlot::new(kind, capability.rights.bits(), index))
    }
}

impl Slot {
    /// An empty slot.
    pub const EMPTY: Self = Self(CapabilitySlot(0));

    #[inline(always)]
    fn kind(self) -> u8 {
        self.0.0 as u8
    }

    /// Whether it holds a capability.
    #[inline(always)]
    pub fn is_present(self) -> bool {
        self.0.0 != 0
    }

    /// The gate, if the slot holds one: the question of the hottest path.
    #[inline(always)]
    pub fn gate(self) -> Option<GateIndex> {
        let is_gate = self.kind() == ObjectKind::Gate as u8;
        is_gate.then_some(GateIndex::from_position(self.0.index()))
    }

    /// The task, if the slot holds one that its holder may modify.
    #[inline(always)]
    pub fn modifiable_task(self) -> Option<TaskIndex> {
        let is_task = self.kind() == ObjectKind::Task as u8;
        let found = is_task && self.rights().contains(Rights::WRITE);
        found.then_some(TaskIndex::from_position(self.0.index()))
    }

    /// One that holds the answer that a thread waits for.
    #[inline(always)]
    pub fn of_reply(caller: ThreadIndex) -> Self {
        let rights = Rights::all().bits();
        Self(CapabilitySlot::new(ObjectKind::Reply, rights, caller.position()))
    }

    /// The thread that waits for it, if the slot holds an answer that was set aside.
    #[inline(always)]
    pub fn reply(self) -> Option<ThreadIndex> {
        let is_reply = self.kind() == ObjectKind::Reply as u8;
        is_reply.then_some(ThreadIndex::from_position(self.0.index()))
    }

    /// The protocol that its object itself speaks; 0 for gates.
    #[inline(always)]
    pub fn protocol(self) -> isize {
        PROTOCOLS[usize::from(self.kind() % 16)]
    }

    /// A number that the object has alone.
    pub(crate) fn object_number(self) -> u32 {
        self.with_rights(Rights::empty()).0.0
    }

    /// The rights of the capability.
    pub fn rights(self) -> Rights {
        Rights::from_bits_truncate(self.0.rights())
    }

    /// The same capability with other rights.
    pub fn with_rights(self, rights: Rights) -> Self {
        const RIGHTS: u32 = 0xff00;
        Self(CapabilitySlot(self.0.0 & !RIGHTS | u32::from(rights.bits()) << 8))
    }

    /// The capability, if there is one.
    #[inline(always)]
    pub fn capability(self) -> Option<Capability> {
        let index = self.0.index();
        let object = match self.0.kind()? {
            ObjectKind::Gate => Object::Gate(GateIndex::from_position(index)),
            ObjectKind::Thread => Object::Thread(ThreadIndex::from_position(index)),
            ObjectKind::Task => Object::Task(TaskIndex::from_position(index)),
            ObjectKind::Factory => Object::Factory(FactoryIndex::from_position(index)),
            ObjectKind::Console => Object::Console,
            ObjectKind::Scheduler => Object::Scheduler,
            ObjectKind::Debugger => Object::Debugger,
            ObjectKind::Platform => Object::Platform,
            ObjectKind::Reply => Object::Reply(ThreadIndex::from_position(index)),
            ObjectKind::Interrupts => Object::Interrupts,
            ObjectKind::Interrupt => Object::Interrupt(InterruptIndex::from_position(index)),
        };
        Some(Capability { object, rights: self.rights() })
    }
}

/// A task's table. Its frames come as they are needed.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct CapabilityTable {
    frames: [Option<FramePair>; CAPABILITY_TABLE_FRAMES],
}

impl CapabilityTable {
    /// The capability at `index`, if there is one.
    #[inline(always)]
    pub fn get(&self, machine: &mut impl Memory, index: CapabilityIndex) -> Option<Capability> {
        self.slot(machine, index).capability()
    }

    /// The slot at `index`, an empty one where there is no table.
    #[inline(always)]
    pub fn slot(&self, machine: &mut impl Memory, index: CapabilityIndex) -> Slot {
        match self.spot(index) {
            Some(spot) => spot.entry(machine),
            None => Slot::EMPTY,
        }
    }

    /// The slot at `index`, if it is in the first frame of the table.
    pub fn first_slot(&self, machine: &mut impl Memory, index: CapabilityIndex) -> Option<Slot> {
        Some(self.first_spot(index)?.entry(machine))
    }

    /// Where the slot at `index` stands, if it is in the first frame of the table.
    pub fn first_spot(&self, index: CapabilityIndex) -> Option<Spot<Slot>> {
        let frame = self.frames[0].as_ref().filter(|_| index.0 < SLOTS_PER_FRAME)?;
        Some(Spot::new(frame.table(), index.0))
    }

    /// Where the slot at `index` stands, if there is a table.
    #[inline(always)]
    pub fn spot(&self, index: CapabilityIndex) -> Option<Spot<Slot>> {
        let pair = self.frames.get(index.0 / SLOTS_PER_FRAME)?.as_ref()?;
        Some(Spot::new(pair.table(), index.0 % SLOTS_PER_FRAME))
    }

    /// Whether `index` is in the table and its slot is empty. Slot 0 never is.
    pub fn is_free(&self, machine: &mut impl Memory, index: CapabilityIndex) -> bool {
        index != CapabilityIndex::NIL
            && index.0 < CAPABILITY_TABLE_SIZE
            && self.get(machine, index).is_none()
    }

    /// Adds a frame for `index`. Returns its number.
    pub fn add_frame(&mut self, index: CapabilityIndex, frame: FramePair) -> usize {
        let number = index.0 / SLOTS_PER_FRAME;
        if let Some(slot) = self.frames.get_mut(number) {
            *slot = Some(frame);
        }
        number
    }
    /// Takes the frame for `index` out, which must be empty.
    pub fn take_frame(&mut self, index: CapabilityIndex) -> Option<FramePair> {
        self.frames.get_mut(index.0 / SLOTS_PER_FRAME)?.take()
    }
}
