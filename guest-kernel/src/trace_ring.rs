//! The introspection header and the trace ring, in memory that the host reads while we write.

use crate::{
    arch::{direct_map, ports, processor},
    hardware::Hardware,
};
use core::{
    hint,
    ops::Range,
    sync::atomic::{Ordering, compiler_fence},
};
use kernel_core::{
    memory::{
        frames::{FramePool, PhysicalAddress},
        machine::Counts,
    },
    threads::kernel::Tables,
};
use protocol::{
    introspection::{
        Checkpoints, HEADER_MAGIC, HEADER_VERSION, Header, LifeTables, Table, TraceRing,
        record::{Kind, Record},
    },
    kip::PhysicalRange,
    operation::interrupts::INTERRUPTS,
};

const EMPTY_TABLE: Table = Table { address: 0, stride: 0, count: 0 };

/// The header; an ELF note of the image tells the host where it is.
#[unsafe(no_mangle)]
static mut INTROSPECTION: Header = Header {
    magic: 0,
    version: HEADER_VERSION,
    machine: images::Architecture::OWN.elf_machine() as u32,
    time_at_entry: 0,
    time_at_first_user: 0,
    trace: TraceRing { address: 0, capacity: 0, written: 0, enabled: 0 },
    tasks: EMPTY_TABLE,
    threads: EMPTY_TABLE,
    factories: EMPTY_TABLE,
    gates: EMPTY_TABLE,
    interrupts: EMPTY_TABLE,
    lives: LifeTables {
        gates: EMPTY_TABLE,
        threads: EMPTY_TABLE,
        tasks: EMPTY_TABLE,
        factories: EMPTY_TABLE,
        replies: EMPTY_TABLE,
        interrupts: EMPTY_TABLE,
    },
    checkpoints: Checkpoints { interval: 0, reached: 0, released: 0 },
    pool_start: 0,
    pool_end: 0,
    pool_used: 0,
    pool_pairs: 0,
    pool_fresh: 0,
    pool_free: 0,
    bookmark: 0,
    panicked: 0,
    longest_stretch: 0,
    preemption_points: 0,
    port_cache: 0,
};

/// Sets words of the header, each for itself: the host writes one of them, so there must never be a
/// reference to the whole. It reads while we write, and believes nothing.
macro_rules! set {
    ($($($field:ident).+ = $value:expr;)+) => {$(
        let value = $value;
        // SAFETY: one processor, interrupts off; nobody else writes this word.
        unsafe { (&raw mut INTROSPECTION.$($field).+).write_volatile(value) }
    )+};
}

/// A word of the header.
macro_rules! get {
    // SAFETY: as in `set`.
    ($($field:ident).+) => { unsafe { (&raw const INTROSPECTION.$($field).+).read_volatile() } };
}

/// Notes the moment of the kernel's first instruction.
pub fn mark_entry(time: u64) {
    set! { time_at_entry = time; }
}

/// Tells the host where everything is.
pub fn describe(tables: &Tables<Hardware>, pool: PhysicalRange) {
    set! {
        tasks = table(&tables.tasks);
        threads = table(&tables.threads);
        factories = table(&tables.factories);
        gates = table(&tables.gates);
        interrupts = table(&tables.interrupts);
        lives.gates = table(&tables.lives.gates);
        lives.threads = table(&tables.lives.threads);
        lives.tasks = table(&tables.lives.tasks);
        lives.factories = table(&tables.lives.factories);
        lives.replies = table(&tables.lives.replies);
        lives.interrupts = table(&tables.lives.interrupts);
        pool_start = pool.start;
        pool_end = pool.end;
        port_cache = ports::describe().0;
    }
}

fn table<T>(storage: &[T]) -> Table {
    let address = direct_map::physical(storage.as_ptr()).0;
    Table { address, stride: size_of::<T>() as u64, count: 0 }
}

/// Tells the host how many objects there are.
pub fn publish_counts(counts: Counts) {
    set! {
        tasks.count = counts.tasks.into();
        threads.count = counts.threads.into();
        gates.count = counts.gates.into();
        factories.count = counts.factories.into();
        lives.gates.count = counts.gates.into();
        lives.threads.count = counts.threads.into();
        lives.tasks.count = counts.tasks.into();
        lives.factories.count = counts.factories.into();
        lives.replies.count = counts.threads.into();
        interrupts.count = INTERRUPTS.into();
        lives.interrupts.count = INTERRUPTS.into();
        bookmark = counts.bookmark.raw().into();
    }
}

/// Tells the host where the pool's pairs of frames begin.
pub fn mark_pairs(start: u64) {
    set! { pool_pairs = start; }
}

/// Tells the host what nobody has of the pool.
pub fn publish_pool(pool: &FramePool) {
    set! {
        pool_used = get!(pool_end) - get!(pool_start) - pool.left();
        pool_fresh = pool.fresh().start;
        pool_free = pool.first_free();
    }
}

