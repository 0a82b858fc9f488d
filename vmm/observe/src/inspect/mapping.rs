//! One mapping, as its table entry and the companion of that say.

use crate::paging::{Entry, Geometry};
use protocol::{
    PAGE_ORDER,
    flexpage::Rights,
    introspection::mapping::{CapabilitySlot, Place, Resource},
};

/// What one entry maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Number of the task that has it.
    pub task: u16,
    /// Where in the task. It does not say whether it was granted: that stands in the node.
    pub place: Place,
    /// Binary logarithm of its size, where a page, a port and a capability have 12.
    pub order: u32,
    /// What it maps.
    pub target: Target,
    /// What its task may do with that.
    pub rights: Rights,
    /// Whether the processor noted an access. Of memory only.
    pub is_accessed: bool,
    /// Whether the processor noted a write. Of memory only.
    pub is_dirty: bool,
    /// Physical address of the entry.
    pub entry_address: u64,
    /// The entry.
    pub value: u64,
    /// Its node, as the companion says; 0 if that names none.
    pub node: u32,
}

/// What the processor noted of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// An access.
    pub is_accessed: bool,
    /// A write.
    pub is_dirty: bool,
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Memory: the first byte's physical address.
    Memory(u64),
    /// I/O ports: the first one.
    Ports(u64),
    /// An object.
    Object(CapabilitySlot),
}

/// What a derivation tree can be asked for: all that a page, a port or a capability stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The page frame of that number.
    Frame(u64),
    /// An I/O port.
    Port(u64),
    /// The object of a capability, whose rights do not matter.
    Object(CapabilitySlot),
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) task: u16,
    /// The number of what it is for: a page, a port, a capability.
    pub(super) number: u64,
    pub(super) entry_address: u64,
    pub(super) value: u64,
    pub(super) node: u32,
}

impl Mapping {
    /// Of memory or ports.
    pub(super) fn of_entry(resource: Resource, slot: Slot, entry: Entry) -> Self {
        let order = entry.level.shift;
        let physical = entry.physical();
        let is_memory = resource == Resource::Memory;
        Self {
            task: slot.task,
            place: Place::new(resource, slot.number as u32, order != PAGE_ORDER),
            order,
            target: match is_memory {
                true => Target::Memory(physical),
                false => Target::Ports(physical >> PAGE_ORDER),
            },
            rights: entry.rights(),
            is_accessed: is_memory && entry.is_accessed(),
            is_dirty: is_memory && entry.is_dirty(),
            entry_address: slot.entry_address,
            value: slot.value,
            node: slot.node,
        }
    }

    /// Of a capability.
    pub(super) fn of_capability(slot: Slot) -> Self {
        let capability = CapabilitySlot(slot.value as u32);
        Self {
            task: slot.task,
            place: Place::new(Resource::Capability, slot.number as u32, false),
            order: PAGE_ORDER,
            target: Target::Object(capability),
            rights: Rights::from_bits_truncate(capability.rights()),
            is_accessed: false,
            is_dirty: false,
            entry_address: slot.entry_address,
            value: slot.value,
            node: slot.node,
        }
    }

    /// Number of its first page, port or capability.
    pub fn number(&self) -> u64 {
        self.place.number().into()
    }

    /// How many pages of 4 KiB, ports or capabilities it is.
    pub fn count(&self) -> u64 {
        1 << (self.order - PAGE_ORDER)
    }

    /// Its first byte in its task's address space.
    pub fn address(&self) -> u64 {
        self.number() << PAGE_ORDER
    }

    /// What the processor noted of it.
    pub fn noted(&self) -> Noted {
        Noted { is_accessed: self.is_accessed, is_dirty: self.is_dirty }
    }

    /// Whether it maps that, alone or with others.
    pub fn covers(&self, unit: Unit) -> bool {
        let within = |first: u64, number: u64| number >= first && number - first < self.count();
        match (self.target, unit) {
            (Target::Memory(physical), Unit::Frame(frame)) => within(physical >> PAGE_ORDER, frame),
            (Target::Ports(first), Unit::Port(port)) => within(first, port),
            (Target::Object(own), Unit::Object(object)) => {
                own.kind() == object.kind() && own.index() == object.index()
            }
            _ => false,
        }
    }

    /// What stands behind one of its pages, ports or capabilities, counted from its first one.
    pub(super) fn unit(&self, offset: u64) -> Unit {
        match self.target {
            Target::Memory(physical) => Unit::Frame((physical >> PAGE_ORDER) + offset),
            Target::Ports(first) => Unit::Port(first + offset),
            Target::Object(slot) => Unit::Object(slot),
        }
    }

    /// Whether all that it maps is mapped by `parent`, too.
    pub(super) fn is_part_of(&self, parent: &Self) -> bool {
        let within = |start: u64, size: u64, of: u64, whole: u64| {
            start >= of && start - of <= whole && size <= whole - (start - of)
        };
        match (self.target, parent.target) {
            (Target::Memory(own), Target::Memory(of)) => {
                within(own, 1 << self.order, of, 1 << parent.order)
            }
            (Target::Ports(own), Target::Ports(of)) => {
                within(own, self.count(), of, parent.count())
            }
            (Target::Object(own), Target::Object(of)) => {
                own.kind() == of.kind() && own.index() == of.index()
            }
            _ => false,
        }
    }

    /// What reports call it.
    pub(super) fn path(&self, task: &str, geometry: &Geometry) -> String {
        let number = self.number();
        match self.place.resource() {
            Resource::Memory => {
                let address = self.address();
                let level = geometry.levels.iter().find(|level| level.shift == self.order);
                match level {
                    Some(level) => {
                        let index = geometry.index(level, address);
                        format!("{task}:{address:#x} {}[{index}]", level.name)
                    }
                    None => format!("{task}:{address:#x}"),
                }
            }
            Resource::Ports if self.count() > 1 => {
                format!("{task}: ports {number:#x}-{:#x}", number + self.count() - 1)
            }
            Resource::Ports => format!("{task}: port {number:#x}"),
            Resource::Capability | Resource::Bookmark => format!("{task}: capability {number}"),
        }
    }
}

/// Rights as `rwx` letters.
pub(super) fn letters(rights: Rights) -> String {
    rights.letters().map(char::from).into_iter().collect()
}
