//! What the kernel leaves in guest memory for the host to read while the guest runs.
//!
//! The host finds the [`Header`] through an ELF note of the kernel image (owner
//! [`NOTE_OWNER`], type [`NOTE_TYPE`], descriptor: the header's physical address as `u64`).
//! Everything is fixed-width and little-endian. Readers copy, check, and believe nothing: the
//! guest runs on while they read.

pub mod last_words;
pub mod mapping;
pub mod record;

use crate::{
    kip::Clock,
    syscall::{Limit, Timeout},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Owner of the ELF note that says where the header is.
pub const NOTE_OWNER: &str = "Glasspager";

/// Type of that note.
pub const NOTE_TYPE: u32 = 1;

/// `"GLASSPGR"`, little-endian. Written last when the kernel has set everything up.
pub const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"GLASSPGR");

/// Changes with any layout in this module.
pub const HEADER_VERSION: u32 = 8;

/// Bytes in the name of a task or thread.
pub const NAME_LENGTH: usize = 16;

/// Where everything is. All addresses are guest-physical.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Header {
    /// [`HEADER_MAGIC`] once the rest is valid.
    pub magic: u64,
    /// [`HEADER_VERSION`].
    pub version: u32,
    /// ELF machine number: 3 for `ia32`, 62 for `amd64`.
    pub machine: u32,
    /// Time stamp at the kernel's first instruction in its final processor mode.
    pub time_at_entry: u64,
    /// Time stamp just before the first user instruction ran; 0 before that.
    pub time_at_first_user: u64,
    /// The trace ring.
    pub trace: TraceRing,
    /// Task records.
    pub tasks: Table,
    /// Thread records.
    pub threads: Table,
    /// [`mapping::FactoryRecord`]s.
    pub factories: Table,
    /// [`mapping::GateRecord`]s.
    pub gates: Table,
    /// [`mapping::InterruptRecord`]s.
    pub interrupts: Table,
    /// [`mapping::LifeRecord`]s.
    pub lives: LifeTables,
    /// Where the kernel waits for the host to look at it.
    pub checkpoints: Checkpoints,
    /// The kernel's own memory: start and end of the pool that objects and page tables come from.
    pub pool_start: u64,
    /// See `pool_start`.
    pub pool_end: u64,
    /// Bytes of the pool in use.
    pub pool_used: u64,
    /// From here on the pool is pairs of frames. Before are the tables of objects and the trace ring.
    pub pool_pairs: u64,
    /// From here to the end of the pool it was never used.
    pub pool_fresh: u64,
    /// The first pair of frames that came back to the pool, or 0. Such a pair begins with the address
    /// of the next one; all else in it is zero.
    pub pool_free: u64,
    /// The kernel's own bookmark ([`mapping::Resource::Bookmark`]): a node of factory 0.
    pub bookmark: u64,
    /// 0 while the kernel runs; after a kernel panic, where its [`last_words::LastWords`] are.
    pub panicked: u64,
    /// Ticks of the longest stretch of a map or unmap between two preemption points so far.
    pub longest_stretch: u64,
    /// Preemption points that maps and unmaps have come to, and gone on or been left there.
    pub preemption_points: u64,
    /// Where the [`PortCache`] is.
    pub port_cache: u64,
}

const _: () = assert!(size_of::<Header>() == 32 + 32 + 5 * 24 + 6 * 24 + 24 + 72 + 16);

/// Lets the host look at the machine between two operations of the kernel.
///
/// After every `interval`th record of a map, resolve or unmap the kernel increments `reached` and
/// waits until the host has set `released` to at least the same number. Nothing in the guest runs
/// meanwhile.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Checkpoints {
    /// Mapping operations from one checkpoint to the next (`check=N` on the kernel's command line);
    /// 0: there are none.
    pub interval: u64,
    /// Checkpoints that the kernel has come to. Written by the kernel.
    pub reached: u64,
    /// Checkpoints that it may go on from. Written by the host.
    pub released: u64,
}

