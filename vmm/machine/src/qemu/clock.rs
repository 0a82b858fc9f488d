//! The rate of the guest's time stamps.
//!
//! Without `-icount`, QEMU's emulated processor passes the host's time stamp counter on, moved so
//! that it begins at 0. Nobody says what its rate is, and so it is measured.

use std::{
    arch::x86_64::_rdtsc,
    thread,
    time::{Duration, Instant},
};

/// How long to measure. Reading both clocks takes well under a microsecond, so that the result is
/// off by less than a thousandth.
const SPAN: Duration = Duration::from_millis(10);

/// Ticks of the host's time stamp counter in a second.
pub fn ticks_per_second() -> u64 {
    let (start, start_ticks) = now();
    thread::sleep(SPAN);
    let (end, end_ticks) = now();
    let nanoseconds = end.duration_since(start).as_nanos().max(1);
    let ticks = u128::from(end_ticks.saturating_sub(start_ticks));
    (ticks * 1_000_000_000 / nanoseconds) as u64
}

/// Both clocks at one time: of some readings the one that was least interrupted.
fn now() -> (Instant, u64) {
    const READINGS: usize = 8;
    let reading = |_| {
        let before = Instant::now();
        // SAFETY: the instruction only reads a register that every x86-64 processor has and that
        // Linux leaves open to user code unless a process closes it to itself.
        let ticks = unsafe { _rdtsc() };
        (before.elapsed(), before, ticks)
    };
    let best = (0..READINGS).map(reading).min_by_key(|(length, ..)| *length);
    best.map(|(_, time, ticks)| (time, ticks)).expect("there are some readings")
}

#[cfg(test)]
mod tests {
    use super::ticks_per_second;

    #[test]
    fn two_measurements_agree() {
        let (first, second) = (ticks_per_second(), ticks_per_second());
        assert!(first > 100_000_000, "{first}");
        assert!(first.abs_diff(second) < first / 100, "{first} and {second}");
    }
}
