//! The command `glass`. All that it does is in the library of the same name.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    glass::main()
}
