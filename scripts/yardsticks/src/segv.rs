//! A program that resolves its own faults in a signal handler: SIGSEGV, then mprotect.

use crate::pages::{PAGE, Pages};
use std::{
    io, mem, ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The pages whose faults the handler resolves: their start and length.
static START: AtomicUsize = AtomicUsize::new(0);
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Ticks of `count` faults that a signal handler resolved.
pub fn measure(count: usize) -> io::Result<Vec<u64>> {
    let pages = Pages::new(count, libc::PROT_NONE)?;
    START.store(pages.start(), Ordering::Relaxed);
    LENGTH.store(pages.length(), Ordering::Relaxed);
    let before = install(handler())?;
    let samples = pages.touch_all();
    install(before)?;
    Ok(samples)
}

fn handler() -> libc::sigaction {
    // SAFETY: all zeros is a valid `sigaction`: default action, no flags, empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = unprotect as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    action
}

/// Sets the action for SIGSEGV and returns the one before.
fn install(action: libc::sigaction) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: both point to valid structures; the handler in `action` is `unprotect`, which calls
    // nothing that a signal handler must not call, or one that was installed before.
    if unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

/// Makes the page that was touched accessible; ends the program if it is none of ours.
extern "C" fn unprotect(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid pointer to a handler installed with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() }.addr();
    let inside = address.wrapping_sub(START.load(Ordering::Relaxed));
    let page = ptr::with_exposed_provenance_mut(address & !(PAGE - 1));
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the page is one of those that `measure` mapped for this purpose; `_exit` and
    // `mprotect` may be called in a signal handler.
    unsafe {
        if inside >= LENGTH.load(Ordering::Relaxed) || libc::mprotect(page, PAGE, access) != 0 {
            libc::_exit(128 + libc::SIGSEGV);
        }
    }
}
