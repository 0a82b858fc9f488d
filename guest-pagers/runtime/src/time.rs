//! Time: the kernel clock, and sleeping. How long a message may take is said where it is sent
//! ([`crate::ipc::call_within`] and others).

use crate::{Result, arch, boot::kernel_info, ipc, message};
use core::time::Duration;
use protocol::{
    error::IpcError,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{Operation, Timeout, Timeouts},
};

/// The time since the machine was booted, of a clock that all tasks share. Takes no system call.
pub fn now() -> Duration {
    Duration::from_micros(kernel_info().clock.at(arch::time_stamp()))
}

/// How often the kernel's timer has come: there is no tick, so that this stands still while nobody needs one.
pub fn interrupts() -> u64 {
    let count = &raw const kernel_info().timer_interrupts;
    // SAFETY: it is in the kernel info page, which can always be read. The kernel changes it meanwhile.
    unsafe { count.read_volatile() }
}

/// Sleeps for so long, or a little longer.
///
/// # Errors
/// [`IpcError::Cancelled`] if somebody ended that.
pub fn sleep(duration: Duration) -> Result<()> {
    sleep_until(now().saturating_add(duration))
}

/// Sleeps until [`now`] is at least that time.
///
/// # Errors
/// As [`sleep`].
pub fn sleep_until(time: Duration) -> Result<()> {
    let timeouts = Timeouts::new(Timeout::NEVER, message::set_deadline(time));
    // SAFETY: nothing is sent, and nothing comes.
    let slept = unsafe {
        ipc::invoke(CapabilityIndex::NIL, Operation::RECEIVE, MessageTag::default(), timeouts)
    };
    match slept {
        Ok(_) | Err(IpcError::Timeout) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
