//! Interrupts.

use crate::memory::index::{GateIndex, MaybeGate, TableIndex};
use protocol::introspection::{ALIVE, NOBODY, UNUSED, mapping::InterruptRecord};

/// An interrupt. Begins with the record that the host reads.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Interrupt {
    /// What viewers see; also the kernel's own copy of these facts.
    pub record: InterruptRecord,
    /// When it came.
    pub came: u64,
}

impl Interrupt {
    /// One that there is no object of.
    pub const NONE: Self = Self {
        record: InterruptRecord {
            state: UNUSED as u16,
            gate: NOBODY,
            flags: 0,
            generation: 0,
            told: 0,
        },
        came: 0,
    };

    /// Whether there is an object of it.
    pub fn exists(&self) -> bool {
        self.record.state == ALIVE as u16
    }

    /// An object of it begins to be.
    pub fn begin(&mut self) {
        let generation = self.record.generation.saturating_add(1);
        let record = InterruptRecord { state: ALIVE as u16, generation, ..Self::NONE.record };
        *self = Self { record, ..Self::NONE };
    }

    /// It ends.
    pub fn end(&mut self) {
        let generation = self.record.generation;
        *self = Self { record: InterruptRecord { generation, ..Self::NONE.record }, ..Self::NONE };
    }

    /// The gate that it is bound to.
    pub fn gate(&self) -> Option<GateIndex> {
        (self.record.gate != NOBODY).then(|| GateIndex::from_position(self.record.gate))
    }

    /// Binds it to a gate, or to none.
    pub fn set_gate(&mut self, gate: MaybeGate) {
        self.record.gate = gate.raw();
    }

    /// Whether a flag of its record is set.
    pub fn is(&self, flag: u32) -> bool {
        self.record.flags & flag != 0
    }

    /// Sets a flag of its record.
    pub fn set(&mut self, flag: u32) {
        self.record.flags |= flag;
    }

    /// Clears a flag of its record. Returns whether it was set.
    pub fn take(&mut self, flag: u32) -> bool {
        let was_set = self.is(flag);
        self.record.flags &= !flag;
        was_set
    }
}
