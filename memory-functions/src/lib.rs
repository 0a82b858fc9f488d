//! The functions that compiled code calls to copy, fill and compare memory, for guest code whose
//! target leaves them to a C library.
//!
//! The core library for `x86_64-unknown-none` brings them; the one for `i586-unknown-linux-gnu`
//! does not. Whoever needs them writes `use memory_functions as _;`.
#![cfg_attr(not(test), no_std)]

#[cfg(target_arch = "x86")]
mod ia32;
