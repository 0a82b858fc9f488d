//! Index newtypes: how the kernel names its objects, and the tables that they index.

use core::marker::PhantomData;
use core::ops::{DerefMut, Index, IndexMut};
use protocol::{
    introspection::{NOBODY, SET_ASIDE},
    operation::interrupts::INTERRUPTS,
};

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

table_index!(
    /// An interrupt: its number.
    InterruptIndex
);

table_index!(
    /// Who walks through the mapping database.
    WalkerIndex
);

impl WalkerIndex {
    /// The kernel itself, when it takes objects apart.
    pub const KERNEL: Self = Self(0);
}

impl InterruptIndex {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..INTERRUPTS).map(Self)
    }
}

impl TaskIndex {
    /// The first task: sigma0.
    pub const SIGMA0: Self = Self(0);
    /// The second task: the root task.
    pub const ROOT: Self = Self(1);
}

macro_rules! maybe_index {
    ($(#[$doc:meta])* $maybe:ident, $index:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $maybe(u16);

        impl $maybe {
            /// Nobody.
            pub const NOBODY: Self = Self(NOBODY);

            /// The one that it is, if it is one.
            #[inline]
            pub fn get(self) -> Option<$index> {
                if self.0 == NOBODY { None } else { Some($index(self.0)) }
            }

            /// The one that it is, if it is one, leaving nobody.
            #[inline]
            pub fn take(&mut self) -> Option<$index> {
                core::mem::replace(self, Self::NOBODY).get()
            }

            /// The encoding in introspection records.
            #[inline]
            pub fn raw(self) -> u16 {
                self.0
            }
        }

        impl From<$index> for $maybe {
            #[inline]
            fn from(index: $index) -> Self {
                Self(index.0)
            }
        }
    };
}

maybe_index!(
    /// A thread or nobody, in two bytes, in the encoding that the host reads.
    MaybeThread,
    ThreadIndex
);
maybe_index!(
    /// A gate or none.
    MaybeGate,
    GateIndex
);
maybe_index!(
    /// An interrupt or none.
    MaybeInterrupt,
    InterruptIndex
);

impl MaybeThread {
    /// The thread that must be there: nobody is an index beyond every table.
    pub fn expected(self) -> ThreadIndex {
        ThreadIndex(self.0)
    }
}

/// Memory that is set aside for the objects of one table, with those that have been made.
pub trait Storage: DerefMut<Target = [Self::Object]> {
    /// What the table is of.
    type Object;

    /// The most objects that there is room for.
    fn capacity(&self) -> usize;

    /// Puts an object behind the last one. False if there is no room.
    fn push(&mut self, object: Self::Object) -> bool;
}

/// The most objects of a table: the numbers from there on stand for none.
const MOST: usize = SET_ASIDE as usize;

/// An object that has a place in its table for a time: another one has it later.
pub trait Tenant {
    /// How many objects have had this place, with it.
    fn generation(&mut self) -> &mut u32;

    /// Marks the place as vacant.
    fn vacate(&mut self);

    /// Where a vacant place has the number of another one, or [`NOBODY`].
    fn next_vacant(&mut self) -> &mut u16;
}

/// A table of objects of one type, which all tasks share.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Table<I, S> {
    objects: S,
    price: u64,
    /// The first vacant place that is used again, or [`NOBODY`].
    vacant: u16,
    index: PhantomData<I>,
}

impl<I: TableIndex, S: Storage> Table<I, S> {
    /// A table without any object yet (it grows to at most [`MOST`]), for tasks that can spend so many
    /// bytes of memory in all.
    pub fn new(objects: S, memory: u64) -> Self {
        let capacity = objects.capacity().clamp(1, MOST) as u64;
        let price = memory.div_ceil(capacity).max(size_of::<S::Object>() as u64);
        Self { objects, price, vacant: NOBODY, index: PhantomData }
    }

    /// Bytes that an object costs whoever has it made: the share of all memory that it has of the table.
    /// So nobody fills more of the table than is due to what they can spend.
    pub fn price(&self) -> u64 {
        self.price
    }

