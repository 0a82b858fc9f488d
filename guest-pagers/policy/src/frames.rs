//! Which frame of memory stands behind a page that a program already has: two-level tables, like
//! those of the processor, but kept by a pager for itself.
//!
//! A pager needs to know this as soon as two threads of a program can fault on the same page: the
//! second one must get the same frame.

use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use protocol::{PAGE_ORDER, Word, layout::USER_END};

/// Entries of a table; it fills one page of memory.
pub const TABLE_ENTRIES: usize = 1024;

/// One table. An entry of a lower table is a frame's number, one of an upper table the number of a
/// lower table plus 1; 0 means none. (Frame 0 does not exist: nobody hands out address 0.)
pub type Table = [AtomicU32; TABLE_ENTRIES];

const TABLE_ORDER: u32 = TABLE_ENTRIES.trailing_zeros();
const _: () = assert!(USER_END >> PAGE_ORDER >> TABLE_ORDER <= TABLE_ENTRIES);

/// The tables of all programs of a pager: at most `N`, each in memory that the caller brings.
#[derive(Debug, Default)]
pub struct FrameTables<'t, const N: usize> {
    tables: ArrayVec<&'t Table, N>,
}

/// One program's pages: the number of its upper table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(u32);

impl<'t, const N: usize> FrameTables<'t, N> {
    /// No table yet.
    pub const fn new() -> Self {
        Self { tables: ArrayVec::new_const() }
    }

    /// A new program without pages. `table` becomes its upper table; `None` if there are `N`.
    pub fn new_space(&mut self, table: &'t Table) -> Option<Space> {
        self.add(table).map(Space)
    }

    /// The frame behind the page at `address`.
    pub fn get(&self, space: Space, address: Word) -> Option<Word> {
        let lower = self.lower(space, address)?;
        let frame = self.tables[lower][lower_index(address)].load(Relaxed);
        (frame != 0).then_some((frame as Word) << PAGE_ORDER)
    }

    /// Whether [`Self::set`] needs a new table for the page at `address`.
    pub fn lacks_table(&self, space: Space, address: Word) -> bool {
        self.lower(space, address).is_none()
    }

    /// Adds a lower table for the pages around `address`; `None` if there are `N` tables.
    pub fn add_table(&mut self, space: Space, address: Word, table: &'t Table) -> Option<()> {
        let number = self.add(table)?;
        let entry = &self.tables[space.0 as usize][upper_index(address)?];
        entry.store(number + 1, Relaxed);
        Some(())
    }

    /// Notes that `frame` stands behind the page at `address`; `None` if it lacks a table.
    pub fn set(&mut self, space: Space, address: Word, frame: Word) -> Option<()> {
        let lower = self.lower(space, address)?;
        let number = u32::try_from(frame >> PAGE_ORDER).ok()?;
        self.tables[lower][lower_index(address)].store(number, Relaxed);
        Some(())
    }

    fn add(&mut self, table: &'t Table) -> Option<u32> {
        let number = u32::try_from(self.tables.len()).ok()?;
        table.iter().for_each(|entry| entry.store(0, Relaxed));
        self.tables.try_push(table).ok()?;
        Some(number)
    }

    fn lower(&self, space: Space, address: Word) -> Option<usize> {
        let entry = self.tables[space.0 as usize][upper_index(address)?].load(Relaxed);
        entry.checked_sub(1).map(|number| number as usize)
    }
}

fn upper_index(address: Word) -> Option<usize> {
    let index = address >> PAGE_ORDER >> TABLE_ORDER;
    (index < TABLE_ENTRIES).then_some(index)
}

fn lower_index(address: Word) -> usize {
    address >> PAGE_ORDER & (TABLE_ENTRIES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn table() -> &'static Table {
        Box::leak(Box::new([const { AtomicU32::new(u32::MAX) }; TABLE_ENTRIES]))
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(
            pages in prop::collection::vec((0..2usize, 0..0xC0000usize, 1..0xBE000usize), 1..60)
        ) {
            let mut frames = FrameTables::<128>::new();
            let spaces = [(); 2].map(|()| frames.new_space(table()).unwrap());
            let mut model = HashMap::new();
            for (space, page, frame) in pages {
                let (address, frame) = (page << PAGE_ORDER | 0x123, frame << PAGE_ORDER);
                prop_assert_eq!(frames.get(spaces[space], address), model.get(&(space, page)).copied());
                if frames.lacks_table(spaces[space], address) {
                    prop_assert_eq!(frames.set(spaces[space], address, frame), None);
                    frames.add_table(spaces[space], address, table()).unwrap();
                }
                frames.set(spaces[space], address, frame).unwrap();
                model.insert((space, page), frame);
            }
            for ((space, page), frame) in model {
                prop_assert_eq!(frames.get(spaces[space], page << PAGE_ORDER), Some(frame));
            }
        }
    }

    #[test]
    fn the_bound_holds() {
        let mut frames = FrameTables::<2>::new();
        let space = frames.new_space(table()).unwrap();
        assert_eq!(frames.add_table(space, 0x40_0000, table()), Some(()));
        assert_eq!(frames.add_table(space, 0x80_0000, table()), None);
        assert_eq!(frames.new_space(table()), None);
        assert!(frames.lacks_table(space, 0x80_0000));
        assert_eq!(frames.get(space, Word::MAX), None);
    }
}
