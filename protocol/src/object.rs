//! Kernel objects: their protocols (message labels), their operations and the capabilities that a
//! task starts with.
//!
//! An object is invoked by a call to its capability with its protocol as the label and the
//! operation in message register 0. The answer's label is 0 or a negated
//! [`crate::error::ObjectError`]. Capabilities in arguments are indices in the invoker's table.

use crate::Word;

/// Message labels of the kernel's protocols. The numbers are the ones L4 systems use.
pub mod label {
    /// A page fault, from the kernel to a pager ([`crate::fault::PageFault`]).
    pub const PAGE_FAULT: isize = -2;
    /// An exception, from the kernel to an exception handler ([`crate::fault::Exception`]).
    pub const EXCEPTION: isize = -5;
    /// An access to an I/O port, from the kernel to a pager ([`crate::fault::PortFault`]).
    pub const PORT_FAULT: isize = -8;
    /// Nobody holds a gate any more, from the kernel to the thread that it leads to, under the gate's
    /// label: the last capability is gone that was derived from the first one. No words.
    pub const GATE_UNHELD: isize = -9;
    /// Asking for memory ([`crate::sigma0`]).
    pub const SIGMA0: isize = -6;
    /// Operations of tasks.
    pub const TASK: isize = -11;
    /// Operations of threads.
    pub const THREAD: isize = -12;
    /// Writing to the console.
    pub const CONSOLE: isize = -13;
    /// Scheduling parameters.
    pub const SCHEDULER: isize = -14;
    /// Making objects.
    pub const FACTORY: isize = -15;
    /// Names for objects.
    pub const DEBUGGER: isize = -23;
    /// The machine itself.
    pub const PLATFORM: isize = -24;
    /// Creating an IPC gate (only as an argument to a factory).
    pub const GATE: isize = -10;
    /// From a program to its parent: it has ended; message register 0 is its exit status.
    pub const EXIT: isize = -30;
    /// From a pager to its parent: answer a page fault of a program that I page. Message registers:
    /// `0: label of the gate through which the fault came, 1 and 2: the fault's words`. The answer
    /// is the one to a page fault, with the page in the caller's receive window; the caller maps it
    /// on. That way a pager needs to know only those pages that it has an opinion about.
    pub const PAGE_IN: isize = -31;
}

/// Operations of a factory (label [`label::FACTORY`]); all need the control right.
/// Message registers: `0: operation, 1: index of an empty slot for the new capability, 2..: arguments`.
pub mod factory {
    use crate::Word;
    /// A task. Argument: flexpage of its UTCB area ([`crate::layout::UTCB_AREA`], order 12 to 16).
    pub const CREATE_TASK: Word = 1;
    /// A thread, not yet bound to a task. No arguments.
    pub const CREATE_THREAD: Word = 2;
    /// An IPC gate. Arguments: label, capability of the thread that receives.
    pub const CREATE_GATE: Word = 3;
    /// A factory with a quota of its own. Argument: limit in bytes, taken from this one.
    pub const CREATE_FACTORY: Word = 4;
}

/// Operations of a task (label [`label::TASK`]); both need the modify right.
pub mod task {
    use crate::Word;
    /// Maps a flexpage of the invoker's task into this one. Message registers: `0: operation,
    /// 1 and 2: a map item (send base and flags, flexpage)`. The receive window is the whole space.
    pub const MAP: Word = 1;
    /// Takes rights away from all mappings that were derived, directly or not, from this task's
    /// mappings of some flexpages (of memory, ports or capabilities); with [`UNMAP_OWN`] from this
    /// task's own mappings too. Nobody else has to agree. Message registers: `0: operation, 1: the
    /// rights to take away ([`crate::flexpage::Rights`]) and [`UNMAP_OWN`], 2: number of flexpages
    /// (at most [`UNMAP_MAX_FLEXPAGES`]), 3..: the flexpages with their rights clear`. The read
    /// right is the mapping itself: without it, it is gone. No rights at all is allowed: then
    /// nothing is taken away.
    ///
    /// Of all memory that it covers it returns and clears what the processor notes: the answer has
    /// the flexpages again in registers 3 and up, with [`crate::flexpage::Rights::READ`] if a page
    /// was accessed and [`crate::flexpage::Rights::WRITE`] if one was written.
    ///
    /// What a flexpage covers are whole mappings: of a superpage that it touches, the derived small
    /// pages outside it stay, but derived superpages, and the task's own, count as covered.
    pub const UNMAP: Word = 2;
    /// In [`UNMAP`]: the task's own mappings too. sigma0 never loses its own.
    pub const UNMAP_OWN: Word = 1 << 3;
    /// The most flexpages of one [`UNMAP`].
    pub const UNMAP_MAX_FLEXPAGES: usize = crate::utcb::MESSAGE_REGISTERS - 3;
}