/// A ring of [`record::Record`]s. Record number `n` (from 0) lies in slot `n % capacity`; its
/// `sequence` is `n + 1`, set to 0 before its other words change and written last.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct TraceRing {
    /// Where the first slot is.
    pub address: u64,
    /// Number of slots, a power of two; 0 when tracing is off.
    pub capacity: u64,
    /// Number of records written so far.
    pub written: u64,
    /// Which kinds of records are written: bit `1 << kind`.
    pub enabled: u64,
}

/// An array of fixed-size entries, each of which begins with a record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Table {
    /// Where entry 0 is.
    pub address: u64,
    /// Bytes from one entry to the next.
    pub stride: u64,
    /// Number of entries, used or not.
    pub count: u64,
}

/// Of objects of each kind, how long they live: entry `n` is about the one of number `n`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct LifeTables {
    /// Of gates.
    pub gates: Table,
    /// Of threads.
    pub threads: Table,
    /// Of tasks.
    pub tasks: Table,
    /// Of factories.
    pub factories: Table,
    /// Of the answers that threads wait for, by the thread's number.
    pub replies: Table,
    /// Of interrupts.
    pub interrupts: Table,
}

/// What the processor has been told of I/O ports, by the bitmap behind its task state segment: it
/// holds a few words of one task's ports. All addresses are guest-physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct PortCache {
    /// Where the task state segment is. At [`BITMAP_OFFSET_AT`] it has the offset of the bitmap.
    pub task_state: u64,
    /// Bytes of the task state segment. An offset that is not less forbids all ports.
    pub task_state_size: u64,
    /// Where the bitmap is, whether or not it applies at the moment. Of port `p` it is bit `p % 8`
    /// of byte `p / 8`; user code may use the port if that is 0.
    pub bitmap: u64,
    /// Where the address of the top-level page table stands that the processor works with.
    pub loaded_root: u64,
    /// The task whose ports the bitmap has, or [`NOBODY`].
    pub owner: u16,
    /// Which of `words` is replaced next: not the last one that was installed.
    pub next: u16,
    /// The words of 64 ports that may have zeros, all different.
    pub words: [u16; CACHED_PORT_WORDS],
    /// Zero.
    pub reserved: [u16; 2],
}

const _: () = assert!(size_of::<PortCache>() == 56);

/// How many words of ports may have zeros at a time.
pub const CACHED_PORT_WORDS: usize = 8;

/// Where a task state segment has the offset of its bitmap, two bytes, on both architectures (AMD64
/// manual volume 2, 12.2.4 and 12.2.5).
pub const BITMAP_OFFSET_AT: u64 = 102;

/// Bytes of the bitmap.
pub const PORT_BITMAP_SIZE: usize = crate::flexpage::IO_PORTS / 8;

/// [`TaskRecord::state`] and others: nobody has the table entry.
pub const UNUSED: u32 = 0;

/// [`TaskRecord::state`] and others: it is there.
pub const ALIVE: u32 = 1;

/// A task as viewers see it. Its index in the table is the task's number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct TaskRecord {
    /// [`UNUSED`] or [`ALIVE`].
    pub state: u32,
    /// Counts the tasks that have had this table entry, with this one.
    pub generation: u32,
    /// Physical address of the top-level page table.
    pub page_table: u64,
    /// Index of the boot module with its image and symbols plus 1, or 0.
    pub image: u32,
    /// The factory that pays for its kernel memory. If it is unused, the next entry that is, or
    /// [`NOBODY`].
    pub factory: u16,
    /// Zero.
    pub reserved: u16,
    /// Physical addresses of the frames of its capability table, 0 for those that it does not have.
    pub capability_table: [u64; CAPABILITY_TABLE_FRAMES],
    /// Physical address of the directory of its ports (see [`mapping`]), or 0.
    pub port_directory: u64,
    /// Its name, padded with zeros.
    pub name: [u8; NAME_LENGTH],
}

const _: () = assert!(size_of::<TaskRecord>() == 80);

/// Frames of a capability table: [`crate::object::CAPABILITY_TABLE_SIZE`] slots of four bytes.
pub const CAPABILITY_TABLE_FRAMES: usize = 4;

