//! The kernel's mappings, read out of its memory as a processor and a viewer read them.

use super::specification::Spot;
use crate::{
    arch::{Entry, SPINE_FRAMES, TABLE_ENTRIES},
    memory::index::{FactoryIndex, TableIndex, TaskIndex},
    tests::Bench,
};
use protocol::{
    PAGE_SIZE,
    flexpage::{IO_PORTS, Rights},
    introspection::{
        UNUSED,
        mapping::{COMPANION_OFFSET, CapabilitySlot, MappingNode, NODE_SIZE, Resource},
    },
    layout::MAPPABLE_END,
    object::CAPABILITY_TABLE_SIZE,
};

type EntryWords = [u32; size_of::<Entry>() / 4];
const ENTRY_SIZE: u64 = size_of::<Entry>() as u64;
const SLOT_SIZE: u64 = size_of::<CapabilitySlot>() as u64;
const PRESENT: u32 = 1;
const ACCESSED: u32 = 1 << 5;
const DIRTY: u32 = 1 << 6;

/// What stands in an entry of a table, and the node that justifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub node: u32,
    /// First frame, port, or object.
    pub what: u64,
    pub size: u32,
    pub rights: Rights,
    pub accessed: bool,
    pub dirty: bool,
}

/// A view of a kernel's memory.
pub struct Reader<'a> {
    bench: &'a Bench,
}

/// An entry of a table.
#[derive(Clone, Copy)]
struct Position {
    /// Physical address of its frame.
    frame: u64,
    number: u64,
    is_superpage: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bench: &'a Bench) -> Self {
        Self { bench }
    }

    fn word(&self, address: u64) -> u32 {
        let [word] = self.bench.kernel.mappings.machine.words(address);
        word
    }

    fn entry(&self, frame: u64, number: u64) -> Entry {
        let words: EntryWords =
            self.bench.kernel.mappings.machine.words(frame + number * ENTRY_SIZE);
        zerocopy::transmute!(words)
    }

    fn next_level(&self, frame: u64, number: u64) -> Option<u64> {
        let entry = self.entry(frame, number);
        entry.is_present().then(|| entry.physical().0)
    }

    /// The entry that decides about a unit: of a table, of a directory for superpages; `None` if
    /// there is no table.
    fn position(&self, spot: Spot) -> Option<Position> {
        let Spot { task, resource, number } = spot;
        let record = &self.bench.kernel.mappings.tasks[TaskIndex::from_position(task)].record;
        let (number, per_frame) = (u64::from(number), TABLE_ENTRIES as u64);
        let directory = match resource {
            Resource::Memory => {
                let mut frame = record.page_table;
                for level in (1..=SPINE_FRAMES as u32).rev() {
                    frame =
                        self.next_level(frame, number / per_frame.pow(level + 1) % per_frame)?;
                }
                frame
            }
            Resource::Ports => Some(record.port_directory).filter(|frame| *frame != 0)?,
            Resource::Capability => {
                let slots = PAGE_SIZE as u64 / SLOT_SIZE;
                let frame = record.capability_table[(number / slots) as usize];
                let position = Position { frame, number: number % slots, is_superpage: false };
                return (frame != 0).then_some(position);
            }
            Resource::Bookmark => return None,
        };
        let (upper, lower) = (number / per_frame % per_frame, number % per_frame);
        let entry = self.entry(directory, upper);
        if entry.is_present() && entry.is_superpage() {
            return Some(Position { frame: directory, number: upper, is_superpage: true });
        }
        let frame = self.next_level(directory, upper)?;
        Some(Position { frame, number: lower, is_superpage: false })
    }

    /// What a task has at a unit, whichever entry covers it.
    pub fn found(&self, spot: Spot) -> Option<Found> {
        let position = self.position(spot)?;
        let node = self.word(position.frame + COMPANION_OFFSET + position.number * 4);
        if spot.resource == Resource::Capability {
            let slot = CapabilitySlot(self.word(position.frame + position.number * SLOT_SIZE));
            let rights = Rights::from_bits_retain(slot.rights());
            let what = u64::from(slot.0 & 0xffff_00ff);
            return (slot.0 != 0).then_some(Found {
                node,
                what,
                size: 1,
                rights,
                accessed: false,
                dirty: false,
            });
        }
        let entry = self.entry(position.frame, position.number);
        let low = self.word(position.frame + position.number * ENTRY_SIZE);
        entry.is_present().then_some(Found {
            node,
            what: entry.physical().0 / PAGE_SIZE as u64,
            size: if position.is_superpage { TABLE_ENTRIES as u32 } else { 1 },
            rights: entry.rights(),
            accessed: low & ACCESSED != 0,
            dirty: low & DIRTY != 0,
        })
    }

    /// Whether an entry that maps nothing is in order: there is no node either.
    pub fn is_clean(&self, spot: Spot) -> bool {
        self.position(spot).is_none_or(|position| {
            self.found(spot).is_none()
                && self.word(position.frame + COMPANION_OFFSET + position.number * 4) == 0
        })
    }

    pub fn node(&self, index: u32) -> MappingNode {
        let words: [u32; 4] =
            self.bench.kernel.mappings.machine.words(u64::from(index) * NODE_SIZE);
        zerocopy::transmute!(words)
    }

    /// All spots of a task where something is, found without the help of any node.
    pub fn spots(&self, task: u16) -> Vec<Spot> {
        let mut spots = Vec::new();
        let record = &self.bench.kernel.mappings.tasks[TaskIndex::from_position(task)].record;
        if record.state == UNUSED {
            return spots;
        }
        for (resource, end) in [
            (Resource::Memory, (MAPPABLE_END / PAGE_SIZE) as u32),
            (Resource::Ports, IO_PORTS as u32),
            (Resource::Capability, CAPABILITY_TABLE_SIZE as u32),
        ] {
            let mut number = 0;
            while number < end {
                let spot = Spot { task, resource, number };
                let found = self.found(spot);
                spots.extend(found.map(|_| spot));
                number += match (found, self.position(spot)) {
                    (Some(found), _) => found.size,
                    // No table covers any of these.
                    (None, None) => TABLE_ENTRIES as u32 - number % TABLE_ENTRIES as u32,
                    (None, Some(_)) => 1,
                };
            }
        }
        spots
    }

    /// Nodes in use and free ones, of all factories.
    pub fn count_nodes(&self) -> Result<u32, String> {
        let mut used = 0;
        for number in 0..self.bench.kernel.mappings.factories.used() {
            let factory =
                self.bench.kernel.mappings.factories[FactoryIndex::from_position(number)].record;
            let (mut free, mut next) = (0, factory.free_nodes);
            while next != 0 {
                free += 1;
                if free > factory.nodes {
                    return Err(format!("the free nodes of factory {number} are a circle"));
                }
                next = next.wrapping_add(1).wrapping_add(self.node(next).next);
            }
            used += factory.nodes - free;
        }
        Ok(used)
    }
}

/// What the processor does when a page is used.
pub fn note_use(bench: &mut Bench, spot: Spot, write: bool) {
    if let Some(position) = Reader::new(bench).position(spot) {
        let address = position.frame + position.number * ENTRY_SIZE;
        let [word] = bench.kernel.mappings.machine.words(address);
        if word & PRESENT != 0 {
            let noted = if write { ACCESSED | DIRTY } else { ACCESSED };
            bench.kernel.mappings.machine.set_word(address, word | noted);
        }
    }
}
