//! The processor: boot, entry and exit, descriptors, timer, direct map.
//!
//! Each architecture's module exports the same names; what both do alike is beside them. Nothing else
//! in the kernel names a register.

mod control_bits;
pub mod interrupts;
pub mod io_apic;
pub mod local_apic;
pub mod ports;
pub mod processor;
mod protection;
mod switch;
mod trap;

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
use amd64 as own;

#[cfg(target_arch = "x86")]
mod ia32;
#[cfg(target_arch = "x86")]
use ia32 as own;

pub use own::{
    boot::{STACK_END, STACK_PAGES},
    direct_map,
    entry::{registers, system_calls_go_to},
    prepare,
};
pub use processor::halt;
pub use switch::{forget_registers, leave_kernel, leave_space, space};
