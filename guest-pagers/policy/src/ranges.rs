//! Lists of memory ranges: what sigma0 and pagers still have to give.

use arrayvec::ArrayVec;
use core::ops::Range;
use protocol::{PAGE_ORDER, Word, flexpage::align_down};

/// The list has no room for one more range: memory is in too many pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPieces;

/// At most `N` ranges of addresses, in ascending order, with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeList<const N: usize> {
    ranges: ArrayVec<Range<Word>, N>,
}

impl<const N: usize> RangeList<N> {
    /// A list of nothing.
    pub const fn new() -> Self {
        Self { ranges: ArrayVec::new_const() }
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Range<Word>> {
        self.ranges.iter()
    }

    /// The range that `address` is in.
    pub fn find(&self, address: Word) -> Option<&Range<Word>> {
        self.ranges.iter().find(|range| range.contains(&address))
    }

    /// Adds all addresses of `new`.
    pub fn insert(&mut self, new: Range<Word>) -> Result<(), TooManyPieces> {
        if new.is_empty() {
            return Ok(());
        }
        // What touches the new range becomes one with it.
        let first = self.ranges.iter().take_while(|range| range.end < new.start).count();
        let touching = self.ranges[first..].iter().take_while(|r| r.start <= new.end).count();
        let Some(last) = touching.checked_sub(1) else {
            return self.ranges.try_insert(first, new).map_err(|_| TooManyPieces);
        };
        let start = new.start.min(self.ranges[first].start);
        let end = new.end.max(self.ranges[first + last].end);
        self.ranges[first] = start..end;
        self.ranges.drain(first + 1..first + touching);
        Ok(())
    }

    /// Takes all addresses of `old` away, those that are there.
    pub fn remove(&mut self, old: Range<Word>) -> Result<(), TooManyPieces> {
        if old.is_empty() {
            return Ok(());
        }
        let mut at = 0;
        while at < self.ranges.len() {
            let range = self.ranges[at].clone();
            let below = range.start..range.end.min(old.start);
            let above = range.start.max(old.end)..range.end;
            match (below.is_empty(), above.is_empty()) {
                (false, false) => {
                    self.ranges.try_insert(at, below).map_err(|_| TooManyPieces)?;
                    self.ranges[at + 1] = above;
                    return Ok(());
                }
                (false, true) => {
                    self.ranges[at] = below;
                    at += 1;
                }
                (true, false) => {
                    self.ranges[at] = above;
                    at += 1;
                }
                (true, true) => {
                    self.ranges.remove(at);
                }
            }
        }
        Ok(())
    }

    /// Takes the lowest aligned block of `2^order` bytes out; `Ok(None)` if there is none.
    pub fn take(&mut self, order: u32) -> Result<Option<Word>, TooManyPieces> {
        let Some(size) = (1 as Word).checked_shl(order) else { return Ok(None) };
        let fits = |range: &Range<Word>| {
            let start = range.start.checked_next_multiple_of(size)?;
            (range.end.checked_sub(start)? >= size).then_some(start)
        };
        let Some(start) = self.ranges.iter().find_map(fits) else { return Ok(None) };
        self.remove(start..start + size)?;
        Ok(Some(start))
    }

    /// The order of the largest aligned block around `address` that is wholly in the list, at most
    /// `max_order` and at least a page; `None` if not even that page is.
    pub fn largest_block(&self, address: Word, max_order: u32) -> Option<u32> {
        let range = self.find(address)?;
        let is_inside = |order: &u32| {
            let start = align_down(address, *order);
            start >= range.start && range.end - start >= 1 << order
        };
        (PAGE_ORDER..=max_order).rev().find(is_inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const PAGE: Word = 1 << PAGE_ORDER;

    /// The naive model: a set of page numbers.
    fn pages<const N: usize>(list: &RangeList<N>) -> BTreeSet<Word> {
        list.iter().flat_map(|range| range.start / PAGE..range.end / PAGE).collect()
    }

    fn assert_well_formed<const N: usize>(list: &RangeList<N>) {
        let ranges: Vec<_> = list.iter().collect();
        assert!(ranges.iter().all(|range| range.start < range.end));
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Range<Word>),
        Remove(Range<Word>),
        Take(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..64usize, 0..20usize).prop_map(|(start, length)| start..start + length);
        prop_oneof![
            range.clone().prop_map(Step::Insert),
            range.prop_map(Step::Remove),
            (0..5u32).prop_map(Step::Take),
        ]
    }

    fn in_bytes(range: &Range<Word>) -> Range<Word> {
        range.start * PAGE..range.end * PAGE
    }

    proptest! {
        #[test]
        fn a_list_behaves_like_a_set_of_pages(steps in prop::collection::vec(step(), 1..80)) {
            let mut list = RangeList::<64>::new();
            let mut model = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(range) => {
                        list.insert(in_bytes(&range)).unwrap();
                        model.extend(range);
                    }
                    Step::Remove(range) => {
                        list.remove(in_bytes(&range)).unwrap();
                        model.retain(|page| !range.contains(page));
                    }
                    Step::Take(order) => {
                        let size = 1 << order;
                        let block = |start: &Word| (*start..start + size).all(|p| model.contains(&p));
                        let expected = (0..100).step_by(size).find(block);
                        let taken = list.take(order + PAGE_ORDER).unwrap();
                        prop_assert_eq!(taken, expected.map(|page| page * PAGE));
                        if let Some(start) = expected {
                            model.retain(|page| !(start..start + size).contains(page));
                        }
                    }
                }
                assert_well_formed(&list);
                prop_assert_eq!(pages(&list), model.clone());
            }
        }

        #[test]
        fn the_largest_block_is_inside_and_the_next_one_is_not(
            ranges in prop::collection::vec((0..64usize, 1..40usize), 1..6),
            page in 0..110usize,
        ) {
            let mut list = RangeList::<8>::new();
            for (start, length) in ranges {
                list.insert(start * PAGE..(start + length) * PAGE).unwrap();
            }
            let model = pages(&list);
            let whole = |order: u32| {
                let start = page >> order << order;
                (start..start + (1 << order)).all(|page| model.contains(&page))
            };
            let expected = (0..=5).rev().find(|order| whole(*order));
            let found = list.largest_block(page * PAGE + 5, PAGE_ORDER + 5);
            prop_assert_eq!(found, expected.map(|order| order + PAGE_ORDER));
        }
    }

    #[test]
    fn a_full_list_says_so_and_stays_as_it_is() {
        let mut list = RangeList::<2>::new();
        list.insert(0..PAGE).unwrap();
        list.insert(4 * PAGE..8 * PAGE).unwrap();
        let before = list.clone();
        assert_eq!(list.insert(2 * PAGE..3 * PAGE), Err(TooManyPieces));
        assert_eq!(list.remove(5 * PAGE..6 * PAGE), Err(TooManyPieces));
        assert_eq!(list, before);
        // What makes no more pieces still works.
        assert_eq!(list.insert(PAGE..2 * PAGE), Ok(()));
        assert_eq!(list.take(PAGE_ORDER + 2), Ok(Some(4 * PAGE)));
    }

    #[test]
    fn the_ends_of_the_number_range_are_no_trap() {
        let mut list = RangeList::<4>::new();
        list.insert(Word::MAX - PAGE..Word::MAX).unwrap();
        for order in [PAGE_ORDER, 31, Word::BITS - 1, Word::BITS, 255] {
            assert_eq!(list.take(order), Ok(None));
        }
        assert_eq!(list.largest_block(Word::MAX, 31), None);
    }
}
