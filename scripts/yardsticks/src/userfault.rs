//! A program that resolves its own faults through userfaultfd: a second thread, on the same CPU,
//! reads each fault and answers with a page.

use crate::pages::{PAGE, Pages};
use std::{
    fs::File,
    io::{self, Read},
    mem,
    os::fd::{AsRawFd, FromRawFd},
    thread,
};

/// `UFFDIO_API`'s argument (linux/userfaultfd.h).
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `UFFDIO_REGISTER`'s argument.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// `UFFDIO_COPY`'s argument.
#[repr(C)]
struct Copy {
    destination: u64,
    source: u64,
    length: u64,
    mode: u64,
    copied: i64,
}

/// What a read from the descriptor returns: an event and, for a page fault, its address.
const MESSAGE: usize = 32;
const MESSAGE_ADDRESS: usize = 16;

const API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
/// Faults of user code only: what unprivileged programs may ask for.
const USER_MODE_ONLY: libc::c_int = 1;

/// The number of a read-and-write ioctl of userfaultfd.
const fn request<T>(number: u64) -> u64 {
    3 << 30 | (size_of::<T>() as u64) << 16 | 0xaa << 8 | number
}

/// Ticks of `count` faults that another thread of this process resolved.
pub fn measure(count: usize) -> io::Result<Vec<u64>> {
    let pages = Pages::new(count, libc::PROT_READ | libc::PROT_WRITE)?;
    let descriptor = open()?;
    control(&descriptor, 0x3f, &mut Api { api: API, features: 0, ioctls: 0 })?;
    let (start, length) = (pages.start() as u64, pages.length() as u64);
    control(&descriptor, 0x00, &mut Register { start, length, mode: MODE_MISSING, ioctls: 0 })?;

    let allowed = pin_to_one_cpu()?;
    // The new thread inherits the one CPU.
    let pager = thread::spawn(move || serve(descriptor, count));
    let samples = pages.touch_all();
    set_cpus(&allowed)?;
    pager.join().map_err(|_| io::Error::other("the paging thread panicked"))??;
    Ok(samples)
}

/// Answers `count` faults, each with a copy of one page.
fn serve(mut descriptor: File, count: usize) -> io::Result<()> {
    let page = vec![1u8; PAGE];
    for _ in 0..count {
        let mut message = [0; MESSAGE];
        descriptor.read_exact(&mut message)?;
        let address =
            message[MESSAGE_ADDRESS..].first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        let destination = address.expect("a message has 32 bytes") & !(PAGE as u64 - 1);
        let source = page.as_ptr().addr() as u64;
        let mut copy = Copy { destination, source, length: PAGE as u64, mode: 0, copied: 0 };
        control(&descriptor, 0x03, &mut copy)?;
    }
    Ok(())
}

fn open() -> io::Result<File> {
    // SAFETY: the call has no pointer arguments.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor as i32) })
}

fn control<T>(descriptor: &File, number: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: the request's number holds the argument's size, which the kernel reads and writes;
    // what `Copy` makes it write to is a page of a mapping that is registered for that.
    let result =
        unsafe { libc::ioctl(descriptor.as_raw_fd(), request::<T>(number), &raw mut *argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets this thread run on the CPU that it is on, and nowhere else; returns where it could run.
fn pin_to_one_cpu() -> io::Result<libc::cpu_set_t> {
    // SAFETY: all zeros is an empty set.
    let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { mem::zeroed() };
    // SAFETY: the set is valid and its size is passed; 0 is the calling thread.
    let read = unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
    // SAFETY: the call has no arguments.
    let cpu = unsafe { libc::sched_getcpu() };
    if read != 0 || cpu < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `cpu` is a CPU's number, which is smaller than the set.
    unsafe { libc::CPU_SET(cpu as usize, &mut one) };
    set_cpus(&one)?;
    Ok(allowed)
}

fn set_cpus(cpus: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the set is valid and its size is passed; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
