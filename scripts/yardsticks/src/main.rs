//! What Linux itself takes on this machine for the operations that the benchmark measures in the
//! guest: a page fault that the kernel resolves, and the two ways in which a program resolves its
//! own. Prints one JSON object; the times are medians in microseconds.

mod clock;
mod pages;
mod segv;
mod userfault;

use clock::Clock;
use std::io;

/// Page faults of each sort.
const SAMPLES: usize = 1024;

fn main() -> io::Result<()> {
    let clock = Clock::calibrate();
    let anonymous = clock.microseconds(anonymous()?);
    let segv = clock.microseconds(segv::measure(SAMPLES)?);
    let (userfault, refusal) = match userfault::measure(SAMPLES) {
        Ok(samples) => (format!("{:.2}", clock.microseconds(samples)), "null".to_owned()),
        Err(error) => ("null".to_owned(), format!("{:?}", error.to_string())),
    };
    println!(
        "{{\"tsc_mhz\":{:.1},\"anonymous_fault\":{anonymous:.2},\"sigsegv_mprotect\":{segv:.2},\
         \"userfaultfd_copy\":{userfault},\"userfaultfd_error\":{refusal}}}",
        clock.ticks_per_microsecond()
    );
    Ok(())
}

/// First touch of anonymous memory: Linux finds a page, zeroes it and maps it.
fn anonymous() -> io::Result<Vec<u64>> {
    let pages = pages::Pages::new(SAMPLES, libc::PROT_READ | libc::PROT_WRITE)?;
    Ok(pages.touch_all())
}
