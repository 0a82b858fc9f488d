//! What is handed out and comes back: frames of the pool, places of tables.

use super::model::{ModelMachine, POOL, Shelf};
use crate::memory::{
    frames::{FramePair, FramePool, NoMemory, PAIR_SIZE},
    index::{GateIndex, Table, TableIndex, Tenant},
    machine::Memory,
};
use proptest::prelude::*;
use protocol::{PAGE_SIZE, introspection::NOBODY, kip::PhysicalRange};
use std::collections::{BTreeMap, BTreeSet};

type Frame = [u64; PAGE_SIZE / 8];

/// How many pairs the small pool has.
const PAIRS: u64 = 6;

/// The address of a pair, if both of its frames are zero.
fn checked(machine: &mut ModelMachine, pair: &FramePair) -> u64 {
    for frame in [pair.first(), pair.second()] {
        assert_eq!(*machine.view::<Frame>(frame), [0; PAGE_SIZE / 8], "{frame:?} is not zero");
    }
    pair.first().address().0
}

fn fill(machine: &mut ModelMachine, pair: &FramePair, word: u64) {
    for frame in [pair.first(), pair.second()] {
        *machine.view::<Frame>(frame) = [word; PAGE_SIZE / 8];
    }
}

proptest! {
    /// `true`: somebody wants a pair; else the one that was taken so long ago comes back.
    #[test]
    fn each_pair_is_given_out_zero_and_to_one_only(
        offset in 0..2 * PAIR_SIZE,
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..80),
    ) {
        let range = PhysicalRange {
            start: POOL.start + offset,
            end: POOL.start + (PAIRS + 2) * PAIR_SIZE - 1,
        };
        let (mut machine, mut pool) = (ModelMachine::default(), FramePool::new(range));
        let all = pool.left() / PAIR_SIZE;
        prop_assert!(all >= PAIRS - 1);
        let (mut taken, mut seen) = (Vec::<FramePair>::new(), BTreeSet::new());
        for (takes, which) in steps {
            if takes || taken.is_empty() {
                let Ok(pair) = pool.allocate(&mut machine) else {
                    prop_assert_eq!(taken.len() as u64, all);
                    prop_assert_eq!(pool.left(), 0);
                    continue;
                };
                let address = checked(&mut machine, &pair);
                prop_assert!(address >= range.start && address + PAIR_SIZE <= range.end);
                prop_assert_eq!(address % PAIR_SIZE, 0);
                prop_assert!(!taken.contains(&pair), "{:?} was given out twice", pair);
                seen.insert(address);
                fill(&mut machine, &pair, !address);
                taken.push(pair);
            } else {
                let pair = taken.swap_remove(which.index(taken.len()));
                let address = pair.first().address().0;
                prop_assert_eq!(machine.view::<Frame>(pair.second())[PAGE_SIZE / 8 - 1], !address);
                fill(&mut machine, &pair, 0);
                pool.give_back(&mut machine, pair);
            }
            prop_assert_eq!(pool.left(), (all - taken.len() as u64) * PAIR_SIZE);
        }
        // What the host sees: whatever was used is in the list or has an owner.
        let mut next = pool.first_free();
        while next != 0 {
            prop_assert!(seen.remove(&next));
            let [low, high] = machine.words(next);
            next = u64::from(low) | u64::from(high) << 32;
        }
        let owned: BTreeSet<u64> = taken.iter().map(|pair| pair.first().address().0).collect();
        prop_assert_eq!(&seen, &owned);
        prop_assert!(owned.iter().all(|address| *address < pool.fresh().start));
    }
}

#[test]
fn a_pool_without_a_whole_pair_is_empty() {
    let (start, mut machine) = (POOL.start, ModelMachine::default());
    for (from, to) in [(0, 0), (0, PAIR_SIZE - 1), (1, 2 * PAIR_SIZE - 1), (3, 2)] {
        let range = PhysicalRange { start: start + from, end: start + to };
        let mut pool = FramePool::new(range);
        assert_eq!((pool.left(), pool.allocate(&mut machine)), (0, Err(NoMemory)), "{range:?}");
    }
}

/// An object that knows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thing {
    number: usize,
    generation: u32,
    is_gone: bool,
    next: u16,
}

impl Thing {
    fn new(number: usize) -> Self {
        Self { number, generation: 0, is_gone: false, next: 7 }
    }
}

impl Tenant for Thing {
    fn generation(&mut self) -> &mut u32 {
        &mut self.generation
    }

    fn vacate(&mut self) {
        self.is_gone = true;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.next
    }
}

proptest! {
    /// A place and its generation together name one object for ever. Places are used again until their
    /// generation cannot count on.
    #[test]
    fn no_two_objects_have_the_same_name(
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..120),
        old in any::<bool>(),
    ) {
        const ROOM: usize = 5;
        let mut table = Table::<GateIndex, Shelf<Thing>>::new(Shelf::new(ROOM), 0);
        let (mut living, mut names) = (BTreeMap::<u16, Thing>::new(), BTreeSet::new());
        let mut worn_out = 0;
        for (number, (adds, which)) in steps.into_iter().enumerate() {
            if adds || living.is_empty() {
                prop_assert_eq!(table.is_full(), living.len() + worn_out == ROOM);
                let Some(index) = table.insert(Thing::new(number)) else {
                    prop_assert!(table.is_full());
                    continue;
                };
                let thing = table[index];
                prop_assert_eq!((thing.number, thing.is_gone), (number, false));
                prop_assert!(names.insert((index.position(), thing.generation)));
                if old && thing.generation == 1 {
                    table[index].generation = u32::MAX - 2;
                }
                prop_assert_eq!(living.insert(index.position(), table[index]), None);
            } else {
                let place = *living.keys().nth(which.index(living.len())).expect("there is one");
                let thing = living.remove(&place);
                table.remove(GateIndex::from_position(place));
                worn_out += usize::from(thing.is_some_and(|thing| thing.generation == u32::MAX));
            }
            for (place, thing) in &living {
                prop_assert_eq!(table[GateIndex::from_position(*place)], *thing);
            }
            prop_assert!(usize::from(table.used()) <= ROOM);
            let gone = (0..table.used()).filter(|place| table[GateIndex::from_position(*place)].is_gone);
            prop_assert_eq!(gone.count() + living.len(), usize::from(table.used()));
        }
    }
}

#[test]
fn a_place_that_is_worn_out_is_never_used_again() {
    let mut table = Table::<GateIndex, Shelf<Thing>>::new(Shelf::new(2), 0);
    let first = table.insert(Thing::new(0)).expect("room");
    let other = table.insert(Thing::new(1)).expect("room");
    table.remove(other);
    table[first].generation = u32::MAX;
    table.remove(first);
    assert_eq!(table[first].next, NOBODY);
    assert_eq!(table.insert(Thing::new(2)), Some(other));
    assert_eq!((table[other].generation, table.is_full()), (2, true));
    assert_eq!(table.insert(Thing::new(3)), None);
}
