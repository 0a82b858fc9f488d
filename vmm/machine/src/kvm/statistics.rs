//! Files in which KVM counts what it does for a machine: `KVM_GET_STATS_FD`.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd},
};

/// `_IO(KVMIO, 0xce)`.
const GET_STATS_FD: libc::c_ulong = 0xaece;

/// The statistics of a virtual machine or a virtual processor. A KVM without them refuses.
pub(super) fn file(of: &impl AsRawFd) -> io::Result<File> {
    // SAFETY: the call takes no argument and touches no memory of ours; `of` is open.
    let descriptor = unsafe { libc::ioctl(of.as_raw_fd(), GET_STATS_FD, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: KVM has just opened this descriptor for us, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}
