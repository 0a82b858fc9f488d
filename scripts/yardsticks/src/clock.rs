//! The time stamp counter, and what it counts in microseconds.

use std::time::{Duration, Instant};

/// The time stamp counter's value.
pub fn stamp() -> u64 {
    // SAFETY: reads a register that every x86_64 processor has and lets user code read.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The counter's speed and the cost of reading it.
pub struct Clock {
    ticks_per_microsecond: f64,
    overhead: u64,
}

impl Clock {
    /// Compares the counter with the system's clock for a twentieth of a second.
    pub fn calibrate() -> Self {
        let (start, first) = (Instant::now(), stamp());
        std::thread::sleep(Duration::from_millis(50));
        let (ticks, elapsed) = (stamp() - first, start.elapsed());
        let overhead = median((0..1000).map(|_| std::hint::black_box(stamp()).abs_diff(stamp())));
        Self { ticks_per_microsecond: ticks as f64 / (elapsed.as_secs_f64() * 1e6), overhead }
    }

    pub fn ticks_per_microsecond(&self) -> f64 {
        self.ticks_per_microsecond
    }

    /// The median of differences of the counter, without the cost of reading it.
    pub fn microseconds(&self, samples: Vec<u64>) -> f64 {
        let ticks = median(samples.into_iter()).saturating_sub(self.overhead);
        ticks as f64 / self.ticks_per_microsecond
    }
}

fn median(samples: impl Iterator<Item = u64>) -> u64 {
    let mut samples: Vec<u64> = samples.collect();
    samples.sort_unstable();
    samples[samples.len() / 2]
}
