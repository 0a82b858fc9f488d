//! Kernel objects: their protocols (message labels) and the capabilities that a task starts with. What
//! they can be asked for is in [`crate::operation`].

use crate::Word;

/// Message labels of the kernel's protocols. The numbers are the ones L4 systems use.
pub mod label {
    /// A page fault, from the kernel to a pager ([`crate::fault::PageFault`]).
    pub const PAGE_FAULT: isize = -2;
    /// An exception, from the kernel to an exception handler ([`crate::fault::Exception`]).
    pub const EXCEPTION: isize = -5;
    /// An access to an I/O port, from the kernel to a pager ([`crate::fault::PortFault`]).
    pub const PORT_FAULT: isize = -8;
    /// Operations of the interrupts and of one of them, and from the kernel to the thread that it is bound
    /// to, under the gate's label: it has come ([`crate::operation::interrupts`]). That has no words.
    pub const INTERRUPT: isize = -1;
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
    /// The interrupts, of which it can make objects. Only the root task has them at first.
    pub const INTERRUPTS: Self = Self(11);
    /// The first one of the interrupts that the manifest gives a program; there is room for
    /// [`MAX_INTERRUPTS`](crate::boot::MAX_INTERRUPTS).
    pub const FIRST_INTERRUPT: Self = Self(12);
    /// First index that is free in every task.
    pub const FIRST_FREE: Self = Self(16);
}

/// Capabilities that one task can hold.
pub const CAPABILITY_TABLE_SIZE: Word = 4096;
