//! What programs at user level are written against.
//!
//! A program is a `no_std` crate with these lines, and a build script that calls
//! `linking::program()`:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! #![forbid(unsafe_code)]
//!
//! runtime::entry!(main);
//!
//! fn main() -> i32 {
//!     runtime::println!("hello");
//!     0
//! }
//! ```
//!
//! | module | what for |
//! |---|---|
//! | [`pager`] | being the pager of other programs: implement [`pager::Pager`], call [`pager::serve`] |
//! | [`reply`] | answering later, and serving others meanwhile |
//! | [`memory`] | getting memory from one's parent |
//! | [`program`] | arguments and files |
//! | [`capability`], [`objects`] | the kernel's objects, one method an operation: making tasks, taking memory back |
//! | [`owned`] | objects that end with the value that stands for them |
//! | [`reply`] | answers that come later |
//! | [`share`] | what others may get, and where something may arrive |
//! | [`slot`] | slots for capabilities |
//! | [`ipc`], [`message`] | plain messages |
//! | [`parent`] | what a parent does for its child: memory, I/O ports, the end |
//! | [`port`] | I/O ports |
//! | [`interrupt`] | interrupts |
//! | [`serial`] | the serial line's input |
//! | [`random`] | random numbers |
//! | [`time`] | the kernel clock, and sleeping |
//! | [`boot`] | the kernel info page and the boot bundle, for sigma0 and the root task |
//!
//! This crate has all the unsafe code of the user level. What knows the processor is in [`arch`],
//! with the same names for each architecture.
#![no_std]

pub mod arch;
pub mod boot;
pub mod capability;
pub mod console;
mod error;
#[doc(hidden)]
pub mod heap;
pub mod interrupt;
pub mod ipc;
pub mod memory;
pub mod message;
pub mod objects;
pub mod owned;
pub mod pager;
pub mod parent;
pub mod port;
pub mod program;
pub mod random;
pub mod reply;
pub mod serial;
pub mod share;
pub mod slot;
#[doc(hidden)]
pub mod start;
pub mod time;

pub use error::{Error, Result};
pub use protocol;
