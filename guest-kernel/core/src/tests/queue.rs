//! The ready queue against a model: a list for each priority.

use super::Bench;
use crate::{
    memory::index::{TableIndex, ThreadIndex},
    threads::ready::ReadyQueue,
};
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
enum Step {
    PushBack(u16),
    PushFront(u16),
    Remove(u16),
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..24u16).prop_map(Step::PushBack),
        (0..24u16).prop_map(Step::PushFront),
        (0..24u16).prop_map(Step::Remove),
        Just(Step::Pop),
    ]
}

proptest! {
    #[test]
    fn behaves_like_lists(steps in prop::collection::vec(step(), 0..400)) {
        let mut bench = Bench::new();
        // Threads 2 to 25, on priorities that cross the bitmap's words.
        for number in 0..24u16 {
            bench.spawn(1, [0, 1, 63, 64, 127, 255][usize::from(number) % 6]);
        }
        let mut threads = bench.kernel.threads;
        let mut queue = ReadyQueue::new();
        let mut model: Vec<VecDeque<u16>> = vec![VecDeque::new(); 256];
        for step in steps {
            match step {
                Step::PushBack(number) | Step::PushFront(number) => {
                    let number = number + 2;
                    if model.iter().any(|level| level.contains(&number)) {
                        continue;
                    }
                    let thread = ThreadIndex::from_position(number);
                    let level = usize::from(threads[thread].priority());
                    if matches!(step, Step::PushBack(_)) {
                        queue.push_back(&mut threads, thread);
                        model[level].push_back(number);
                    } else {
                        queue.push_front(&mut threads, thread);
                        model[level].push_front(number);
                    }
                }
                Step::Remove(number) => {
                    let number = number + 2;
                    let thread = ThreadIndex::from_position(number);
                    let level = &mut model[usize::from(threads[thread].priority())];
                    if let Some(place) = level.iter().position(|other| *other == number) {
                        level.remove(place);
                        queue.remove(&mut threads, thread);
                    }
                }
                Step::Pop => {
                    let expected = model.iter_mut().rev().find_map(VecDeque::pop_front);
                    let popped = queue.pop(&mut threads).map(TableIndex::position);
                    prop_assert_eq!(popped, expected);
                }
            }
            let highest = model.iter().rposition(|level| !level.is_empty());
            for priority in 0..=255u8 {
                let above = highest.is_some_and(|level| level > usize::from(priority));
                let at_least = highest.is_some_and(|level| level >= usize::from(priority));
                prop_assert_eq!(queue.has_above(priority), above);
                prop_assert_eq!(queue.has_at_least(priority), at_least);
            }
        }
    }
}
