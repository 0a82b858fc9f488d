//! What views show: events with names, symbols and times, self-contained.

use crate::{
    region::{Area, Around},
    symbols::Location,
};
use protocol::{
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        NOBODY,
        mapping::ObjectKind,
        record::{MapStatus, NamedObject, SetBy, Unresolved},
    },
    message::MessageTag,
};
use std::{fmt, sync::Arc};

/// A time or a duration. Times count from the first record of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanoseconds(pub u64);

/// In microseconds with three decimals. Honours the width.
impl fmt::Display for Nanoseconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        let width = formatter.width().unwrap_or(0).saturating_sub(4);
        write!(formatter, "{whole:width$}.{rest:03}")
    }
}

/// A thread, its task, and how to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The task's number, [`NOBODY`] for the kernel and for a thread that is in no task.
    pub task: u16,
    /// The thread's number, [`NOBODY`] for the kernel.
    pub thread: u16,
    /// The task's name, `-` where there is none.
    pub task_name: Arc<str>,
    /// `task`, for other threads than the first one `task/thread`, for one in no task `thread`.
    pub name: Arc<str>,
}

impl Party {
    /// Whether this is the kernel (or nobody at all), not a thread or a task.
    pub fn is_kernel(&self) -> bool {
        self.task == NOBODY && self.thread == NOBODY
    }
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

/// Something that happened in the guest.
#[derive(Clone, Debug)]
pub enum Event {
    /// A page fault or another exception, from its beginning to its end.
    Span(Box<Span>),
    /// A flexpage arrived, not as the answer to a fault.
    Map(Mapping),
    /// A flexpage was unmapped, not by the answer to a fault.
    Unmap(Unmapping),
    /// A message between threads.
    Message(Message),
    /// A thread was told that an interrupt has come.
    Interrupt(Interrupt),
    /// A task was created.
    TaskCreated(Creation),
    /// A thread was bound to its task and may start.
    ThreadStarted(Creation),
    /// A task or thread got a name.
    Named(Naming),
    /// A thread got a pager and an exception handler.
    PagersSet(Pagers),
    /// Somebody set registers of a thread.
    RegistersSet(Registers),
    /// An object ended.
    Ended(Ending),
    /// A thread goes on because its time was over.
    TimedOut(TimedOut),
    /// The machine shuts down.
    ShutDown(ShutDown),
    /// Records were lost here: the guest wrote faster than they were read.
    Lost(Lost),
}

/// A page fault or another exception of a thread.
#[derive(Clone, Debug)]
pub struct Span {
    /// The kernel's number for it.
    pub number: u64,
    /// When it happened; of a span whose first record was lost, when it ended.
    pub time: Nanoseconds,
    /// The thread that it happened to.
    pub who: Party,
    /// What happened.
    pub cause: Cause,
    /// The instruction that caused it; `None` if the record of the beginning was lost.
    pub code: Option<Location>,
    /// The stack pointer then.
    pub stack: Option<u64>,
    /// The pager or exception handler that the kernel turned to; the kernel if there is none.
    pub handler: Party,
    /// The items of the answer, in order.
    pub maps: Vec<Mapping>,
    /// What was in the way of these items and was unmapped for them, in order.
    pub unmaps: Vec<Unmapping>,
    /// How it ended.
    pub end: End,
    /// Number of the fault that this thread was serving, as pager or handler, when this one happened.
    pub serving: Option<u64>,
    /// How many such faults there are, one above the other.
    pub depth: usize,
    /// What was the matter with the handler itself when the span ended.
    pub handlers_own: HandlersOwn,
    /// Whether all records between beginning and end were read. If not, maps may be missing.
    pub complete: bool,
    /// For a span that ended badly: what else helps to find out why.
    pub diagnosis: Option<Diagnosis>,
}

impl Span {
    /// The address of a page fault.
    pub(crate) fn memory_address(&self) -> Option<u64> {
        match self.cause {
            Cause::Fault { address, access, .. } if !access.contains(Access::PORT) => Some(address),
            _ => None,
        }
    }
}

/// What began a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A page fault or, with [`Access::PORT`], an access to I/O ports without the right to it.
    Fault {
        /// The address that was accessed, or the first port.
        address: u64,
        /// How it was accessed.
        access: Access,
        /// What the task keeps at the address, if its image or the common layout say so.
        area: Option<Area>,
    },
    /// Another processor exception.
    Exception {
        /// The processor's number for it.
        vector: u8,
        /// The processor's error code.
        error_code: u64,
    },
    /// An unresolved fault that was shown before: now the thread's exception handler lets it go on.
    Unresolved,
    /// The record of the beginning was lost.
    Lost,
}

