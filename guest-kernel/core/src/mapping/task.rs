//! Tasks: an address space, a capability table, and the factory that pays for both.

use crate::{
    mapping::{capability::CapabilityTable, emptying::Emptied, space::Space},
    memory::{
        chain::Chain,
        frames::{FramePair, KernelFrame},
        index::{FactoryIndex, Table, TableIndex, TaskIndex, Tenant, ThreadIndex},
        machine::Memory,
        utcb::UtcbReference,
    },
};
use protocol::{
    PAGE_SIZE, Word,
    introspection::{ALIVE, CAPABILITY_TABLE_FRAMES, NAME_LENGTH, TaskRecord, UNUSED},
    layout::UTCB_AREA,
    object::CapabilityIndex,
    utcb::UTCB_SIZE,
};

/// All tasks.
pub type Tasks<M> = Table<TaskIndex, <M as Memory>::Storage<Task>>;

/// The most frames in a UTCB area: 64 KiB.
pub const MAX_UTCB_FRAMES: usize = 16;

/// The frames of a UTCB area.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct UtcbArea {
    pairs: [Option<FramePair>; MAX_UTCB_FRAMES / 2],
    frames: u8,
}

impl UtcbArea {
    /// Pairs that so many frames take.
    pub const fn pairs(frames: usize) -> usize {
        frames.div_ceil(2)
    }

    /// Adds a pair, for two frames or for the only one of the area. Does nothing if it is full.
    pub fn add(&mut self, pair: FramePair, frames: usize) {
        let behind = self.number_of_pairs();
        if let Some(place) = self.pairs.get_mut(behind) {
            *place = Some(pair);
            self.frames += frames as u8;
        }
    }

    /// One of the frames.
    pub fn frame(&self, number: usize) -> Option<KernelFrame> {
        let pair = self.pairs.get(number / 2)?.as_ref()?;
        let frame = if number.is_multiple_of(2) { pair.first() } else { pair.second() };
        (number < self.frames.into()).then_some(frame)
    }

    /// The last pair of them.
    pub fn last(&self) -> Option<&FramePair> {
        self.pairs.get(self.number_of_pairs().checked_sub(1)?)?.as_ref()
    }

    /// Frames of the area in that.
    pub fn frames_of_last(&self) -> usize {
        if self.frames.is_multiple_of(2) { 2 } else { 1 }
    }

    /// Takes that away.
    pub fn remove_last(&mut self) -> Option<FramePair> {
        let last = self.number_of_pairs().checked_sub(1)?;
        self.frames = self.frames.saturating_sub(2);
        self.pairs.get_mut(last)?.take()
    }

    fn number_of_pairs(&self) -> usize {
        Self::pairs(self.frames.into())
    }
}

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
    /// The threads that run in it.
    pub threads: Chain<ThreadIndex>,
    /// Who pays for its kernel memory.
    pub factory: FactoryIndex,
    /// The frames of its UTCB area.
    pub(crate) utcb_area: UtcbArea,
    /// Which of its UTCBs a thread has: bit 0 is the first one.
    utcbs: u128,
    /// How far it is emptied, if it is dying.
    pub(crate) emptied: Emptied,
}

impl Task {
    /// A task with an empty capability table.
    pub fn new(space: Space, factory: FactoryIndex, utcb_area: UtcbArea) -> Self {
        Self {
            record: TaskRecord {
                state: ALIVE,
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
            threads: Chain::EMPTY,
            factory,
            utcb_area,
            utcbs: 0,
            emptied: Emptied::NOTHING,
        }
    }

    /// The frame of the UTCB area that holds the address `utcb`, and the offset in it.
    pub fn utcb_frame(&self, utcb: Word) -> Option<(KernelFrame, Word)> {
        let offset = utcb.checked_sub(UTCB_AREA)?;
        let frame = self.utcb_area.frame(offset / PAGE_SIZE)?;
        Some((frame, offset % PAGE_SIZE))
    }

    /// Whether a thread has the UTCB at `utcb`, which is in the UTCB area.
    pub fn is_utcb_taken(&self, utcb: Word) -> bool {
        self.utcbs & utcb_bit(utcb) != 0
    }

    /// No thread has a UTCB any more.
    pub fn give_up_utcb(&mut self, utcb: UtcbReference) {
        let is_in =
            |number: &usize| self.utcb_area.frame(*number).is_some_and(|frame| utcb.is_in(frame));
        if let Some(number) = (0..MAX_UTCB_FRAMES).find(is_in) {
            let address = UTCB_AREA + number * PAGE_SIZE + utcb.offset();
            self.utcbs &= !utcb_bit(address);
        }
    }

    /// Takes the frames of the capability table for `index` out, which must be empty.
    pub fn take_capability_frames(&mut self, index: CapabilityIndex) -> Option<FramePair> {
        let frames = self.capabilities.take_frame(index)?;
        let address = frames.first().address().0;
        for shown in self.record.capability_table.iter_mut().filter(|shown| **shown == address) {
            *shown = 0;
        }
        Some(frames)
    }

    /// From now on a thread has it.
    pub fn take_utcb(&mut self, utcb: Word) {
        self.utcbs |= utcb_bit(utcb);
    }
}

impl Tenant for Task {
    fn generation(&mut self) -> &mut u32 {
        &mut self.record.generation
    }

    fn vacate(&mut self) {
        self.record.state = UNUSED;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.record.factory
    }
}

fn utcb_bit(utcb: Word) -> u128 {
    1 << (utcb.wrapping_sub(UTCB_AREA) / UTCB_SIZE % u128::BITS as usize)
}

const _: () = assert!(MAX_UTCB_FRAMES * PAGE_SIZE / UTCB_SIZE <= u128::BITS as usize);
