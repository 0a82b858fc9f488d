//! The bitmap of I/O ports behind the task state segment, on both architectures: ring 3 may use a
//! port if its bit is clear. (The I/O privilege level stays 0.)
//!
//! It is a cache: it holds a few words of one task's ports. After a switch to another task the
//! offset of the bitmap leads beyond the segment, which forbids all ports.

use super::own::descriptors::{TASK_STATE_SEGMENT, TaskState};
use kernel_core::{index::TaskIndex, port_fault::PORTS_IN_WORD};
use protocol::flexpage::IO_PORTS;

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

/// How many words may have clear bits at a time.
const CACHED_WORDS: usize = 8;

struct Cache {
    /// Whose ports the bitmap has.
    owner: Option<TaskIndex>,
    /// The words that may have clear bits, all different.
    words: [u16; CACHED_WORDS],
    /// Which of them to replace next: not the last one that was installed.
    next: usize,
}

static mut CACHE: Cache = Cache { owner: None, words: [0, 1, 2, 3, 4, 5, 6, 7], next: 0 };

#[inline(always)]
fn cache() -> &'static mut Cache {
    let cache = &raw mut CACHE;
    // SAFETY: only this module's functions use it, none of them within another, on the one
    // processor with interrupts off.
    unsafe { &mut *cache }
}

/// See [`kernel_core::machine::Machine::install_ports`].
pub fn install(owner: TaskIndex, word: u16, usable: u64) -> bool {
    let cache = cache();
    if cache.owner != Some(owner) {
        clear(cache);
        cache.owner = Some(owner);
    }
    set_offset(VALID);
    let place = cache.words.iter().position(|cached| *cached == word);
    if place.is_none() {
        write(cache.words[cache.next], ALL_FORBIDDEN);
        cache.words[cache.next] = word;
    }
    if place.is_none_or(|place| place == cache.next) {
        cache.next = (cache.next + 1) % CACHED_WORDS;
    }
    let news = read(word) != !usable;
    write(word, !usable);
    news
}

/// See [`kernel_core::machine::Machine::forget_ports`].
pub fn forget(owner: TaskIndex) {
    let cache = cache();
    if cache.owner == Some(owner) {
        clear(cache);
        cache.owner = None;
        set_offset(INVALID);
    }
}

/// Another task is about to run. Whether it is the owner is found out when it uses a port, which
/// costs nothing where nobody has ports.
#[inline(always)]
pub fn suspend() {
    set_offset(INVALID);
}

/// See [`kernel_core::machine::Machine::resume_ports`].
pub fn resume(owner: TaskIndex) -> bool {
    // SAFETY: a plain read; one processor, interrupts off.
    let suspended = unsafe { TASK_STATE_SEGMENT.state.io_bitmap } == INVALID;
    let resumes = suspended && cache().owner == Some(owner);
    if resumes {
        set_offset(VALID);
    }
    resumes
}

fn clear(cache: &Cache) {
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
