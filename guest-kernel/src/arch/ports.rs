//! The bitmap of I/O ports behind the task state segment, on both architectures: ring 3 may use a
//! port if its bit is clear. (The I/O privilege level stays 0.)
//!
//! It is a cache: it holds a few words of one task's ports. After a switch to another task the
//! offset of the bitmap leads beyond the segment, which forbids all ports. The host reads all of it,
//! to see whether it fits the tasks' tables of ports.

use super::{
    own::{
        descriptors::{TASK_STATE_SEGMENT, TaskState, TaskStateSegment},
        direct_map,
    },
    switch,
};
use core::mem::offset_of;
use kernel_core::{
    ipc::port_fault::PORTS_IN_WORD,
    memory::{
        frames::PhysicalAddress,
        index::{TableIndex, TaskIndex},
    },
};
use protocol::{
    flexpage::IO_PORTS,
    introspection::{BITMAP_OFFSET_AT, CACHED_PORT_WORDS, NOBODY, PORT_BITMAP_SIZE, PortCache},
};

const WORDS: usize = IO_PORTS / PORTS_IN_WORD as usize;
const ALL_FORBIDDEN: u64 = !0;

/// The bitmap, which is a part of the task state segment.
#[derive(Debug)]
#[repr(C, packed(4))]
pub struct PortBitmap {
    words: [u64; WORDS],
    /// The processor reads two bytes at a time: behind the last port it wants a byte of ones.
    end: u32,
}

impl PortBitmap {
    /// No port is allowed.
    pub const EMPTY: Self = Self { words: [ALL_FORBIDDEN; WORDS], end: !0 };
}

/// Offset of the bitmap in the task state segment.
const VALID: u16 = size_of::<TaskState>() as u16;
/// Beyond the limit of the segment.
pub const INVALID: u16 = VALID + size_of::<PortBitmap>() as u16;

// What the host relies on.
const _: () = assert!(offset_of!(TaskState, io_bitmap) as u64 == BITMAP_OFFSET_AT);
const _: () = assert!(WORDS * size_of::<u64>() == PORT_BITMAP_SIZE);

static mut CACHE: PortCache = PortCache {
    task_state: 0,
    task_state_size: size_of::<TaskStateSegment>() as u64,
    bitmap: 0,
    loaded_root: 0,
    owner: NOBODY,
    next: 0,
    words: [0, 1, 2, 3, 4, 5, 6, 7],
    reserved: [0; 2],
};

#[inline(always)]
fn cache() -> &'static mut PortCache {
    let cache = &raw mut CACHE;
    // SAFETY: only this module's functions use it, none of them within another, on the one
    // processor with interrupts off. The host only reads, and believes nothing.
    unsafe { &mut *cache }
}

/// Fills in where everything is. Returns where that stands, for the host.
pub fn describe() -> PhysicalAddress {
    let cache = cache();
    let task_state = direct_map::physical_in_image(&raw const TASK_STATE_SEGMENT).0;
    cache.task_state = task_state;
    cache.bitmap = task_state + u64::from(VALID);
    cache.loaded_root = direct_map::physical_in_image(switch::loaded_root()).0;
    direct_map::physical_in_image(&raw const *cache)
}

/// See [`kernel_core::memory::machine::Processor::install_ports`].
pub fn install(owner: TaskIndex, word: u16, usable: u64) -> bool {
    let cache = cache();
    if cache.owner != owner.position() {
        clear(cache);
        cache.owner = owner.position();
    }
    set_offset(VALID);
    let next = usize::from(cache.next);
    let place = cache.words.iter().position(|cached| *cached == word);
    if place.is_none() {
        write(cache.words[next], ALL_FORBIDDEN);
        cache.words[next] = word;
    }
    if place.is_none_or(|place| place == next) {
        cache.next = ((next + 1) % CACHED_PORT_WORDS) as u16;
    }
    let news = read(word) != !usable;
    write(word, !usable);
    news
}

/// See [`kernel_core::memory::machine::Processor::forget_ports`].
pub fn forget(owner: TaskIndex) {
    let cache = cache();
    if cache.owner == owner.position() {
        clear(cache);
        cache.owner = NOBODY;
        set_offset(INVALID);
    }
}

/// Another task is about to run. Whether it is the owner is found out when it uses a port, which
/// costs nothing where nobody has ports.
#[inline(always)]
pub fn suspend() {
    set_offset(INVALID);
}

/// See [`kernel_core::memory::machine::Processor::resume_ports`].
pub fn resume(owner: TaskIndex) -> bool {
    // SAFETY: a plain read; one processor, interrupts off.
    let suspended = unsafe { TASK_STATE_SEGMENT.state.io_bitmap } == INVALID;
    let resumes = suspended && cache().owner == owner.position();
    if resumes {
        set_offset(VALID);
    }
    resumes
}

fn clear(cache: &PortCache) {
    for word in cache.words {
        write(word, ALL_FORBIDDEN);
    }
}

#[inline(always)]
fn set_offset(offset: u16) {
    // SAFETY: one processor, interrupts off. Both offsets are good ones: of the bitmap, and of what
    // lies beyond the segment.
    unsafe { TASK_STATE_SEGMENT.state.io_bitmap = offset }
}

fn read(word: u16) -> u64 {
    // SAFETY: one processor, interrupts off.
    unsafe { TASK_STATE_SEGMENT.ports.words[usize::from(word)] }
}

fn write(word: u16, value: u64) {
    // SAFETY: one processor, interrupts off; ring 3 may use the ports whose bits are clear, which
    // the core has decided.
    unsafe { TASK_STATE_SEGMENT.ports.words[usize::from(word)] = value }
}
