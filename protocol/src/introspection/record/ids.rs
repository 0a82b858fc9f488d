//! Who takes part in an event.

use crate::introspection::NOBODY;

/// A task and a thread by their numbers, each [`NOBODY`] if there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Ids(u32);

impl Ids {
    /// No task and no thread; the kernel.
    pub const NOBODY: Self = Self::new(NOBODY, NOBODY);

    /// A thread in a task.
    #[inline(always)]
    pub const fn new(task: u16, thread: u16) -> Self {
        Self((task as u32) << 16 | thread as u32)
    }

    /// A task.
    pub const fn of_task(task: u16) -> Self {
        Self::new(task, NOBODY)
    }

    /// The task.
    pub const fn task(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The thread.
    pub const fn thread(self) -> u16 {
        self.0 as u16
    }

    /// Both in one number.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Those of [`Ids::bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl core::fmt::Debug for Ids {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Ids({}, {})", self.task(), self.thread())
    }
}

/// To whom an event happened, as heads of records have it: bits 32 to 47 are the task, those above the
/// thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Whom(pub(super) u64);

impl Whom {
    /// The task and thread.
    pub const fn ids(self) -> Ids {
        Ids::new((self.0 >> 32) as u16, (self.0 >> 48) as u16)
    }

    /// As heads have it.
    pub const fn new(ids: Ids) -> Self {
        Self((ids.task() as u64) << 32 | (ids.thread() as u64) << 48)
    }
}

impl From<Ids> for Whom {
    fn from(ids: Ids) -> Self {
        Self::new(ids)
    }
}
