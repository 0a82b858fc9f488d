//! Reads the trace ring while the kernel writes it.
//!
//! Record `n` lies in slot `n % capacity` until record `n + capacity` replaces it. The kernel
//! starts to replace it no earlier than when `written` has reached `n + capacity`, and it clears
//! the slot's sequence before any other word. So a copy is good if, read after copying, `written`
//! is below `n + capacity`, or equal to it and the slot's sequence is still `n + 1`.
//!
//! Nothing in guest memory is trusted: one step reads a bounded number of records, the capacity of
//! the ring has a limit, and whatever does not fit together counts as lost.

use crate::memory::{GuestMemory, OutsideMemory, read_value};
use protocol::introspection::{
    HEADER_MAGIC, HEADER_VERSION, Header, TraceRing,
    record::{Record, Traced},
};
use std::{
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};
use zerocopy::{FromZeros, IntoBytes};

/// The most slots that a ring may have: 1 GiB of records.
const MAX_CAPACITY: u64 = 1 << 24;

/// Records that are copied at once: whoever reads them can stop between any two chunks.
const CHUNK: u64 = 512;

const RECORD_SIZE: u64 = size_of::<Record>() as u64;

/// Where [`TraceRing::written`] lies in the header.
const WRITTEN_OFFSET: u64 = (offset_of!(Header, trace) + offset_of!(TraceRing, written)) as u64;

/// Why the trace cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The kernel's ELF note points nowhere.
    #[error("the kernel's introspection header is not in memory: {0}")]
    Header(OutsideMemory),
    /// The kernel is older or newer than this tool.
    #[error(
        "the kernel's introspection header has version {found}, this tool reads version \
         {HEADER_VERSION}; use a kernel and a tool of the same release"
    )]
    Version {
        /// The header's version.
        found: u32,
    },
    /// The ring has an impossible size.
    #[error(
        "the kernel's trace ring has {0} slots, not a power of two up to {MAX_CAPACITY}; \
         the kernel has overwritten its header or was built with other layouts"
    )]
    Capacity(u64),
    /// The ring is not in memory.
    #[error("the kernel's trace ring is not in memory: {0}")]
    Ring(OutsideMemory),
}

