//! The hardware-free part of the Glasspager microkernel.
//!
//! Everything here is safe Rust over plain data and runs in host tests as it runs in ring 0. The
//! little that needs a processor (page-table frames as memory, the time stamp, TLB, console) is
//! behind the traits of [`memory::machine`].
//!
//! The modules are rooms, each of which knows those below it and none above: [`entry`], [`objects`],
//! [`ipc`], [`threads`], [`mapping`], [`arch`], [`memory`]. How to read it: [`entry::system_call`],
//! [`ipc::page_fault`], [`ipc::message`] and [`mapping::item`] are the hot path, in this order.
//!
//! Design principles:
//! 1. **Event style.** There is one kernel stack. Each entry ([`Kernel::system_call`],
//!    [`Kernel::page_fault`], [`Kernel::exception`], [`Kernel::timer_interrupt`]) runs to completion and
//!    leaves the thread to go on with in [`Kernel::current`]. No thread ever blocks in the kernel:
//!    a waiting thread is a state, a partner and a queue link.
//! 2. **No allocation, no formatting, no loops over tables** on the path of a fault or an IPC.
//! 3. **Tables and indices, no pointers.** Objects live in tables and are named by index newtypes,
//!    so that the host can read them too.
//! 4. **A task cannot hurt the kernel.** Words from tasks are allegations until a checked type is
//!    made of them; every failure is an error for the task that caused it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod arch;
pub mod boot_bundle;
pub mod entry;
pub mod ipc;
pub mod mapping;
pub mod memory;
pub mod objects;
#[cfg(test)]
mod tests;
pub mod threads;

pub use threads::kernel::Kernel;
