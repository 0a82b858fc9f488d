//! What pagers decide, free of the machine.
//!
//! | module | question |
//! |---|---|
//! | [`ranges`] | which memory is free |
//! | [`holdings`] | what sigma0 has, and what of it is free |
//! | [`manifest`] | what the modules of a bundle may say of themselves |
//! | [`programs`] | who pages and serves whom, and when all is done |
//! | [`ports`] | which I/O ports a program may have |
//! | [`regions`] | what lies at an address of a program |
//! | [`frames`] | which frame a program's page already has |
//! | [`slots`] | which slots of a table are free |
//! | [`words`] | lines, words and bytes of a text |
//!
//! Everything here takes input that may be wrong, answers with an error then, and never panics.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod frames;
pub mod holdings;
pub mod manifest;
pub mod ports;
pub mod programs;
pub mod ranges;
pub mod regions;
pub mod slots;
pub mod words;
