//! What differs between processors. Each architecture's module has the same names:
//! `syscall` and the symbol `_start`; [`x86`] has what both do alike.

mod x86;
pub use x86::{port_in, port_out, stop, utcb};

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
pub use amd64::{syscall, time_stamp};

#[cfg(target_arch = "x86")]
mod ia32;
#[cfg(target_arch = "x86")]
pub use ia32::{syscall, time_stamp};

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
compile_error!(
    "the runtime knows amd64 and ia32: build for x86_64-unknown-none or i586-unknown-linux-gnu"
);