/// What is the matter with a handler itself, while somebody waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlersOwn {
    /// Whom the handler waits for because of a fault or exception of its own, whom that one waits for, and so on.
    pub waits: Vec<Party>,
    /// Whether the last of them is somebody that comes before it.
    pub is_circle: bool,
    /// Whether the handler has come to a fault of its own that nobody resolved.
    pub failed: bool,
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The thread runs on.
    Resumed(Resumed),
    /// Nobody resolved it and the thread is stopped.
    Unresolved {
        /// When the kernel stopped the thread.
        time: Nanoseconds,
        /// Why.
        reason: Unresolved,
        /// Tag of the answer or error word of the IPC, depending on the reason.
        answer: u64,
    },
    /// The thread itself ended.
    ThreadEnded {
        /// When.
        time: Nanoseconds,
    },
    /// The trace ended first.
    Open,
    /// It did end, but the trace has no record of it.
    NotRecorded,
}

/// A thread that runs on after its fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// When it runs on.
    pub time: Nanoseconds,
    /// Who answered.
    pub by: Party,
    /// Tag of the answer.
    pub tag: MessageTag,
    /// Where the time went; `None` if the kernel resolved the fault itself.
    pub stages: Option<Stages>,
    /// From fault to resume; `None` if the record of the beginning was lost.
    pub total: Option<Nanoseconds>,
}

/// The stages of a fault that a pager resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// When the pager got the message.
    pub received: Nanoseconds,
    /// When its answer entered the kernel.
    pub answered: Nanoseconds,
    /// From the fault until the pager got the message; `None` if the beginning was lost.
    pub to_pager: Option<Nanoseconds>,
    /// The pager's own time, all that it called included.
    pub pager: Nanoseconds,
    /// Kernel: entering the mappings and resuming the thread.
    pub reply: Nanoseconds,
}

/// A flexpage that was, or should have been, mapped or granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// When.
    pub time: Nanoseconds,
    /// Whose mapping it is now.
    pub to: Party,
    /// Who sent it.
    pub from: Party,
    /// Number of the fault that it answers, 0 if none.
    pub fault: u64,
    /// The sender's flexpage as it stood in the message.
    pub sent: Flexpage,
    /// Where it arrived: an address, for capabilities and ports the first number.
    pub destination: u64,
    /// Where it came from in the sender's space, in the same terms.
    pub source: u64,
    /// Binary logarithm of the receive window's size, in the same terms;
    /// [`protocol::flexpage::WHOLE_SPACE_ORDER`] for a whole space.
    pub window: u8,
    /// Binary logarithm of what arrived: bytes, or a number of capabilities or ports.
    pub order: u8,
    /// The rights that arrived.
    pub rights: Rights,
    /// Physical address of the first page.
    pub physical: u64,
    /// Whether the sender gave its own mapping away.
    pub grant: bool,
    /// Table entries that the kernel wrote.
    pub entries: u32,
    /// What became of it.
    pub status: MapStatus,
}

/// A flexpage of which mappings were taken away or reduced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapping {
    /// When it was done.
    pub time: Nanoseconds,
    /// The task in whose terms the flexpage is. Its thread number means nothing.
    pub of: Party,
    /// Who asked for it.
    pub by: Party,
    /// Number of the fault whose answer did this, 0 if none.
    pub fault: u64,
    /// The flexpage as it stood in the message.
    pub flexpage: Flexpage,
    /// The rights to take away. With [`Rights::READ`], mappings go; with none, nothing changes.
    pub taken: Rights,
    /// Whether the task's own mappings were meant too, not only those that were derived from them.
    pub own: bool,
    /// Whether nobody asked: another mapping took the place.
    pub replaced: bool,
    /// Whether one of the pages had been accessed.
    pub accessed: bool,
    /// Whether one of the pages had been written.
    pub dirty: bool,
    /// Mappings that are gone.
    pub removed: u32,
    /// Mappings that have fewer rights now.
    pub reduced: u32,
}

impl Unmapping {
    /// Where the flexpage begins: an address, for capabilities and ports the first number.
    pub fn start(&self) -> u64 {
        let start = self.flexpage.address() as u64;
        start & u64::MAX.checked_shl(self.order()).unwrap_or(0)
    }

    /// Binary logarithm of its size.
    pub fn order(&self) -> u32 {
        self.flexpage.order()
    }
}

