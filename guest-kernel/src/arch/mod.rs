//! The processor: boot, entry and exit, descriptors, timer, direct map.
//!
//! Each architecture's module exports the same names; nothing else in the kernel names a register.

mod local_apic;
pub mod processor;

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
pub use amd64::{direct_map, leave_kernel, prepare};

#[cfg(target_arch = "x86")]
mod ia32;
#[cfg(target_arch = "x86")]
pub use ia32::{direct_map, leave_kernel, prepare};

pub use processor::halt;
