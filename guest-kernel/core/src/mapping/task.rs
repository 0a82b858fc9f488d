//! Tasks: an address space, a capability table, and the factory that pays for both.

use crate::{
    mapping::{capability::CapabilityTable, space::Space},
    memory::{
        frames::KernelFrame,
        index::{FactoryIndex, Table, TableIndex, TaskIndex},
        machine::Machine,
    },
};
use protocol::{
    PAGE_SIZE, Word,
    introspection::{CAPABILITY_TABLE_FRAMES, NAME_LENGTH, TaskRecord},
    layout::UTCB_AREA,
    utcb::UTCB_SIZE,
};

/// All tasks.
pub type Tasks<M> = Table<TaskIndex, <M as Machine>::Storage<Task>>;

/// The most frames in a UTCB area: 64 KiB.
pub const MAX_UTCB_FRAMES: usize = 16;

/// A task. Begins with the record that the host reads.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
#[repr(C, align(512))]
pub struct Task {
    /// What viewers see.
    pub record: TaskRecord,
    /// Its address space.
    pub space: Space,
    /// Its capabilities.
    pub capabilities: CapabilityTable,
    /// Who pays for its kernel memory.
    pub factory: FactoryIndex,
    /// The frames of its UTCB area.
    utcb_frames: [Option<KernelFrame>; MAX_UTCB_FRAMES],
    /// Which of its UTCBs a thread has: bit 0 is the first one.
    utcbs: u128,
}

impl Task {
    /// A task with an empty capability table.
    pub fn new(
        space: Space,
        factory: FactoryIndex,
        utcb_frames: [Option<KernelFrame>; MAX_UTCB_FRAMES],
    ) -> Self {
        Self {
            record: TaskRecord {
                state: 1,
                generation: 1,
                page_table: space.root().0,
                image: 0,
                factory: factory.position(),
                reserved: 0,
                capability_table: [0; CAPABILITY_TABLE_FRAMES],
                port_directory: 0,
                name: [0; NAME_LENGTH],
            },
            space,
            capabilities: CapabilityTable::default(),
            factory,
            utcb_frames,
            utcbs: 0,
        }
    }

    /// The frame of the UTCB area that holds the address `utcb`, and the offset in it.
    pub fn utcb_frame(&self, utcb: Word) -> Option<(KernelFrame, Word)> {
        let offset = utcb.checked_sub(UTCB_AREA)?;
        let frame = (*self.utcb_frames.get(offset / PAGE_SIZE)?)?;
        Some((frame, offset % PAGE_SIZE))
    }

    /// Whether a thread has the UTCB at `utcb`, which is in the UTCB area.
    pub fn is_utcb_taken(&self, utcb: Word) -> bool {
        self.utcbs & utcb_bit(utcb) != 0
    }

    /// From now on a thread has it.
    pub fn take_utcb(&mut self, utcb: Word) {
        self.utcbs |= utcb_bit(utcb);
    }
}

fn utcb_bit(utcb: Word) -> u128 {
    1 << (utcb.wrapping_sub(UTCB_AREA) / UTCB_SIZE % u128::BITS as usize)
}

const _: () = assert!(MAX_UTCB_FRAMES * PAGE_SIZE / UTCB_SIZE <= u128::BITS as usize);
