//! Stretches: how long the kernel goes on with a map or unmap until it lets interrupts in.

use crate::memory::machine::{Processor, Trace};

/// Steps from the beginning to the first preemption point. A step is about fifteen instructions, so
/// that with what comes before no stretch is longer than 2000.
pub const STEPS: u32 = 52;

/// Steps from one preemption point to the next, if the kernel was not left there: nothing comes before
/// them, only what comes behind the last ones.
pub(crate) const STEPS_ON: u32 = 74;

/// Preemption points in a row that an operation passes without going back to user mode. Some KVMs
/// interrupt a guest's kernel late, however wide its window is open, but all interrupt its user mode.
pub(crate) const WINDOWS: u32 = 22;

/// So many threads at once are told that somebody is gone, without letting interrupts in.
pub(crate) const BEREAVED_AT_ONCE: u32 = 4;

/// So many walkers at once are looked at, without letting interrupts in.
pub(crate) const WALKERS_AT_ONCE: u16 = 32;

/// The operation was left at a preemption point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preempted;

/// The stretch that the kernel is in.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Stretch {
    /// Steps to the first preemption point of an operation: [`STEPS`], or fewer in tests.
    pub(crate) steps: u32,
    /// Steps until the next one.
    left: u32,
    /// Preemption points that may yet be passed without leaving the kernel.
    windows: u32,
    /// When it began.
    began: u64,
    /// Whether the time slice is over.
    ticked: bool,
}

impl Stretch {
    /// Before the first operation.
    pub const fn new() -> Self {
        Self { steps: STEPS, left: 0, windows: 0, began: 0, ticked: false }
    }

    /// The first one of an operation that begins or goes on.
    #[inline(always)]
    pub fn begin(&mut self, machine: &mut impl Processor) {
        self.left = self.steps;
        self.windows = WINDOWS;
        self.began = machine.time();
    }

    /// One that nothing follows: there is something else to do.
    pub fn begin_alone(&mut self, machine: &mut impl Processor) {
        self.begin(machine);
        self.windows = 0;
    }

    /// Makes sure of some steps, if need be in the next stretch; or says that it is time for others.
    #[inline(always)]
    pub fn need(
        &mut self,
        machine: &mut (impl Processor + Trace),
        steps: u32,
    ) -> Result<(), Preempted> {
        if self.left < steps {
            return self.preemption_point(machine);
        }
        Ok(())
    }

    /// Lets interrupts in. Then the next stretch begins, or it is time for others.
    #[cold]
    #[inline(never)]
    fn preemption_point(
        &mut self,
        machine: &mut (impl Processor + Trace),
    ) -> Result<(), Preempted> {
        self.open_window(machine);
        if self.ticked || self.windows == 0 {
            return Err(Preempted);
        }
        self.windows -= 1;
        self.left = STEPS_ON;
        self.begin_next(machine);
        Ok(())
    }

    /// Lets interrupts in where the operation cannot be left. If the time slice is over it is left at the
    /// next preemption point.
    #[cold]
    pub(crate) fn go_on(&mut self, machine: &mut (impl Processor + Trace)) {
        self.open_window(machine);
        self.begin_next(machine);
    }

    /// The same unless there are so many steps left; afterwards there are.
    pub(crate) fn go_on_with(&mut self, machine: &mut (impl Processor + Trace), steps: u32) {
        if self.left < steps {
            self.go_on(machine);
            self.left = STEPS_ON;
        }
    }

    fn begin_next(&mut self, machine: &mut (impl Processor + Trace)) {
        let now = machine.time();
        machine.publish_stretch(now.saturating_sub(self.began), true);
        self.began = now;
    }

    /// Lets interrupts in, outside of any operation.
    pub fn open_window(&mut self, machine: &mut impl Processor) {
        let came = machine.open_interrupt_window();
        self.ticked |= came.tick;
        if came.interrupt {
            // Somebody waits for it.
            self.windows = 0;
        }
    }

    /// Counts some steps, as far as there are so many left.
    #[inline(always)]
    pub fn account(&mut self, steps: u32) {
        self.left = self.left.saturating_sub(steps);
    }

    /// How often something that costs so many steps can be done before the next preemption point.
    #[inline(always)]
    pub fn times(&self, steps: u32) -> u32 {
        self.left / steps
    }

    /// The last one of an operation that is done or is left at a preemption point.
    #[inline]
    pub fn end(&self, machine: &mut (impl Processor + Trace), at_point: bool) {
        let ticks = machine.time().saturating_sub(self.began);
        machine.publish_stretch(ticks, at_point);
    }

    /// Whether the time slice has ended meanwhile.
    pub fn take_tick(&mut self) -> bool {
        core::mem::take(&mut self.ticked)
    }
}

impl Default for Stretch {
    fn default() -> Self {
        Self::new()
    }
}
