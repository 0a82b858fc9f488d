//! Everything that two sides of Glasspager agree on.
//!
//! | sides | modules |
//! |---|---|
//! | task and kernel | [`syscall`], [`message`], [`flexpage`], [`utcb`], [`object`], [`error`], [`fault`], [`registers`] |
//! | task and task | [`sigma0`], [`program`] |
//! | boot loader and guest | [`boot`], [`kip`] |
//! | kernel and host | [`introspection`], [`pool`] |
//! | everybody | [`layout`] |
//!
//! Two rules keep the two architectures apart from it: what tasks exchange are machine words
//! ([`Word`]), so that the layouts of the lecture hold to the bit on `ia32` and are widened on
//! `amd64`; what the host or the boot loader reads is fixed-width, little-endian and the same
//! bytes on every architecture.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod boot;
pub mod error;
pub mod fault;
pub mod flexpage;
pub mod introspection;
pub mod kip;
pub mod layout;
pub mod message;
pub mod object;
pub mod operation;
pub mod pool;
pub mod program;
pub mod registers;
pub mod serial;
pub mod sigma0;
pub mod syscall;
pub mod utcb;

/// The machine word of the guest: 32 bits on `ia32`, 64 bits on `amd64`.
pub type Word = usize;

/// The smallest hardware page of both architectures: 4 KiB.
pub const PAGE_ORDER: u32 = 12;

/// Bytes in a smallest page.
pub const PAGE_SIZE: Word = 1 << PAGE_ORDER;
