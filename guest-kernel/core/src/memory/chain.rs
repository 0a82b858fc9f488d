//! Chains: objects of one table in a row, linked both ways, so that each can leave it in a few steps.

use crate::memory::index::{Storage, Table, TableIndex};
use core::marker::PhantomData;
use protocol::introspection::NOBODY;

/// The neighbours of an object in one of its chains.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    next: u16,
    previous: u16,
}

impl Links {
    /// Of an object that is alone, or in no chain.
    pub const NONE: Self = Self { next: NOBODY, previous: NOBODY };
}

/// What can be in chains of the kinds `K`.
pub trait Linked<K> {
    /// Its neighbours in that of one kind.
    fn links(&mut self, kind: K) -> &mut Links;
}

/// Where a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<I> {
    first: u16,
    index: PhantomData<I>,
}

impl<I: TableIndex> Chain<I> {
    /// Nobody is in it.
    pub const EMPTY: Self = Self { first: NOBODY, index: PhantomData };

    /// The first one.
    #[inline]
    pub fn first(self) -> Option<I> {
        (self.first != NOBODY).then(|| I::from_position(self.first))
    }

    /// The position of the first one, or nobody's.
    #[inline(always)]
    pub fn raw(self) -> u16 {
        self.first
    }

    /// Puts an object in front that is in no chain of this kind.
    pub fn push<K: Copy, S: Storage>(&mut self, table: &mut Table<I, S>, kind: K, object: I)
    where
        S::Object: Linked<K>,
    {
        if let Some(first) = self.first() {
            table[first].links(kind).previous = object.position();
        }
        *table[object].links(kind) = Links { next: self.first, previous: NOBODY };
        self.first = object.position();
    }

    /// Takes an object out that is in the chain.
    pub fn remove<K: Copy, S: Storage>(&mut self, table: &mut Table<I, S>, kind: K, object: I)
    where
        S::Object: Linked<K>,
    {
        let Links { next, previous } = core::mem::replace(table[object].links(kind), Links::NONE);
        if next != NOBODY {
            table[I::from_position(next)].links(kind).previous = previous;
        }
        match previous {
            NOBODY => self.first = next,
            previous => table[I::from_position(previous)].links(kind).next = next,
        }
    }
}
