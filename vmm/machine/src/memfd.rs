//! Files that have no name and vanish with the last process that has them open.

use std::{ffi::CStr, fs::File, io, os::fd::FromRawFd};

/// A new empty file; `name` is only for people who look at `/proc`.
pub fn create(name: &CStr) -> io::Result<File> {
    // SAFETY: the name is a string that ends in zero and lives until the call returns; the call
    // touches no other memory.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, open, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}
