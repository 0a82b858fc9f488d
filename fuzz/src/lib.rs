//! What is done with input of strangers: one function for each kind, that panics if a promise is broken.
//!
//! | module | input | who reads it |
//! |---|---|---|
//! | [`bundle`] | boot modules and the bundle that they are packed into | `machine`, `images`, `policy`, `kernel-core` |
//! | [`elf`] | ELF images with DWARF | `machine`, `images`, `observe` |
//! | [`tables`] | the introspection header and the kernel's tables | `observe` |
//! | [`trace`] | the trace ring | `observe` |
//! | [`scenario`], [`module_spec`] | what users write | `glass` |
//! | [`viewer`] | what a run answers to a viewer | `glass` |
//!
//! `fuzz_targets` has a program for each of them that a fuzzer runs; `tests` runs all on the inputs in
//! `corpus`. [`memory`] makes guest memory out of short inputs, [`text`] looks at what people get to see.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod elf;
pub mod memory;
pub mod module_spec;
pub mod scenario;
pub mod tables;
pub mod text;
pub mod trace;
pub mod viewer;

/// A kind of input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its module, its program and its folder in `corpus`.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "bundle", run: bundle::run },
    Target { name: "elf", run: elf::run },
    Target { name: "module_spec", run: module_spec::run },
    Target { name: "scenario", run: scenario::run },
    Target { name: "tables", run: tables::run },
    Target { name: "trace", run: trace::run },
    Target { name: "viewer", run: viewer::run },
];