/// What a thread is doing. Stored as `u16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ThreadState {
    /// The table entry is free.
    Unused = 0,
    /// Created, but it has never run.
    Inactive = 1,
    /// Runs or could run.
    Ready = 2,
    /// Waits until its partner takes its message.
    Sending = 3,
    /// Waits for a message.
    Receiving = 4,
    /// Waits for its pager's answer to a page fault.
    PageFault = 5,
    /// Waits for its exception handler's answer.
    Exception = 6,
    /// Stopped for good: nobody resolved its fault or exception.
    Stopped = 7,
    /// Waits for its pager's answer to a port fault.
    PortFault = 8,
}

impl ThreadState {
    /// Reads the wire form.
    pub const fn from_u16(value: u16) -> Option<Self> {
        Some(match value {
            0 => Self::Unused,
            1 => Self::Inactive,
            2 => Self::Ready,
            3 => Self::Sending,
            4 => Self::Receiving,
            5 => Self::PageFault,
            6 => Self::Exception,
            7 => Self::Stopped,
            8 => Self::PortFault,
            _ => return None,
        })
    }
}

/// In [`ThreadRecord::task`] and in trace records: no task, no thread, or the kernel itself.
pub const NOBODY: u16 = u16::MAX;

/// In [`ThreadRecord::partner`]: no thread in particular. The answer was set aside, and is with whoever has
/// the reply capability ([`mapping::ObjectKind::Reply`]) to the thread.
pub const SET_ASIDE: u16 = NOBODY - 1;

/// A thread as viewers see it. Its index in the table is the thread's number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ThreadRecord {
    /// A [`ThreadState`].
    pub state: u16,
    /// How long it waits at most, as a [`Timeout`]: for ever; so long since the time stamp counter stood at
    /// [`Self::time`]; or, if it is [`Timeout::BEGUN`], until that time.
    pub timeout: u16,
    /// Counts the threads that have had this table entry, with this one.
    pub generation: u32,
    /// The task it runs in, or [`NOBODY`]. If it is unused, the next entry that is, or [`NOBODY`].
    pub task: u16,
    /// The thread it waits for, [`NOBODY`] or [`SET_ASIDE`].
    pub partner: u16,
    /// Priority, 0 to 255.
    pub priority: u16,
    /// Index of the gate to its pager in its task's capability table.
    pub pager: u16,
    /// Index of the gate to its exception handler.
    pub exception_handler: u16,
    /// The factory that its bookmark came from.
    pub factory: u16,
    /// The node that stands in a list of the mapping database while an unmap of this thread is
    /// interrupted there ([`mapping::Resource::Bookmark`]).
    pub bookmark: u32,
    /// What [`Self::timeout`] speaks of: ticks of the time stamp counter, or microseconds of the [kernel
    /// clock](crate::kip::Clock).
    pub time: u64,
    /// Its name, padded with zeros; empty for a task's first thread.
    pub name: [u8; NAME_LENGTH],
}

const _: () = assert!(size_of::<ThreadRecord>() == 48);

impl ThreadRecord {
    /// Until when it waits, in microseconds of the kernel clock, if there is a limit to that.
    #[inline]
    pub const fn deadline(&self, clock: Clock) -> Option<u64> {
        match Timeout(self.timeout).limit() {
            Some(Limit::Within(time)) => Some(clock.at(self.time).saturating_add(time)),
            Some(Limit::Begun) => Some(self.time),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn a_deadline_is_a_time_or_so_long_after_one() {
        // Two ticks a microsecond.
        let clock = Clock::new(1000, Clock::MICROSECOND / 2);
        let until = |timeout: Timeout, time| {
            let record = ThreadRecord { timeout: timeout.0, time, ..ThreadRecord::new_zeroed() };
            record.deadline(clock)
        };
        assert_eq!(until(Timeout::NEVER, 3000), None);
        assert_eq!(until(Timeout::BEGUN, 3000), Some(3000));
        assert_eq!(until(Timeout::at_least(50), 3000), Some(1050));
        assert_eq!(until(Timeout::LONGEST, u64::MAX), Some(clock.at(u64::MAX) + (1023 << 31)));
    }
}
