//! How long a thread waits, and what becomes of it then.
//!
//! A thread that waits with a limit has an alarm that is due then or before. When it does anything else the
//! alarm stays, so that this costs nothing, and the next limit of the thread needs no other one if it is later.

use crate::{
    memory::{index::ThreadIndex, machine::Machine},
    threads::{
        kernel::Kernel,
        next::{Next, SystemCall},
        state::{Question, State},
    },
};
use protocol::{
    error::IpcError,
    introspection::record::{Kind, TimedOut},
    kip::KernelInfoPage,
    syscall::{Limit, Operation, Timeout, Timeouts, time_in},
};

/// So many alarms at once are looked at, without letting interrupts in.
const ALARMS_AT_ONCE: u32 = 4;

/// The time is over before anything was waited for.
pub(crate) struct Expired;

impl<M: Machine> Kernel<M> {
    /// Until when a thread waits in a phase that begins now; `None`: as long as it takes.
    pub(crate) fn deadline(
        &mut self,
        thread: ThreadIndex,
        timeout: Timeout,
    ) -> Result<Option<u64>, Expired> {
        let deadline = match timeout.limit() {
            None | Some(Limit::Never) => return Ok(None),
            Some(Limit::Zero) => return Err(Expired),
            Some(Limit::Within(time)) => return Ok(Some(self.now().saturating_add(time))),
            Some(Limit::Until(register)) => {
                time_in(&self.utcb(thread).buffer[register..]).unwrap_or(0)
            }
            Some(Limit::Begun) => self.threads[thread].record.time,
        };
        if deadline <= self.now() { Err(Expired) } else { Ok(Some(deadline)) }
    }

    /// Until when a thread waits, if there is a limit to that.
    pub(crate) fn deadline_of(&self, thread: ThreadIndex) -> Option<u64> {
        self.threads[thread].record.deadline(self.timing.clock)
    }

    /// A thread that waits does so until that time.
    pub(crate) fn wait_until(&mut self, thread: ThreadIndex, deadline: Option<u64>) {
        let Some(deadline) = deadline else { return };
        self.threads[thread].wait_until(deadline);
        self.timing.alarms.set(thread, deadline);
        if let Some((due, first)) = self.timing.alarms.first()
            && first == thread
        {
            let now = self.now();
            self.set_timer(now, due);
        }
    }

    /// A thread that waits for the answer to its call does so no longer than this. If that is not at all, the
    /// answer never comes.
    #[cold]
    #[inline(never)]
    pub(crate) fn limit_answer(&mut self, caller: ThreadIndex, timeout: Timeout) {
        if let Some(Limit::Within(time)) = timeout.limit() {
            // Noted as on the quick path.
            let since = self.mappings.machine.time();
            let deadline = self.timing.clock.at(since).saturating_add(time);
            self.wait_until(caller, Some(deadline));
            return self.threads[caller].wait_within(timeout, since);
        }
        match self.deadline(caller, timeout) {
            Ok(deadline) => self.wait_until(caller, deadline),
            Err(Expired) => self.time_out(caller),
        }
    }

    /// Notes that a thread has an alarm in time for a call with these timeouts, if it has. Then it has one for
    /// each later call with the same ones too, as long as the alarm stays where it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_cover(&mut self, caller: ThreadIndex, timeouts: Timeouts) -> Option<()> {
        let Some(Limit::Within(time)) = timeouts.receive().limit() else { return None };
        let deadline = self.now().saturating_add(time);
        let is_covered = self.timing.alarms.covers(caller, deadline) && timeouts.is_valid();
        is_covered.then(|| self.threads[caller].alarm_covers = timeouts.0 as u32)
    }

    /// The timeouts of a system call that begins again: what is limited is so until the time that it was.
    #[cold]
    pub(crate) fn begun_timeouts(&mut self, call: SystemCall) -> Timeouts {
        let (send, receive) = (call.timeouts.send(), call.timeouts.receive());
        let (sends, receives) = match call.operation() {
            Operation::SEND | Operation::CALL => (true, false),
            Operation::WAIT | Operation::RECEIVE => (false, true),
            _ => (false, false),
        };
        let mut begun = |timeout: Timeout| match self.deadline(call.caller, timeout) {
            Ok(Some(deadline)) => {
                self.threads[call.caller].note_deadline(deadline);
                Timeout::BEGUN
            }
            Ok(None) => timeout,
            Err(Expired) => Timeout::ZERO,
        };
        Timeouts::new(
            if sends { begun(send) } else { send },
            if receives { begun(receive) } else { receive },
        )
    }

    /// The timer has come: whoever has waited long enough goes on. If there are many of them the rest has its
    /// turn with the next interrupt, which comes at once.
    pub(crate) fn expire(&mut self) -> Next {
        let now = self.now();
        let is_over = self.take_timer(now);
        let page = self.mappings.sigma0.kernel_info_page;
        let page = self.mappings.machine.view::<KernelInfoPage>(page);
        page.last_interrupt = now;
        page.timer_interrupts += 1;
        for _ in 0..ALARMS_AT_ONCE {
            match self.timing.alarms.first() {
                Some((due, thread)) if due <= now => self.ring(thread, now),
                _ => break,
            }
        }
        self.set_timer_anew(now);
        match self.current.get() {
            None => Next::Other,
            Some(_) if is_over => Next::Yield,
            Some(_) => Next::Best,
        }
    }

    /// The first alarm is due, and this thread's.
    fn ring(&mut self, thread: ThreadIndex, now: u64) {
        self.threads[thread].alarm_covers = 0;
        match self.deadline_of(thread) {
            Some(deadline) if deadline > now => self.timing.alarms.postpone_first(deadline),
            Some(_) => {
                self.timing.alarms.remove_first();
                self.time_out(thread);
            }
            None => self.timing.alarms.remove_first(),
        }
    }

    /// A thread that waits in a system call goes on, because its time is over.
    fn time_out(&mut self, thread: ThreadIndex) {
        let state = self.threads[thread].state();
        let (error, for_whom) = match state {
            State::Sending { to, .. } => (IpcError::SendTimeout, Some(to)),
            State::ReceivingFrom { from, .. } => (IpcError::Timeout, Some(from)),
            State::Awaiting { answer_to: Question::Call, of } => (IpcError::Timeout, of),
            _ => (IpcError::Timeout, None),
        };
        if self.traces(Kind::TimedOut) {
            let event = TimedOut {
                is_sending: error == IpcError::SendTimeout,
                partner: self.ids_of(for_whom),
                deadline: self.deadline_of(thread).unwrap_or_else(|| self.now()),
            };
            let time = self.mappings.machine.time();
            self.trace(time, thread, event);
        }
        self.leave_partner(thread);
        self.wake(thread, error);
    }
}
