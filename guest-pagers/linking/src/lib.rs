//! Where a user-level program is linked. Its build script is one call:
//!
//! ```no_run
//! // build.rs
//! linking::program();
//! ```
//!
//! Programs are linked statically to a fixed address: pagers map their pages where the file says,
//! and nobody has to relocate anything. The scripts suit both `rust-lld` and GNU `ld`.
#![forbid(unsafe_code)]

use protocol::{
    Word,
    layout::{PROGRAM_BASE, ROOT_TASK_BASE, SIGMA0_BASE},
};
use std::{env, path::Path};

/// An ordinary program: whoever starts it gives it a stack, and its pager zeroes its `.bss`.
pub fn program() {
    link("program.ld", PROGRAM_BASE);
}

/// sigma0: it is mapped, not loaded, so that its file has all that it needs.
pub fn sigma0() {
    link("boot.ld", SIGMA0_BASE);
}

/// The root task: mapped like sigma0.
pub fn root_task() {
    link("boot.ld", ROOT_TASK_BASE);
}

fn link(script: &str, base: Word) {
    // On the host, where such crates are only checked, they are linked like all others.
    if env::var_os("TARGET") == env::var_os("HOST") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rustc-link-arg-bins=--defsym=BASE={base:#x}");
    println!("cargo::rustc-link-arg-bins=--script={}", script.display());
    // The compiler asks for a position-independent executable; the last word counts.
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
}
