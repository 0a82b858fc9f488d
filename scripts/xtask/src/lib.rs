//! Builds, runs, tests and measures Glasspager: one module a command.
//!
//! The scripts `run`, `test` and `bench` beside this crate see to the toolchain and call it; with
//! a toolchain at hand, `cargo xtask COMMAND` does the same.
#![forbid(unsafe_code)]

pub mod architecture;
pub mod bench;
mod command;
mod fuzz;
mod guest;
mod host;
mod qemu;
mod rooms;
mod svm;
mod test;
mod workspace;

use anyhow::{Result, bail};
pub use architecture::Architecture;
pub use workspace::Workspace;

const USAGE: &str = "usage: cargo xtask COMMAND

  guest           build the kernel and its programs into target/guest/ARCHITECTURE
  build           build them and target/release/glass
  run [ARGS]      build everything, then `glass run ARGS`
  lint            format and lints
  test [ARGS]     every check and every test; with ARGS only `cargo test ARGS`;
                  with `--without svm` all but what `svm` does
  svm             the part of `test` that runs under emulated hardware virtualisation
  fuzz [SECONDS] [TARGET...]
                  run a fuzzer on each target in fuzz, or on these, each for that time
  bench [--json]  count instructions under QEMU, and time them under KVM
  rooms           check who imports whom, and where unsafe code may be";

/// Does what the command line asks for.
pub fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::find();
    let Some((command, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    match command.as_str() {
        "guest" => guest::build(&workspace),
        "build" => host::build(&workspace),
        "run" => host::build_and_run(&workspace, rest).map(|never| match never {}),
        "lint" => test::lint(&workspace),
        "test" => test::run(&workspace, rest),
        "fuzz" => fuzz::run(&workspace, rest),
        "svm" => test::only_svm(&workspace),
        "bench" => bench::run(&workspace, rest),
        "rooms" => rooms::check_workspace(&workspace),
        _ => bail!("there is no command `{command}`\n{USAGE}"),
    }
}
