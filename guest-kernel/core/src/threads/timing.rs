//! Time: the clock, alarms, and whose turn it is.
//!
//! There is no tick. The timer is set for the next alarm, or for the end of a turn if others are ready; if
//! there is neither it stays silent. It is never set back: when it comes for nothing, that is all.

use crate::{
    memory::{
        index::{TableIndex, ThreadIndex},
        machine::{Machine, Memory},
    },
    threads::{
        alarm::{Alarm, AlarmPlace, Alarms},
        kernel::Kernel,
    },
};
use protocol::kip::{Clock, KernelInfoPage};
use zerocopy::{FromZeros, Immutable, KnownLayout};

/// The time slice of a thread that was given no other, in microseconds.
pub const SLICE: u32 = 10_000;

/// No time ever.
const NEVER: u64 = u64::MAX;

/// How long a thread's turns are.
#[derive(Clone, Copy, Debug, Default, FromZeros, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pace {
    /// Its time slice in microseconds; 0: [`SLICE`].
    slice: u32,
    /// What is left of the turn in which a more important thread took over; 0: it begins anew.
    left: u32,
    /// Of which of the threads that have that number; others know nothing of this.
    generation: u32,
}

/// Memory for what is known of the time, with a default object for each thread that there can be.
#[derive(Debug)]
pub struct TimeTables<M: Memory> {
    /// For alarms.
    pub alarms: M::Storage<Alarm>,
    /// For where they are.
    pub places: M::Storage<AlarmPlace>,
    /// For turns.
    pub paces: M::Storage<Pace>,
}

/// What is known of the time.
#[derive(Debug)]
pub struct Timing<M: Memory> {
    /// The kernel clock.
    pub clock: Clock,
    /// Whom to wake when.
    pub alarms: Alarms<M>,
    paces: M::Storage<Pace>,
    /// When the turn of the thread that runs is over; never if no other one is ready.
    turn_ends: u64,
    /// When the timer comes.
    timer: u64,
}

#[cfg(test)]
impl<M> Clone for Timing<M>
where
    M: Memory<Storage<Alarm>: Clone, Storage<AlarmPlace>: Clone, Storage<Pace>: Clone>,
{
    fn clone(&self) -> Self {
        let Self { clock, alarms, paces, turn_ends, timer } = self;
        let (alarms, paces) = (alarms.clone(), paces.clone());
        Self { clock: *clock, alarms, paces, turn_ends: *turn_ends, timer: *timer }
    }
}

impl<M: Memory> Timing<M> {
    /// With a clock that counts the ticks of the time stamp counter.
    pub fn new(tables: TimeTables<M>) -> Self {
        let TimeTables { alarms, places, paces } = tables;
        let clock = Clock::new(0, Clock::MICROSECOND);
        let alarms = Alarms::new(alarms, places);
        Self { clock, alarms, paces, turn_ends: NEVER, timer: NEVER }
    }

    /// When the turn of the thread that runs is over, if others wait for that.
    #[cfg(test)]
    pub fn turn_ends(&self) -> Option<u64> {
        (self.turn_ends != NEVER).then_some(self.turn_ends)
    }

    /// The turn of the thread that runs is over.
    #[cfg(test)]
    pub fn end_turn(&mut self) {
        self.turn_ends = 0;
    }

    /// For when the timer is set.
    #[cfg(test)]
    pub fn timer(&self) -> Option<u64> {
        (self.timer != NEVER).then_some(self.timer)
    }
}

impl<M: Machine> Kernel<M> {
    /// The clock goes, and tasks can read it. Before, there is no time.
    pub fn start_clock(&mut self, clock: Clock) {
        let page = self.mappings.sigma0.kernel_info_page;
        self.mappings.machine.view::<KernelInfoPage>(page).clock = clock;
        self.timing.clock = clock;
        self.timing.timer = NEVER;
        self.begin_turn();
    }

    /// The time.
    #[inline(always)]
    pub(crate) fn now(&self) -> u64 {
        self.timing.clock.at(self.mappings.machine.time())
    }

    /// The timer comes at that time, or before.
    pub(crate) fn set_timer(&mut self, now: u64, due: u64) {
        if due < self.timing.timer {
            self.timing.timer = due;
            self.mappings.machine.set_timer(due.saturating_sub(now));
        }
    }

    /// The timer has come: it will not do so again, and whether the turn of the thread that runs is over.
    pub(crate) fn take_timer(&mut self, now: u64) -> bool {
        self.timing.timer = NEVER;
        let is_over = self.timing.turn_ends <= now;
        if is_over {
            self.timing.turn_ends = NEVER;
        }
        is_over
    }

    /// Sets the timer for whatever comes next.
    pub(crate) fn set_timer_anew(&mut self, now: u64) {
        let alarm = self.timing.alarms.first().map_or(NEVER, |(due, _)| due);
        self.set_timer(now, alarm.min(self.timing.turn_ends));
    }

    /// The turn of the thread that runs begins, or goes on, and ends if others are ready.
    #[inline(always)]
    pub(crate) fn begin_turn(&mut self) {
        self.timing.turn_ends = NEVER;
        self.end_turn_some_time();
    }

    /// The turn of the thread that runs ends some time, now that others may be ready.
    #[inline(always)]
    pub(crate) fn end_turn_some_time(&mut self) {
        if self.ready.has_at_least(0) && self.timing.turn_ends == NEVER {
            self.limit_turn();
        }
    }

    #[cold]
    #[inline(never)]
    fn limit_turn(&mut self) {
        let Some(current) = self.current.get() else { return };
        let now = self.now();
        let pace = self.pace(current);
        let slice = if pace.slice == 0 { SLICE } else { pace.slice };
        let left = if pace.left == 0 { slice } else { pace.left };
        pace.left = 0;
        self.timing.turn_ends = now + u64::from(left);
        self.set_timer(now, self.timing.turn_ends);
    }

    /// A more important thread takes over: what is left of this one's turn comes later.
    #[inline]
    pub(crate) fn keep_turn(&mut self, current: ThreadIndex) {
        if self.timing.turn_ends != NEVER {
            let left = self.timing.turn_ends.saturating_sub(self.now()).clamp(1, u32::MAX.into());
            self.pace(current).left = left as u32;
        }
    }

    /// Sets a thread's time slice in microseconds, from its next turn on.
    pub(crate) fn set_slice(&mut self, thread: ThreadIndex, slice: u32) {
        let pace = self.pace(thread);
        (pace.slice, pace.left) = (slice, 0);
    }

    fn pace(&mut self, thread: ThreadIndex) -> &mut Pace {
        let generation = self.threads[thread].record.generation;
        let pace = &mut self.timing.paces[usize::from(thread.position())];
        if pace.generation != generation {
            *pace = Pace { generation, ..Pace::default() };
        }
        pace
    }
}
