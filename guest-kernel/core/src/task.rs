//! Tasks: an address space, a capability table, and the factory that pays for both.

use crate::{
    capability::CapabilityTable,
    frames::KernelFrame,
    index::{FactoryIndex, Table, TableIndex, TaskIndex},
    space::Space,
};
use protocol::{
    Word,
    introspection::{CAPABILITY_TABLE_FRAMES, NAME_LENGTH, TaskRecord},
    layout::UTCB_AREA,
};

/// All tasks.
pub type Tasks<'k> = Table<'k, TaskIndex, Task>;

/// The most frames in a UTCB area: 64 KiB.
pub const MAX_UTCB_FRAMES: usize = 16;

/// A task. Begins with the record that the host reads.
#[derive(Debug)]
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
        }
    }

    /// The frame of the UTCB area that holds the address `utcb`, and the offset in it.
    pub fn utcb_frame(&self, utcb: Word) -> Option<(KernelFrame, Word)> {
        let offset = utcb.checked_sub(UTCB_AREA)?;
        let frame = (*self.utcb_frames.get(offset / protocol::PAGE_SIZE)?)?;
        Some((frame, offset % protocol::PAGE_SIZE))
    }
}
