//! A piece of anonymous memory, touched page by page.

use crate::clock::stamp;
use std::{io, ptr};

pub const PAGE: usize = 4096;

/// Anonymous private memory in pages of 4 KiB.
pub struct Pages {
    start: *mut u8,
    count: usize,
}

impl Pages {
    /// Maps `count` pages; nothing is in them yet.
    pub fn new(count: usize, protection: libc::c_int) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), count * PAGE, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let pages = Self { start: start.cast(), count };
        // SAFETY: the range is the mapping just made. Kernels without huge pages refuse; that is
        // as good.
        unsafe { libc::madvise(start, pages.length(), libc::MADV_NOHUGEPAGE) };
        Ok(pages)
    }

    pub fn start(&self) -> usize {
        self.start.addr()
    }

    pub fn length(&self) -> usize {
        self.count * PAGE
    }

    /// Writes to each page once and returns how many ticks each write took. Whoever calls this has
    /// seen to it that somebody resolves the faults.
    pub fn touch_all(&self) -> Vec<u64> {
        let touch = |page| {
            let before = stamp();
            // SAFETY: the byte lies in the mapping, which `self` owns and nobody else refers to.
            unsafe { self.start.add(page * PAGE).write_volatile(1) };
            stamp() - before
        };
        (0..self.count).map(touch).collect()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `self` owns the mapping and nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast(), self.length()) };
    }
}
