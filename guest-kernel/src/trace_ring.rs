//! The introspection header and the trace ring, in memory that the host reads while we write.

use crate::arch::{direct_map, processor};
use core::sync::atomic::{Ordering, compiler_fence};
use kernel_core::frames::PhysicalAddress;
use protocol::introspection::{
    HEADER_MAGIC, HEADER_VERSION, Header, Table, TraceRing, record::Record,
};

const EMPTY_TABLE: Table = Table { address: 0, stride: 0, count: 0 };

/// The header; an ELF note of the image tells the host where it is.
#[unsafe(no_mangle)]
static mut INTROSPECTION: Header = Header {
    magic: 0,
    version: HEADER_VERSION,
    machine: kernel_core::arch::ELF_MACHINE as u32,
    time_at_entry: 0,
    time_at_first_user: 0,
    trace: TraceRing { address: 0, capacity: 0, written: 0, enabled: 0 },
    tasks: EMPTY_TABLE,
    threads: EMPTY_TABLE,
    pool_start: 0,
    pool_end: 0,
    pool_used: 0,
    panicked: 0,
};

/// Changes the header.
pub fn with_header(change: impl FnOnce(&mut Header)) {
    // SAFETY: one processor, interrupts off, and no two changes nest. The host only reads, and
    // believes nothing.
    change(unsafe { &mut *(&raw mut INTROSPECTION) });
}

/// Tells the host that the header is complete.
pub fn publish() {
    compiler_fence(Ordering::Release);
    with_header(|header| header.magic = HEADER_MAGIC);
}

/// Notes the moment just before the first user instruction.
pub fn mark_first_user() {
    with_header(|header| header.time_at_first_user = processor::time());
}

/// Notes that the kernel has given up.
pub fn mark_panicked() {
    with_header(|header| header.panicked = 1);
}

/// Which kinds of records are written.
#[inline]
pub fn enabled() -> u64 {
    // SAFETY: as in `with_header`; a plain read.
    unsafe { INTROSPECTION.trace.enabled }
}

/// Appends a record: invalid while it changes, valid once its number is in it.
#[inline]
pub fn append(record: Record) {
    // SAFETY: the ring was set aside at boot with `capacity` slots, a power of two greater than
    // zero whenever a kind of record is enabled; nobody else in the guest has this memory.
    unsafe {
        let ring = &raw mut INTROSPECTION.trace;
        let written = (*ring).written;
        let address = (*ring).address + (written & ((*ring).capacity - 1)) * 64;
        let slot = direct_map::pointer::<Record>(PhysicalAddress(address));
        (&raw mut (*slot).sequence).write_volatile(0);
        compiler_fence(Ordering::Release);
        slot.write(record);
        compiler_fence(Ordering::Release);
        (&raw mut (*slot).sequence).write_volatile(written + 1);
        (*ring).written = written + 1;
    }
}