    /// Adds an object behind the last one; `None` if there is no room.
    pub fn push(&mut self, object: S::Object) -> Option<I> {
        let position = self.used();
        let done = !self.has_no_room() && self.objects.push(object);
        done.then(|| I::from_position(position))
    }

    /// All objects: where several of them are looked at, each index is checked once.
    pub fn all(&mut self) -> All<'_, I, S::Object> {
        All { objects: &mut self.objects, index: PhantomData }
    }

    /// Two different objects at once; `None` if they are one and the same.
    #[inline]
    pub fn pair(&mut self, first: I, second: I) -> Option<(&mut S::Object, &mut S::Object)> {
        let positions = [first.position() as usize, second.position() as usize];
        let [first, second] = self.objects.get_disjoint_mut(positions).ok()?;
        Some((first, second))
    }

    /// Number of places that have been used so far.
    pub fn used(&self) -> u16 {
        self.objects.len() as u16
    }

    /// Whether all places have been used.
    fn has_no_room(&self) -> bool {
        self.objects.len() >= self.objects.capacity().min(MOST)
    }
}

impl<I: TableIndex, S: Storage> Table<I, S>
where
    S::Object: Tenant,
{
    /// Adds an object, in a vacant place if there is one; `None` if the table is full.
    pub fn insert(&mut self, mut object: S::Object) -> Option<I> {
        if let Some((index, place)) = self.take_vacant() {
            *object.generation() = *place.generation();
            *place = object;
            return Some(index);
        }
        *object.generation() = 1;
        self.push(object)
    }

    /// A vacant place, if there is one. Whoever takes it puts another object there, whose generation it has
    /// already.
    pub fn take_vacant(&mut self) -> Option<(I, &mut S::Object)> {
        if self.vacant == NOBODY {
            return None;
        }
        let index = I::from_position(self.vacant);
        let place = &mut self.objects[usize::from(self.vacant)];
        *place.generation() += 1;
        self.vacant = *place.next_vacant();
        Some((index, place))
    }

    /// Removes an object, which nothing may lead to any more. Its place is used again, unless it has had
    /// as many objects as can be counted: who has kept its generation never takes another object for it.
    pub fn remove(&mut self, index: I) {
        let next = self.vacant;
        let place = &mut self[index];
        place.vacate();
        let is_worn_out = *place.generation() == u32::MAX;
        *place.next_vacant() = if is_worn_out { NOBODY } else { next };
        if !is_worn_out {
            self.vacant = index.position();
        }
    }

    /// Whether no other object can be made.
    pub fn is_full(&self) -> bool {
        self.vacant == NOBODY && self.has_no_room()
    }
}

/// The objects of a table.
#[derive(Debug)]
pub struct All<'t, I, T> {
    objects: &'t mut [T],
    index: PhantomData<I>,
}

impl<'t, I: TableIndex, T> All<'t, I, T> {
    /// One of them, if there is one of that index.
    pub fn get(&self, index: I) -> Option<&T> {
        self.objects.get(index.position() as usize)
    }

    /// One of them for as long as all could be had.
    pub fn only(self, index: I) -> &'t mut T {
        &mut self.objects[index.position() as usize]
    }
}

impl<I: TableIndex, T> Index<I> for All<'_, I, T> {
    type Output = T;
    fn index(&self, index: I) -> &T {
        &self.objects[index.position() as usize]
    }
}

impl<I: TableIndex, T> IndexMut<I> for All<'_, I, T> {
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.objects[index.position() as usize]
    }
}

impl<I: TableIndex, S: Storage> Index<I> for Table<I, S> {
    type Output = S::Object;
    #[inline]
    fn index(&self, index: I) -> &S::Object {
        &self.objects[index.position() as usize]
    }
}

impl<I: TableIndex, S: Storage> IndexMut<I> for Table<I, S> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut S::Object {
        &mut self.objects[index.position() as usize]
    }
}
