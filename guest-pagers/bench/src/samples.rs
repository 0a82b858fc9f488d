//! Many measurements of one operation.

use crate::probe::stamp;
use core::fmt;
use runtime::Result;

/// Measurements of each operation.
pub const SAMPLES: usize = 256;

/// Runs before the first measurement, so that everything has been touched.
pub const WARM_UP: usize = 16;

/// The smallest, middle and greatest number of ticks that an operation took.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    min: u64,
    median: u64,
    max: u64,
}

impl Spread {
    /// Measures `operation`, which is told how often it ran before. The cost of measuring, itself
    /// measured, is taken off.
    pub fn of<T>(operation: impl FnMut(usize) -> Result<T>) -> Result<Self> {
        let overhead = measure(|_| Ok(()))?.median;
        let Self { min, median, max } = measure(operation)?;
        let net = |ticks: u64| ticks.saturating_sub(overhead);
        Ok(Self { min: net(min), median: net(median), max: net(max) })
    }
}

#[inline(always)]
fn measure<T>(mut operation: impl FnMut(usize) -> Result<T>) -> Result<Spread> {
    for round in 0..WARM_UP {
        operation(round)?;
    }
    let mut samples = [0; SAMPLES];
    for (round, sample) in samples.iter_mut().enumerate() {
        let start = stamp();
        operation(WARM_UP + round)?;
        *sample = stamp() - start;
    }
    samples.sort_unstable();
    Ok(Spread { min: samples[0], median: samples[SAMPLES / 2], max: samples[SAMPLES - 1] })
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        write!(f, r#"{{"min":{min},"median":{median},"max":{max}}}"#)
    }
}
