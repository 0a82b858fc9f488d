//! Memories of guests that want their viewers to work for ever.

use super::memory::Ram;
use protocol::introspection::{
    HEADER_MAGIC, HEADER_VERSION, Header, Table, TaskRecord, ThreadRecord, mapping::GateRecord,
};
use zerocopy::FromZeros;

pub const HEADER: u64 = 0x1000;
pub const PORT_CACHE: u64 = 0x800;
/// As large as a file that somebody may send.
pub const LARGE: u64 = 252 << 20;
/// More than viewers keep.
pub const SMALL: u64 = 48 << 20;
/// Tables of records lie below, frames of tables and nodes above.
const FRAMES: u64 = 8 << 20;
const FRAME: u64 = 4096;
/// More than any kernel has.
const TASKS: u64 = 65534;

/// What stands in every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every entry leads to some table, and every table of the last level maps all it can.
    Circles,
    /// The same, but each task's tables are its own, as many as there is memory for.
    Apart,
    /// No entry is present, but every companion names nodes.
    Strays,
    /// Every entry is present and has a node, all in one list that leaps from frame to frame.
    Leaps,
    /// Only noise.
    Noise,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Circles, Self::Apart, Self::Strays, Self::Leaps, Self::Noise];
}

/// Pseudo-random, the same for the same number.
fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^= word >> 29;
    word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ word >> 32
}

/// A guest of that kind and size, with as many tasks, threads, factories and gates as it can name.
pub fn hostile(kind: Kind, machine: u32, size: u64) -> Ram {
    let mut ram = Ram::new(size, size);
    let mut header = Header::new_zeroed();
    (header.magic, header.version, header.machine) = (HEADER_MAGIC, HEADER_VERSION, machine);
    (header.pool_start, header.pool_end, header.port_cache) = (0, size, PORT_CACHE);
    let table = |address, stride: usize| Table { address, stride: stride as u64, count: u64::MAX };
    header.tasks = table(0x1_0000, size_of::<TaskRecord>());
    header.threads = table(0x60_0000, size_of::<ThreadRecord>());
    // The same record again and again, with a list of free nodes.
    header.factories = table(FRAMES + 0x120, 0);
    header.gates = table(FRAMES, size_of::<GateRecord>());
    ram.put(HEADER, &header);
    let frames = (size - FRAMES) / FRAME;
    let frame = |number: u64| FRAMES + number % frames * FRAME;
    for task in 0..TASKS {
        let mut record = TaskRecord::new_zeroed();
        record.state = 1;
        record.name = *b"sixteen letters!";
        record.page_table = frame(task * 17);
        record.port_directory = frame(mixed(task));
        record.capability_table = [1, 2, 3, 4].map(|part| frame(mixed(part * 65536 + task)));
        ram.put(header.tasks.address + task * header.tasks.stride, &record);
    }
    for number in 0..frames {
        fill(&mut ram, kind, number, frames);
    }
    ram
}

fn fill(ram: &mut Ram, kind: Kind, number: u64, frames: u64) {
    let address = FRAMES + number * FRAME;
    let words = FRAME / 8;
    for index in 0..words {
        let random = mixed(number * words + index);
        let somewhere = FRAMES + random % frames * FRAME;
        let value = match kind {
            Kind::Circles => somewhere | 7 | somewhere << 32,
            Kind::Apart => (FRAMES + (number * 8 + index * 2 + 2) % frames * FRAME) | 7,
            Kind::Strays => (random | 1 << 32) & !0x1_0000_0001,
            // As a node it is the first half, `next` and `previous`, or the second, with the depth.
            Kind::Leaps if index % 2 == 0 => {
                (somewhere | random & 0xf0) >> 4 | (somewhere | 7) << 32
            }
            Kind::Leaps => (index / 2) << 48 | somewhere | 7,
            Kind::Noise => random,
        };
        ram.put(address + index * 8, &value);
    }
}
