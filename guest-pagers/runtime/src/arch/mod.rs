//! What differs between processors. Each architecture's module has the same names:
//! `syscall`, `utcb`, `stop`, `MACHINE`, and the symbol `_start`.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
pub use amd64::{MACHINE, stop, syscall, utcb};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the runtime knows amd64 only: build for x86_64-unknown-none");
