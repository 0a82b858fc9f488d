//! Many measurements of one operation.

use crate::probe::stamp;
use core::fmt;
use runtime::Result;

/// Measurements of each operation.
pub const SAMPLES: usize = 256;

/// Runs before the first measurement, so that everything has been touched.
pub const WARM_UP: usize = 16;

/// Measurements of an operation that takes long, after one that does not count.
pub const FEW: usize = 5;

/// The smallest, middle and greatest number of ticks that an operation took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    min: u64,
    median: u64,
    max: u64,
}

impl Spread {
    /// Measures `operation`, which is told how often it ran before. The cost of measuring, itself
    /// measured, is taken off.
    pub fn of<T>(operation: impl FnMut(usize) -> Result<T>) -> Result<Self> {
        Self::of_prepared(|_| Ok(()), operation)
    }

    /// As [`Self::of`]; `prepare` runs before each measurement and is no part of it.
    pub fn of_prepared<T>(
        prepare: impl FnMut(usize) -> Result<()>,
        operation: impl FnMut(usize) -> Result<T>,
    ) -> Result<Self> {
        Ok(measure::<SAMPLES, T>(WARM_UP, prepare, operation)?.without(overhead()?))
    }

    /// As [`Self::of_prepared`], for what takes long.
    pub fn of_few<T>(
        prepare: impl FnMut(usize) -> Result<()>,
        operation: impl FnMut(usize) -> Result<T>,
    ) -> Result<Self> {
        Ok(measure::<FEW, T>(1, prepare, operation)?.without(overhead()?))
    }

    fn without(self, overhead: u64) -> Self {
        let net = |ticks: u64| ticks.saturating_sub(overhead);
        Self { min: net(self.min), median: net(self.median), max: net(self.max) }
    }
}

/// The cost of measuring.
fn overhead() -> Result<u64> {
    Ok(measure::<SAMPLES, ()>(WARM_UP, |_| Ok(()), |_| Ok(()))?.median)
}

#[inline(always)]
fn measure<const N: usize, T>(
    warm_up: usize,
    mut prepare: impl FnMut(usize) -> Result<()>,
    mut operation: impl FnMut(usize) -> Result<T>,
) -> Result<Spread> {
    for round in 0..warm_up {
        prepare(round)?;
        operation(round)?;
    }
    let mut samples = [0; N];
    for (round, sample) in samples.iter_mut().enumerate() {
        let round = warm_up + round;
        prepare(round)?;
        let start = stamp();
        operation(round)?;
        *sample = stamp() - start;
    }
    samples.sort_unstable();
    Ok(Spread { min: samples[0], median: samples[N / 2], max: samples[N - 1] })
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        write!(f, r#"{{"min":{min},"median":{median},"max":{max}}}"#)
    }
}
