//! Slots of this task's capability table: who wants a capability takes a slot for it, and gives it back
//! by dropping it. Those below [`FIRST`] are for capabilities whose place is agreed on.

use crate::{Error, Result};
use core::mem;
use policy::slots::Slots;
use protocol::{
    Word,
    error::ObjectError,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// The first slot that is handed out.
pub const FIRST: Word = 256;

const WORDS: usize = (CAPABILITY_TABLE_SIZE - FIRST) / Word::BITS as usize;

static SLOTS: Slots<WORDS> = Slots::new();

/// A slot that nobody else uses.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot(CapabilityIndex);

impl Slot {
    /// Takes one.
    pub fn take() -> Result<Self> {
        let number = SLOTS.take().ok_or(Error::Object(ObjectError::NoMemory))?;
        Ok(Self(CapabilityIndex(FIRST + number)))
    }

    /// Which one.
    pub const fn index(&self) -> CapabilityIndex {
        self.0
    }

    /// Keeps it for ever.
    pub fn leak(self) -> CapabilityIndex {
        let index = self.0;
        mem::forget(self);
        index
    }
}

impl Slot {
    /// One that was kept.
    #[inline(always)]
    pub(crate) const fn again(index: CapabilityIndex) -> Self {
        Self(index)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.give_back(self.0.0 - FIRST);
    }
}
