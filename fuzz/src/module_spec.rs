//! `--module` on the command line, and the sizes, times and ports there.

use crate::text;
use glass::{module_spec::ModuleSpec, units};

/// Reads a text in all ways.
pub fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    if let Err(error) = input.parse::<ModuleSpec>() {
        text::check(&error);
    }
    if let Err(error) = units::ram_size(&input) {
        text::check(&error);
    }
    if let Err(error) = units::quota(&input) {
        text::check(&error);
    }
    if let Err(error) = units::timeout(&input) {
        text::check(&error);
    }
    match units::ports(&input) {
        Ok(range) => assert!(range.first <= range.last),
        Err(error) => text::check(&error),
    }
}
