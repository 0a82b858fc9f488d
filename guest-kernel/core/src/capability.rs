//! Capability tables: what a task can name.

use crate::{
    frames::KernelFrame,
    index::{FactoryIndex, GateIndex, TableIndex, TaskIndex, ThreadIndex},
    machine::Machine,
};
use protocol::{
    PAGE_SIZE,
    flexpage::Rights,
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
}

/// A capability: an object and what its holder may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The object.
    pub object: Object,
    /// Read: use; write: modify; execute: control.
    pub rights: Rights,
}

/// The protocol of each kind of object, 0 for gates and empty slots.
const PROTOCOLS: [isize; 16] = {
    let mut protocols = [0; 16];
    protocols[kind::THREAD as usize] = label::THREAD;
    protocols[kind::TASK as usize] = label::TASK;
    protocols[kind::FACTORY as usize] = label::FACTORY;
    protocols[kind::CONSOLE as usize] = label::CONSOLE;
    protocols[kind::SCHEDULER as usize] = label::SCHEDULER;
    protocols[kind::DEBUGGER as usize] = label::DEBUGGER;
    protocols[kind::PLATFORM as usize] = label::PLATFORM;
    protocols
};

/// A slot of a capability table as it lies in memory: from the lowest bit kind (8), rights (8),
/// index (16). Zero is an empty slot.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Slot(u32);

const SLOTS_PER_FRAME: usize = PAGE_SIZE / size_of::<Slot>();
const TABLE_FRAMES: usize = CAPABILITY_TABLE_SIZE / SLOTS_PER_FRAME;

type SlotFrame = [Slot; SLOTS_PER_FRAME];

mod kind {
    pub const GATE: u8 = 1;
    pub const THREAD: u8 = 2;
    pub const TASK: u8 = 3;
    pub const FACTORY: u8 = 4;
    pub const CONSOLE: u8 = 5;
    pub const SCHEDULER: u8 = 6;
    pub const DEBUGGER: u8 = 7;
    pub const PLATFORM: u8 = 8;
}

impl From<Capability> for Slot {
    fn from(capability: Capability) -> Self {
        let (kind, index) = match capability.object {
            Object::Gate(gate) => (kind::GATE, gate.position()),
            Object::Thread(thread) => (kind::THREAD, thread.position()),
            Object::Task(task) => (kind::TASK, task.position()),
            Object::Factory(factory) => (kind::FACTORY, factory.position()),
            Object::Console => (kind::CONSOLE, 0),
            Object::Scheduler => (kind::SCHEDULER, 0),
            Object::Debugger => (kind::DEBUGGER, 0),
            Object::Platform => (kind::PLATFORM, 0),
        };
        Self(u32::from(kind) | u32::from(capability.rights.bits()) << 8 | u32::from(index) << 16)
    }
}

impl Slot {
    #[inline(always)]
    fn kind(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    fn index(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The gate, if the slot holds one: the question of the hottest path.
    #[inline(always)]
    pub fn gate(self) -> Option<GateIndex> {
        (self.kind() == kind::GATE).then_some(GateIndex::from_position(self.index()))
    }

    /// Whether it holds the debugger object, the only one with an operation of no effect at all.
    #[inline(always)]
    pub fn is_debugger(self) -> bool {
        self.kind() == kind::DEBUGGER
    }

    /// The protocol that its object itself speaks; 0 for gates.
    #[inline(always)]
    pub fn protocol(self) -> isize {
        PROTOCOLS[usize::from(self.kind() % 16)]
    }

    /// The capability, if there is one.
    #[inline(always)]
    pub fn capability(self) -> Option<Capability> {
        let object = match self.kind() {
            kind::GATE => Object::Gate(GateIndex::from_position(self.index())),
            kind::THREAD => Object::Thread(ThreadIndex::from_position(self.index())),
            kind::TASK => Object::Task(TaskIndex::from_position(self.index())),
            kind::FACTORY => Object::Factory(FactoryIndex::from_position(self.index())),
            kind::CONSOLE => Object::Console,
            kind::SCHEDULER => Object::Scheduler,
            kind::DEBUGGER => Object::Debugger,
            kind::PLATFORM => Object::Platform,
            _ => return None,
        };
        Some(Capability { object, rights: Rights::from_bits_truncate((self.0 >> 8) as u8) })
    }
}

/// A task's table. Its frames come as they are needed.
#[derive(Debug, Default)]
pub struct CapabilityTable {
    frames: [Option<KernelFrame>; TABLE_FRAMES],
}

impl CapabilityTable {
    /// The capability at `index`, if there is one.
    #[inline(always)]
    pub fn get(&self, machine: &mut impl Machine, index: CapabilityIndex) -> Option<Capability> {
        self.slot(machine, index).capability()
    }

    /// The slot at `index`, an empty one where there is no table.
    #[inline(always)]
    pub fn slot(&self, machine: &mut impl Machine, index: CapabilityIndex) -> Slot {
        match self.frames.get(index.0 / SLOTS_PER_FRAME) {
            Some(Some(frame)) => machine.view::<SlotFrame>(*frame)[index.0 % SLOTS_PER_FRAME],
            _ => Slot::default(),
        }
    }

    /// Whether `index` is in the table and its slot is empty. Slot 0 never is.
    pub fn is_free(&self, machine: &mut impl Machine, index: CapabilityIndex) -> bool {
        index != CapabilityIndex::NIL
            && index.0 < CAPABILITY_TABLE_SIZE
            && self.get(machine, index).is_none()
    }

    /// Whether putting a capability at `index` needs a new frame first.
    pub fn needs_frame(&self, index: CapabilityIndex) -> bool {
        matches!(self.frames.get(index.0 / SLOTS_PER_FRAME), Some(None))
    }

    /// Adds a frame for `index`.
    pub fn add_frame(&mut self, index: CapabilityIndex, frame: KernelFrame) {
        if let Some(slot) = self.frames.get_mut(index.0 / SLOTS_PER_FRAME) {
            *slot = Some(frame);
        }
    }

    /// Puts a capability at `index`, replacing what was there. The frame must be there.
    pub fn set(
        &mut self,
        machine: &mut impl Machine,
        index: CapabilityIndex,
        capability: Capability,
    ) {
        if let Some(Some(frame)) = self.frames.get(index.0 / SLOTS_PER_FRAME) {
            machine.view::<SlotFrame>(*frame)[index.0 % SLOTS_PER_FRAME] = capability.into();
        }
    }
}
