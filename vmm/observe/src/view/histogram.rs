//! Percentiles of latencies in bounded memory.

use crate::event::Nanoseconds;
use std::collections::BTreeMap;

/// Bits of a value that are kept: exact to the nanosecond up to 131 us, then to five digits.
const KEPT_BITS: u32 = 17;

/// How often which latency occurred. Large values are rounded down to [`KEPT_BITS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, value: Nanoseconds) {
        *self.counts.entry(rounded(value.0)).or_default() += 1;
        self.total += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (value, count) in &other.counts {
            *self.counts.entry(*value).or_default() += count;
        }
        self.total += other.total;
    }

    /// The smallest value that at least `percent` of all values do not exceed (nearest rank).
    pub(super) fn percentile(&self, percent: u64) -> Option<Nanoseconds> {
        let rank = (u128::from(self.total) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let mut values = self.counts.iter();
        let found = values.find(|(_, count)| {
            seen += u128::from(**count);
            seen >= rank
        });
        found.map(|(value, _)| Nanoseconds(*value))
    }
}

fn rounded(value: u64) -> u64 {
    let bits = u64::BITS - value.leading_zeros();
    let dropped = bits.saturating_sub(KEPT_BITS);
    value >> dropped << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(Nanoseconds(value)));
        histogram
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(of([]).percentile(50), None);
        assert_eq!(of([7]).percentile(50), Some(Nanoseconds(7)));
        assert_eq!(of([7]).percentile(99), Some(Nanoseconds(7)));
        let hundred = of((1..=100).rev());
        assert_eq!(hundred.percentile(50), Some(Nanoseconds(50)));
        assert_eq!(hundred.percentile(99), Some(Nanoseconds(99)));
        assert_eq!(hundred.percentile(100), Some(Nanoseconds(100)));
        assert_eq!(of([1, 2, 3]).percentile(50), Some(Nanoseconds(2)));
        assert_eq!(of([1, 2]).percentile(50), Some(Nanoseconds(1)));
    }

    #[test]
    fn large_values_keep_five_digits() {
        for value in [131_071, 131_072, 131_073, 123_456_789, u64::MAX] {
            let kept = rounded(value);
            assert!(kept <= value && (value - kept) as f64 <= value as f64 / 65_536.0, "{value}");
        }
        assert_eq!(rounded(131_071), 131_071);
    }

    #[test]
    fn merging_is_adding_all() {
        let mut merged = of([1, 2, 2]);
        merged.merge(&of([2, 9]));
        assert_eq!(merged.percentile(100), Some(Nanoseconds(9)));
        assert_eq!(merged.percentile(50), Some(Nanoseconds(2)));
        assert_eq!(merged.total, 5);
    }
}
