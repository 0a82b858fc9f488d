//! Index newtypes: how the kernel names its objects, and the tables that they index.

use core::marker::PhantomData;
use core::ops::{Index, IndexMut};
use protocol::introspection::NOBODY;

/// An index newtype over `u16`.
pub trait TableIndex: Copy {
    /// From a position that the table handed out.
    fn from_position(position: u16) -> Self;
    /// The position in the table.
    fn position(self) -> u16;
}

macro_rules! table_index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name(u16);

        impl TableIndex for $name {
            #[inline]
            fn from_position(position: u16) -> Self {
                Self(position)
            }
            #[inline]
            fn position(self) -> u16 {
                self.0
            }
        }
    };
}

table_index!(
    /// A thread.
    ThreadIndex
);
table_index!(
    /// A task.
    TaskIndex
);
table_index!(
    /// An IPC gate.
    GateIndex
);
table_index!(
    /// A factory.
    FactoryIndex
);

impl TaskIndex {
    /// The first task: sigma0.
    pub const SIGMA0: Self = Self(0);
    /// The second task: the root task.
    pub const ROOT: Self = Self(1);
}

/// A thread or nobody, in two bytes, in the encoding that the host reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct MaybeThread(u16);

impl MaybeThread {
    /// Nobody.
    pub const NOBODY: Self = Self(NOBODY);

    /// The thread, if there is one.
    #[inline]
    pub fn get(self) -> Option<ThreadIndex> {
        if self.0 == NOBODY { None } else { Some(ThreadIndex(self.0)) }
    }

    /// The thread that must be there: nobody is an index beyond every table.
    #[inline(always)]
    pub fn expected(self) -> ThreadIndex {
        ThreadIndex(self.0)
    }

    /// The thread, if there is one, leaving nobody.
    #[inline]
    pub fn take(&mut self) -> Option<ThreadIndex> {
        core::mem::replace(self, Self::NOBODY).get()
    }

    /// The encoding in introspection records.
    #[inline]
    pub fn raw(self) -> u16 {
        self.0
    }
}

impl From<ThreadIndex> for MaybeThread {
    #[inline]
    fn from(thread: ThreadIndex) -> Self {
        Self(thread.0)
    }
}

/// A table of objects of one type, in memory that was set aside at boot. Entries below
/// [`Table::used`] are initialised; the others are never touched.
#[derive(Debug)]
pub struct Table<'k, I, T> {
    entries: &'k mut [T],
    used: u16,
    index: PhantomData<I>,
}

impl<'k, I: TableIndex, T> Table<'k, I, T> {
    /// An empty table that can grow over all of `entries` (at most 65535 of them).
    pub fn new(entries: &'k mut [T]) -> Self {
        let capacity = entries.len().min(NOBODY as usize);
        Self { entries: &mut entries[..capacity], used: 0, index: PhantomData }
    }

    /// Adds an object; `None` if the table is full.
    pub fn insert(&mut self, object: T) -> Option<I> {
        let slot = self.entries.get_mut(self.used as usize)?;
        *slot = object;
        let index = I::from_position(self.used);
        self.used += 1;
        Some(index)
    }

    /// Two different objects at once; `None` if they are one and the same.
    #[inline]
    pub fn pair(&mut self, first: I, second: I) -> Option<(&mut T, &mut T)> {
        let positions = [first.position() as usize, second.position() as usize];
        let [first, second] = self.entries.get_disjoint_mut(positions).ok()?;
        Some((first, second))
    }

    /// Number of objects made so far.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Whether another object can be made.
    pub fn is_full(&self) -> bool {
        self.used as usize == self.entries.len()
    }
}

impl<I: TableIndex, T> Index<I> for Table<'_, I, T> {
    type Output = T;
    #[inline]
    fn index(&self, index: I) -> &T {
        &self.entries[index.position() as usize]
    }
}

impl<I: TableIndex, T> IndexMut<I> for Table<'_, I, T> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.entries[index.position() as usize]
    }
}