/// Tells the host of a stretch of a map or unmap.
pub fn publish_stretch(ticks: u64, at_point: bool) {
    if ticks > get!(longest_stretch) {
        set! { longest_stretch = ticks; }
    }
    set! { preemption_points = get!(preemption_points) + u64::from(at_point); }
}

/// Tells the host that the header is complete.
pub fn publish() {
    compiler_fence(Ordering::Release);
    set! { magic = HEADER_MAGIC; }
}

/// Notes the moment just before the first user instruction.
pub fn mark_first_user() {
    set! { time_at_first_user = processor::time(); }
}

/// Notes that the kernel has given up, and where it has left its last words.
pub fn mark_panicked(last_words: PhysicalAddress) {
    set! { panicked = last_words.0; }
}

/// Which kinds of records are written.
#[inline]
pub fn enabled() -> u64 {
    // SAFETY: as in `set`; a plain read.
    unsafe { INTROSPECTION.trace.enabled }
}

/// Where the slots are, for the hot path.
struct Slots {
    first: *mut Record,
    /// Behind the last one.
    end: *mut Record,
    /// The one that is written next.
    next: *mut Record,
    /// From there on there is more to do than to go on to the next one: the end, or all of them.
    limit: *mut Record,
}

static mut SLOTS: Slots = Slots { first: NO_SLOT, end: NO_SLOT, next: NO_SLOT, limit: NO_SLOT };

const NO_SLOT: *mut Record = core::ptr::null_mut();

/// Makes `records`, whose number is a power of two, the ring, and enables kinds of records.
pub fn install(records: &'static mut [Record], enabled: u64) {
    let Range { start: first, end } = records.as_mut_ptr_range();
    // SAFETY: at boot, before the first record.
    unsafe { SLOTS = Slots { first, end, next: first, limit: end } }
    set! {
        trace.address = direct_map::physical(records.as_ptr()).0;
        trace.capacity = records.len() as u64;
        trace.enabled = enabled;
    }
}

/// The next slot, invalid until [`end`]. Who writes it must not begin another one before.
#[inline(always)]
pub fn begin() -> &'static mut Record {
    // SAFETY: `install` ran before any kind of record was enabled; the next slot is one of those, nobody
    // else in the guest has this memory, and slots are taken one at a time.
    unsafe {
        let slot = SLOTS.next;
        (&raw mut (*slot).sequence).write_volatile(0);
        compiler_fence(Ordering::Release);
        &mut *slot
    }
}

/// Makes the slot that was begun last valid: its number comes last.
#[inline(always)]
pub fn end() {
    compiler_fence(Ordering::Release);
    // SAFETY: as in `begin`; behind a slot there is another one or the end.
    unsafe {
        let slot = SLOTS.next;
        let number = INTROSPECTION.trace.written + 1;
        (&raw mut (*slot).sequence).write_volatile(number);
        (&raw mut INTROSPECTION.trace.written).write_volatile(number);
        SLOTS.next = slot.add(1);
        if SLOTS.next >= SLOTS.limit {
            go_on(&*slot);
        }
    }
}

/// Goes on to the first slot behind the last one, and counts the record if records are counted.
#[cold]
#[inline(never)]
fn go_on(record: &Record) {
    // SAFETY: one processor, interrupts off.
    unsafe {
        if SLOTS.next == SLOTS.end {
            SLOTS.next = SLOTS.first;
        }
        if COUNTDOWN.interval != 0 {
            count(record.kind());
        }
    }
}

/// Mapping operations from one checkpoint to the next, and until the next one.
struct Countdown {
    /// 0: there are no checkpoints.
    interval: u32,
    left: u32,
}

static mut COUNTDOWN: Countdown = Countdown { interval: 0, left: 0 };

/// From now on the kernel waits for the host after every `interval`th mapping operation.
pub fn install_checkpoints(interval: u32) {
    // SAFETY: at boot, behind `install` and before the first user instruction.
    unsafe {
        COUNTDOWN = Countdown { interval, left: interval };
        if interval != 0 {
            SLOTS.limit = SLOTS.first;
        }
    }
    set! { checkpoints.interval = interval.into(); }
}

/// Counts a record of this kind, and waits for the host if it is time to.
fn count(kind: Option<Kind>) {
    if !matches!(kind, Some(Kind::Map | Kind::Resolve | Kind::Unmap)) {
        return;
    }
    // SAFETY: one processor, interrupts off. The host writes `released`, which is read volatile;
    // it may write anything: if that is too much, nobody waits.
    unsafe {
        COUNTDOWN.left -= 1;
        if COUNTDOWN.left != 0 {
            return;
        }
        COUNTDOWN.left = COUNTDOWN.interval;
        // Whatever the kernel has done so far is in memory before the host looks.
        compiler_fence(Ordering::SeqCst);
        let reached = INTROSPECTION.checkpoints.reached + 1;
        (&raw mut INTROSPECTION.checkpoints.reached).write_volatile(reached);
        while (&raw const INTROSPECTION.checkpoints.released).read_volatile() < reached {
            hint::spin_loop();
        }
    }
}
