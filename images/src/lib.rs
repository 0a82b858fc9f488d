//! What comes into a machine from outside: the boot bundle and the ELF images in it.
//!
//! There is one reader of each, for all that read them: the host before a machine boots, the kernel for
//! the two tasks that it starts, sigma0 and the root task. Who accepts what differs, and is said in
//! [`elf::Rules`]; how it is read does not.
//!
//! | module | question |
//! |---|---|
//! | [`architecture`] | for which processor is it |
//! | [`elf`] | which segments and notes does an executable have, and can it be paged |
//! | [`bundle`] | which modules did the boot loader bring |
//! | `sample` | what would an image look like that is odd in just this way (for tests) |
//!
//! A file's bytes are nothing but allegations until they have been checked. Nothing here panics, takes
//! memory or reads beyond the bytes that it is given.
#![cfg_attr(not(any(test, feature = "sample")), no_std)]
#![forbid(unsafe_code)]

pub mod architecture;
pub mod bundle;
pub mod elf;
#[cfg(any(test, feature = "sample"))]
pub mod sample;

pub use architecture::Architecture;
