//! Turns the processor's time stamps into times since the first record.

use crate::event::Nanoseconds;

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// The scale of the guest's time stamp counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ticks_per_second: u64,
    start: Option<u64>,
}

impl Clock {
    pub(crate) fn new(ticks_per_second: u64) -> Self {
        Self { ticks_per_second: ticks_per_second.max(1), start: None }
    }

    /// The first time stamp that it is told is its zero.
    pub(crate) fn start(&mut self, ticks: u64) {
        self.start.get_or_insert(ticks);
    }

    /// When that was; zero for anything before the start.
    pub(crate) fn time(&self, ticks: u64) -> Nanoseconds {
        self.duration(self.start.unwrap_or(ticks), ticks)
    }

    /// How long it took; zero if it ended before it began.
    pub(crate) fn duration(&self, from: u64, to: u64) -> Nanoseconds {
        let ticks = u128::from(to.saturating_sub(from));
        let nanoseconds = ticks * NANOSECONDS_PER_SECOND / u128::from(self.ticks_per_second);
        Nanoseconds(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds_without_overflow() {
        let mut clock = Clock::new(2_500_000_000);
        clock.start(1000);
        clock.start(5000);
        assert_eq!(clock.time(1000), Nanoseconds(0));
        assert_eq!(clock.time(3500), Nanoseconds(1000));
        assert_eq!(clock.time(0), Nanoseconds(0));
        assert_eq!(clock.duration(10, 0), Nanoseconds(0));
        assert_eq!(clock.duration(0, u64::MAX), Nanoseconds(7_378_697_629_483_820_646));
        assert_eq!(Clock::new(0).duration(0, u64::MAX), Nanoseconds(u64::MAX));
    }

    #[test]
    fn times_are_shown_in_microseconds() {
        assert_eq!(format!("{:>12}", Nanoseconds(1_204_118)), "    1204.118");
        assert_eq!(format!("{}", Nanoseconds(5)), "0.005");
    }
}
