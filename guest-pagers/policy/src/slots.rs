//! Which of some numbered places are taken.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const BITS: usize = usize::BITS as usize;

/// `N * usize::BITS` places, in which several threads may take and give back.
#[derive(Debug)]
pub struct Slots<const N: usize>([AtomicUsize; N]);

impl<const N: usize> Slots<N> {
    /// All are free.
    pub const fn new() -> Self {
        Self([const { AtomicUsize::new(0) }; N])
    }

    /// Takes the first that is free.
    pub fn take(&self) -> Option<usize> {
        self.0.iter().enumerate().find_map(|(index, word)| {
            let take_first = |taken: usize| (taken != usize::MAX).then(|| taken | (taken + 1));
            let taken = word.fetch_update(Relaxed, Relaxed, take_first).ok()?;
            Some(index * BITS + taken.trailing_ones() as usize)
        })
    }

    /// Gives back one that was taken.
    pub fn give_back(&self, number: usize) {
        if let Some(word) = self.0.get(number / BITS) {
            word.fetch_and(!(1 << (number % BITS)), Relaxed);
        }
    }
}

impl<const N: usize> Default for Slots<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// The lowest free place is taken, each only once, and all can be had.
        #[test]
        fn it_behaves_like_a_set(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..400)) {
            let slots = Slots::<2>::new();
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    Some(choice) if !taken.is_empty() => {
                        let number = *taken.iter().nth(choice.index(taken.len())).unwrap();
                        slots.give_back(number);
                        taken.remove(&number);
                    }
                    _ => {
                        let free = (0..2 * BITS).find(|number| !taken.contains(number));
                        prop_assert_eq!(slots.take(), free);
                        taken.extend(free);
                    }
                }
            }
        }
    }
}