/// Operations of a thread (label [`label::THREAD`]); they need the control right.
pub mod thread {
    use crate::Word;
    /// Binds the thread and sets its handlers. Message registers: `0: operation, 1: pager,
    /// 2: exception handler (both indices in the table of the task that the thread runs in),
    /// 3: capability of the task to bind to, 4: address of its UTCB in that task's UTCB area`.
    pub const CONTROL: Word = 1;
    /// Sets instruction and stack pointer and lets the thread run (lecture, "ex_regs"). Message
    /// registers: `0: operation, 1: instruction pointer, 2: stack pointer`. [`KEEP`] leaves one
    /// as it is. An IPC that the thread is in is cancelled. The answer has the old values in 1, 2.
    pub const EX_REGS: Word = 2;
    /// For [`EX_REGS`]: leave this register as it is.
    pub const KEEP: Word = Word::MAX;
}

/// Operations of the console (label [`label::CONSOLE`]).
pub mod console {
    use crate::Word;
    /// Writes bytes. Message registers: `0: operation, 1: number of bytes, 2..: the bytes, packed
    /// little-endian`. At most [`MAX_BYTES`].
    pub const WRITE: Word = 1;
    /// The most bytes that one message writes.
    pub const MAX_BYTES: usize = (crate::utcb::MESSAGE_REGISTERS - 2) * size_of::<Word>();
}

/// Operations of the scheduler (label [`label::SCHEDULER`]).
pub mod scheduler {
    use crate::Word;
    /// Message registers: `0: operation, 1: capability of a thread, 2: priority 0 to 255`. A thread
    /// starts with its creator's priority. Needs the control right on the thread.
    pub const SET_PRIORITY: Word = 1;
    /// Gives the rest of the time slice to the next thread of the same priority.
    pub const YIELD: Word = 2;
}

/// Operations of the debugger object (label [`label::DEBUGGER`]).
pub mod debugger {
    use crate::Word;
    /// Names a task, which needs the right to modify it, or a thread, which needs that to control it, for
    /// viewers. Message registers: `0: operation, 1: its capability,
    /// 2: index of the boot module with its image and symbols or [`NO_IMAGE`], 3: length,
    /// 4..: the name, packed little-endian`. Longer names are cut at
    /// [`crate::introspection::NAME_LENGTH`].
    pub const SET_NAME: Word = 1;
    /// In [`SET_NAME`]: the object has no image.
    pub const NO_IMAGE: Word = Word::MAX;
    /// Does nothing: the null system call of the benchmarks.
    pub const NULL: Word = 2;
}

/// Operations of the platform object (label [`label::PLATFORM`]).
pub mod platform {
    use crate::Word;
    /// Ends the machine. Message registers: `0: operation, 1: exit status, 0 to 127`.
    pub const SHUT_DOWN: Word = 1;
}

/// An index into a task's capability table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct CapabilityIndex(pub Word);

impl CapabilityIndex {
    /// Never valid: no object.
    pub const NIL: Self = Self(0);
    /// The task itself.
    pub const TASK: Self = Self(1);
    /// The task's first thread.
    pub const THREAD: Self = Self(2);
    /// A factory. sigma0 starts without one, and so do programs for which the manifest sets no quota.
    pub const FACTORY: Self = Self(3);
    /// The parent, which is also the default pager: sigma0 for the root task, else the root task
    /// or the pager that the manifest names.
    pub const PARENT: Self = Self(4);
    /// The console.
    pub const CONSOLE: Self = Self(5);
    /// The scheduler. Only the root task has it at first.
    pub const SCHEDULER: Self = Self(6);
    /// The debugger object.
    pub const DEBUGGER: Self = Self(7);
    /// The platform. Only the root task has it at first.
    pub const PLATFORM: Self = Self(8);
    /// A gate to the task's pager where that is not the parent.
    pub const PAGER: Self = Self(9);
    /// A gate to the program that the manifest names as this one's server, if any.
    pub const SERVER: Self = Self(10);
    /// First index that is free in every task.
    pub const FIRST_FREE: Self = Self(16);
}

/// Capabilities that one task can hold.
pub const CAPABILITY_TABLE_SIZE: Word = 4096;
