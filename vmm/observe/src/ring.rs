//! Reads the trace ring while the kernel writes it.
//!
//! Record `n` lies in slot `n % capacity` until record `n + capacity` replaces it. The kernel
//! starts to replace it no earlier than when `written` has reached `n + capacity`, and it clears
//! the slot's sequence before any other word. So a copy is good if, read after copying, `written`
//! is below `n + capacity`, or equal to it and the slot's sequence is still `n + 1`.
//!
//! Nothing in guest memory is trusted: one poll reads at most `capacity` records, the capacity has
//! a limit, and whatever does not fit together counts as lost.

use crate::memory::{GuestMemory, OutsideMemory, read_value};
use protocol::introspection::{
    HEADER_MAGIC, HEADER_VERSION, Header, TraceRing,
    record::{Kind, Record},
};
use std::{
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};
use zerocopy::{FromZeros, IntoBytes};

/// The most slots that a ring may have: 1 GiB of records.
const MAX_CAPACITY: u64 = 1 << 24;

/// Records that are copied at once.
const CHUNK: u64 = 4096;

const RECORD_SIZE: u64 = size_of::<Record>() as u64;

/// Where [`TraceRing::written`] lies in the header.
const WRITTEN_OFFSET: u64 = (offset_of!(Header, trace) + offset_of!(TraceRing, written)) as u64;

/// Why the trace cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The kernel's ELF note points nowhere.
    #[error("no trace: the kernel's introspection header is not in memory: {0}")]
    Header(OutsideMemory),
    /// The kernel is older or newer than this tool.
    #[error(
        "no trace: the kernel's introspection header has version {found}, this tool reads version \
         {HEADER_VERSION}; use a kernel and a tool of the same release"
    )]
    Version {
        /// The header's version.
        found: u32,
    },
    /// The ring has an impossible size.
    #[error(
        "no trace: the kernel's trace ring has {0} slots, not a power of two up to {MAX_CAPACITY}; \
         the kernel has overwritten its header or was built with other layouts"
    )]
    Capacity(u64),
    /// The ring is not in memory.
    #[error("no trace: the kernel's trace ring is not in memory: {0}")]
    Ring(OutsideMemory),
}

/// One step of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The next record, and its kind.
    Record(Kind, Record),
    /// Records could not be read.
    Lost {
        /// Number of the first one.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// Where a reader stands in the ring.
#[derive(Debug)]
pub(crate) struct RingReader {
    header_address: u64,
    /// Number of the record to read next.
    next: u64,
    lost: u64,
    buffer: Vec<Record>,
}

impl RingReader {
    pub(crate) fn new(header_address: u64) -> Self {
        Self { header_address, next: 0, lost: 0, buffer: Vec::new() }
    }

    /// Records that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The header, once the kernel has written it.
    pub(crate) fn header<M: GuestMemory>(
        &self,
        memory: &M,
    ) -> Result<Option<Header>, ObserveError> {
        let header: Header =
            read_value(memory, self.header_address).map_err(ObserveError::Header)?;
        if header.magic != HEADER_MAGIC {
            return Ok(None);
        }
        if header.version != HEADER_VERSION {
            return Err(ObserveError::Version { found: header.version });
        }
        Ok(Some(header))
    }

    /// Reads what was written until now and passes it on in order.
    pub(crate) fn poll<M: GuestMemory>(
        &mut self,
        memory: &M,
        ring: TraceRing,
        sink: &mut dyn FnMut(Read),
    ) -> Result<(), ObserveError> {
        if ring.capacity == 0 {
            return Ok(());
        }
        if !ring.capacity.is_power_of_two() || ring.capacity > MAX_CAPACITY {
            return Err(ObserveError::Capacity(ring.capacity));
        }
        self.lose_up_to(ring.written.saturating_sub(ring.capacity), sink);
        while self.next < ring.written {
            self.read_chunk(memory, ring, sink)?;
        }
        Ok(())
    }

    /// Whether there is anything that was not read yet.
    pub(crate) fn has_news(&self, ring: TraceRing) -> bool {
        ring.capacity != 0 && ring.written > self.next
    }

    /// Copies and passes on records up to the end of the ring, of a chunk, or of what is written,
    /// whichever comes first.
    fn read_chunk<M: GuestMemory>(
        &mut self,
        memory: &M,
        ring: TraceRing,
        sink: &mut dyn FnMut(Read),
    ) -> Result<(), ObserveError> {
        let slot = self.next % ring.capacity;
        let count = (ring.written - self.next).min(ring.capacity - slot).min(CHUNK);
        let mut records = std::mem::take(&mut self.buffer);
        records.resize_with(count as usize, Record::new_zeroed);
        let result = memory
            .read(slot_address(ring, slot)?, records.as_mut_bytes())
            .map_err(ObserveError::Ring)
            .and_then(|()| self.oldest_intact(memory, ring))
            .map(|oldest_intact| self.pass_on(&records, oldest_intact, sink));
        self.buffer = records;
        result
    }

    /// The oldest record that the kernel had not begun to overwrite when everything that was
    /// copied before this call had been copied.
    fn oldest_intact<M: GuestMemory>(
        &self,
        memory: &M,
        ring: TraceRing,
    ) -> Result<u64, ObserveError> {
        fence(Ordering::Acquire);
        let at = self.header_address.wrapping_add(WRITTEN_OFFSET);
        let written: u64 = read_value(memory, at).map_err(ObserveError::Header)?;
        let Some(oldest) = written.checked_sub(ring.capacity) else { return Ok(0) };
        fence(Ordering::Acquire);
        let sequence: u64 = read_value(memory, slot_address(ring, oldest % ring.capacity)?)
            .map_err(ObserveError::Ring)?;
        Ok(if sequence == oldest + 1 { oldest } else { oldest + 1 })
    }

    /// Passes on copied records, the first of which should be number `next`.
    fn pass_on(&mut self, records: &[Record], oldest_intact: u64, sink: &mut dyn FnMut(Read)) {
        let first = self.next;
        for (number, record) in (first..).zip(records) {
            let intact = number >= oldest_intact && record.sequence == number + 1;
            if let Some(kind) = Kind::from_u8(record.kind).filter(|_| intact) {
                self.lose_up_to(number, sink);
                sink(Read::Record(kind, *record));
                self.next = number + 1;
            }
        }
        self.lose_up_to(first + records.len() as u64, sink);
    }

    /// Counts everything before record `number` that was not passed on as lost.
    fn lose_up_to(&mut self, number: u64, sink: &mut dyn FnMut(Read)) {
        if number > self.next {
            let (first, count) = (self.next, number - self.next);
            self.lost = self.lost.saturating_add(count);
            self.next = number;
            sink(Read::Lost { first, count });
        }
    }
}

/// Physical address of a slot.
fn slot_address(ring: TraceRing, slot: u64) -> Result<u64, ObserveError> {
    let outside = OutsideMemory { address: ring.address, length: RECORD_SIZE as usize };
    slot.checked_mul(RECORD_SIZE)
        .and_then(|offset| ring.address.checked_add(offset))
        .ok_or(ObserveError::Ring(outside))
}
