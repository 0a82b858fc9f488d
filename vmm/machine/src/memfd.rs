//! Files that have no name and vanish with the last process that has them open.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd},
};

/// A new empty file that can be sealed and never be executed; `name` is only for people who look at
/// `/proc`.
pub fn create(name: &CStr) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    match open(name, flags | libc::MFD_NOEXEC_SEAL) {
        // Linux before 6.3 does not know that flag.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(name, flags),
        file => file,
    }
}

fn open(name: &CStr, flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name is a string that ends in zero and lives until the call returns; the call
    // touches no other memory.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, open, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// What is never possible again with a file that [`create`] made, through whatever descriptor.
#[derive(Clone, Copy, Debug)]
pub enum Seal {
    /// To make it longer or shorter.
    Size,
    /// To write to it, but through the mappings that there are already; and to add seals.
    FutureWrites,
}

/// Seals a file for ever.
pub fn seal(file: &File, seal: Seal) -> io::Result<()> {
    let seals = match seal {
        Seal::Size => libc::F_SEAL_SHRINK | libc::F_SEAL_GROW,
        Seal::FutureWrites => libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL,
    };
    // SAFETY: this call changes an attribute of a file and takes no pointers.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