/// A message from a thread to another.
#[derive(Clone, Debug)]
pub struct Message {
    /// When.
    pub time: Nanoseconds,
    /// The sender.
    pub from: Party,
    /// The receiver.
    pub to: Party,
    /// Its tag.
    pub tag: MessageTag,
    /// Label of the gate that it went through.
    pub gate_label: u64,
    /// The first two message words; those beyond the tag's count mean nothing.
    pub words: [u64; 2],
}

/// An interrupt that a thread was told of.
#[derive(Clone, Debug)]
pub struct Interrupt {
    /// When it was told.
    pub time: Nanoseconds,
    /// The thread.
    pub to: Party,
    /// The interrupt's number.
    pub number: u16,
    /// Label of the gate that it is bound to.
    pub gate_label: u64,
    /// How long ago it had come.
    pub pending: Nanoseconds,
    /// How often it has been told, with this time.
    pub told: u32,
}

/// A new task or thread.
#[derive(Clone, Debug)]
pub struct Creation {
    /// When.
    pub time: Nanoseconds,
    /// The new task or thread. For a task its thread number means nothing.
    pub what: Party,
    /// Who made it.
    pub creator: Party,
}

/// A name for a task or thread.
#[derive(Clone, Debug)]
pub struct Naming {
    /// When.
    pub time: Nanoseconds,
    /// The task or thread. For a task its thread number means nothing.
    pub what: Party,
    /// Which of both it is.
    pub object: NamedObject,
    /// How many of them have had its number, with it.
    pub generation: u32,
    /// The name, so that it can be seen.
    pub name: String,
    /// Who gave it.
    pub by: Party,
}

/// Whom a thread turns to from now on.
#[derive(Clone, Debug)]
pub struct Pagers {
    /// When.
    pub time: Nanoseconds,
    /// The thread.
    pub who: Party,
    /// Whom its page faults go to.
    pub pager: Handler,
    /// Whom its other exceptions go to.
    pub exception_handler: Handler,
    /// Who set them.
    pub by: Party,
}

/// A thread that has waited long enough.
#[derive(Clone, Debug)]
pub struct TimedOut {
    /// When.
    pub time: Nanoseconds,
    /// The thread.
    pub who: Party,
    /// Whether its message was not taken; else no message or answer came.
    pub is_sending: bool,
    /// Whom it has waited for, if it was one thread; itself if it has slept.
    pub partner: Option<Party>,
    /// Until when it wanted to wait, in microseconds of the kernel clock.
    pub deadline: u64,
}

/// Registers of a thread that somebody set.
#[derive(Clone, Debug)]
pub struct Registers {
    /// When.
    pub time: Nanoseconds,
    /// The thread.
    pub who: Party,
    /// In which way.
    pub way: SetBy,
    /// Where it goes on.
    pub code: Location,
    /// Its stack pointer.
    pub stack: u64,
    /// Its flags.
    pub flags: u64,
    /// Who set them.
    pub by: Party,
}

/// A pager or an exception handler.
#[derive(Clone, Debug)]
pub struct Handler {
    /// Index of the gate to it in the capability table of the thread's task.
    pub capability: u16,
    /// The gate, if there was one when it was set.
    pub gate: Option<Gate>,
}

/// A gate to a pager or an exception handler.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Its label.
    pub label: u64,
    /// The thread that it leads to.
    pub party: Party,
}

/// The end of an object.
#[derive(Clone, Debug)]
pub struct Ending {
    /// When the kernel had taken it apart.
    pub time: Nanoseconds,
    /// What it was.
    pub kind: ObjectKind,
    /// Its number among those of its kind.
    pub number: u16,
    /// How many objects have had that number, with it.
    pub generation: u32,
    /// The task or thread that it was; nobody for other objects.
    pub what: Party,
    /// The label of a gate.
    pub label: u64,
    /// Who took its first capability away.
    pub by: Party,
}

/// The end of the machine.
#[derive(Clone, Debug)]
pub struct ShutDown {
    /// When.
    pub time: Nanoseconds,
    /// Who asked for it.
    pub by: Party,
    /// The exit status.
    pub status: u8,
}

/// A gap in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When reading went on; the time of the last record before the gap.
    pub time: Nanoseconds,
    /// How many records are missing.
    pub count: u64,
}

/// What helps to understand a span that ended badly, collected when it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Where the word at the stack pointer leads, if the instruction itself lies in no image and
    /// that word leads into the code of one: most probably the caller.
    pub caller: Option<Location>,
    /// What the task has mapped next to the address. `None` if that says nothing, or was looked up
    /// too often.
    pub around: Option<Around>,
    /// What the facts look like.
    pub hint: Option<String>,
}