/// One step of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The next record.
    Record(Traced),
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

    /// Reads a chunk of what was written until now and passes it on in order.
    pub(crate) fn step<M: GuestMemory>(
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
        if self.next < ring.written {
            self.read_chunk(memory, ring, sink)?;
        }
        Ok(())
    }

    /// Counts everything that was written until now as lost.
    pub(crate) fn skip(&mut self, ring: TraceRing, sink: &mut dyn FnMut(Read)) {
        if ring.capacity != 0 {
            self.lose_up_to(ring.written, sink);
        }
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
        for (index, record) in records.iter().enumerate() {
            let number = first + index as u64;
            let intact = number >= oldest_intact && record.sequence == number + 1;
            if intact && let Ok(traced) = record.decode() {
                self.lose_up_to(number, sink);
                sink(Read::Record(traced));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeGuest, HEADER, Random};
    use protocol::{
        introspection::record::{Ids, Message},
        message::MessageTag,
    };
    use std::{cell::Cell, rc::Rc};
    use zerocopy::FromBytes;

    /// A record whose words all tell which one it is.
    fn record(number: u64) -> Traced {
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let message = Message {
            receiver: Ids::from_bits(word as u32),
            tag: MessageTag(word as usize),
            gate_label: word,
            words: [word; 2],
        };
        let who = Ids::from_bits((word >> 32) as u32);
        Traced { sequence: 0, time: word, who, event: message.into() }
    }

    fn is_whole(record: &Traced) -> bool {
        *record == Traced { sequence: record.sequence, ..self::record(record.sequence - 1) }
    }

    /// The sequences that one poll passes on, 0 for each gap.
    fn poll(reader: &mut RingReader, guest: &FakeGuest) -> Vec<u64> {
        let mut seen = Vec::new();
        let Some(header) = reader.header(guest).unwrap() else { return seen };
        let mut sink = |read| match read {
            Read::Record(record) => {
                assert!(is_whole(&record), "torn: {record:x?}");
                seen.push(record.sequence);
            }
            Read::Lost { .. } => seen.push(0),
        };
        reader.step(guest, header.trace, &mut sink).unwrap();
        while reader.has_news(header.trace) {
            reader.step(guest, header.trace, &mut sink).unwrap();
        }
        seen
    }

    #[test]
    fn records_come_in_order_across_the_end_of_the_ring() {
        let guest = FakeGuest::new(8);
        let mut reader = RingReader::new(HEADER);
        assert_eq!(poll(&mut reader, &guest), [0; 0]);
        (0..5).for_each(|number| guest.write(record(number)));
        assert_eq!(poll(&mut reader, &guest), [1, 2, 3, 4, 5]);
        (5..11).for_each(|number| guest.write(record(number)));
        assert_eq!(poll(&mut reader, &guest), [6, 7, 8, 9, 10, 11]);
        assert_eq!((poll(&mut reader, &guest), reader.lost()), (vec![], 0));
    }

    #[test]
    fn a_full_ring_loses_nothing_and_one_more_record_loses_one() {
        let guest = FakeGuest::new(8);
        (0..8).for_each(|number| guest.write(record(number)));
        let mut reader = RingReader::new(HEADER);
        assert_eq!(poll(&mut reader, &guest), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(reader.lost(), 0);
        (8..29).for_each(|number| guest.write(record(number)));
        assert_eq!(poll(&mut reader, &guest), [0, 22, 23, 24, 25, 26, 27, 28, 29]);
        assert_eq!(reader.lost(), 13);
    }

    #[test]
    fn a_step_is_short_however_much_was_written_and_the_rest_can_be_skipped() {
        let guest = FakeGuest::new(1 << 12);
        (0..1 << 12).for_each(|number| guest.write(record(number)));
        let mut reader = RingReader::new(HEADER);
        let (mut passed_on, mut skipped) = (0, 0);
        let ring = guest.header().trace;
        reader.step(&guest, ring, &mut |_| passed_on += 1).unwrap();
        assert_eq!(passed_on, CHUNK);
        reader.skip(ring, &mut |read| {
            if let Read::Lost { count, .. } = read {
                skipped += count;
            }
        });
        assert!(!reader.has_news(ring));
        assert_eq!((skipped, reader.lost()), ((1 << 12) - CHUNK, (1 << 12) - CHUNK));
    }

    #[test]
    fn a_slot_that_is_being_overwritten_is_lost() {
        let guest = FakeGuest::new(8);
        (0..8).for_each(|number| guest.write(record(number)));
        guest.begin(record(8).encode());
        let mut reader = RingReader::new(HEADER);
        assert_eq!(poll(&mut reader, &guest), [0, 2, 3, 4, 5, 6, 7, 8]);
        guest.complete();
        assert_eq!((poll(&mut reader, &guest), reader.lost()), (vec![9], 1));
    }

    #[test]
    fn a_record_of_an_unknown_kind_counts_as_lost() {
        let guest = FakeGuest::new(8);
        guest.write(record(0));
        let mut bytes = [0; RECORD_SIZE as usize];
        bytes[16] = 200;
        guest.begin(Record::read_from_bytes(&bytes).unwrap());
        guest.complete();
        guest.write(record(2));
        let mut reader = RingReader::new(HEADER);
        assert_eq!((poll(&mut reader, &guest), reader.lost()), (vec![1, 0, 3], 1));
    }

    /// The guest writes whole and half records between any two steps of the reader: no torn record
    /// ever comes out, and each one is either passed on or counted.
    #[test]
    fn every_record_is_passed_on_whole_or_counted() {
        for seed in 0..40 {
            let guest = FakeGuest::new(16);
            let mut random = Random::new(seed);
            let begun = Rc::new(Cell::new(false));
            let next = Rc::new(Cell::new(0));
            let (hook_begun, hook_next) = (Rc::clone(&begun), Rc::clone(&next));
            guest.while_reading(move |guest| {
                // From rare to far more than the reader can follow.
                if random.below(40) > seed {
                    return;
                }
                if !hook_begun.replace(false) {
                    guest.begin(record(hook_next.get()).encode());
                    hook_begun.set(true);
                } else {
                    guest.complete();
                    hook_next.set(hook_next.get() + 1);
                }
            });
            let mut reader = RingReader::new(HEADER);
            let mut seen = Vec::new();
            for _ in 0..200 {
                seen.extend(poll(&mut reader, &guest).into_iter().filter(|sequence| *sequence > 0));
            }
            guest.while_reading(|_| ());
            if begun.get() {
                guest.complete();
                next.set(next.get() + 1);
            }
            seen.extend(poll(&mut reader, &guest).into_iter().filter(|sequence| *sequence > 0));
            assert!(seen.is_sorted_by(|a, b| a < b));
            assert_eq!(seen.len() as u64 + reader.lost(), next.get(), "seed {seed}");
            assert!(next.get() > 16);
        }
    }

    #[test]
    fn the_header_may_come_late() {
        let guest = FakeGuest::new(8);
        let valid = guest.header();
        guest.put(HEADER, &Header { magic: 0, ..valid });
        let mut reader = RingReader::new(HEADER);
        assert_eq!(poll(&mut reader, &guest), [0; 0]);
        guest.write(record(0));
        assert_eq!(poll(&mut reader, &guest), [0; 0]);
        guest.put(HEADER, &guest.header());
        assert_eq!(poll(&mut reader, &guest), [1]);
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        let guest = FakeGuest::new(8);
        let valid = guest.header();
        let reader = RingReader::new(HEADER);
        guest.put(HEADER, &Header { version: 9, ..valid });
        let error = reader.header(&guest).unwrap_err();
        assert_eq!(error, ObserveError::Version { found: 9 });
        let sentence = format!("version 9, this tool reads version {HEADER_VERSION}");
        assert!(error.to_string().contains(&sentence), "{error}");
        let outside = RingReader::new(u64::MAX - 3).header(&guest);
        assert!(matches!(outside, Err(ObserveError::Header(_))));
        for capacity in [3, MAX_CAPACITY * 2, u64::MAX] {
            let ring = TraceRing { capacity, ..valid.trace };
            let result = RingReader::new(HEADER).step(&guest, ring, &mut |_| ());
            assert_eq!(result, Err(ObserveError::Capacity(capacity)));
        }
        for address in [u64::MAX, u64::MAX - 63, 1 << 40] {
            let ring = TraceRing { address, written: 4, ..valid.trace };
            let result = RingReader::new(HEADER).step(&guest, ring, &mut |_| ());
            assert!(matches!(result, Err(ObserveError::Ring(_))), "{address:x}");
        }
        let off = TraceRing { capacity: 0, written: 9, ..valid.trace };
        assert_eq!(RingReader::new(HEADER).step(&guest, off, &mut |_| ()), Ok(()));
    }

    #[test]
    fn any_number_of_written_records_is_read_in_bounded_steps() {
        let guest = FakeGuest::new(8);
        for written in [u64::MAX, u64::MAX - 8, 1 << 63, 9, 8] {
            let ring = TraceRing { written, ..guest.header().trace };
            let mut reader = RingReader::new(HEADER);
            while reader.has_news(ring) {
                reader.step(&guest, ring, &mut |_| ()).unwrap();
            }
            assert_eq!(reader.lost(), written);
            reader.step(&guest, TraceRing { written: 0, ..ring }, &mut |_| ()).unwrap();
            assert!(!reader.has_news(ring));
        }
    }
}
