//! `--module` on the command line, and the sizes, times and ports there.

use crate::text;
use glass::{module_spec::ModuleSpec, units};

/// Reads a text in all ways.
pub fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    if let Err(error) = input.parse::<ModuleSpec>() {
        text::write(&error);
    }
    if let Err(error) = units::ram_size(&input) {
        text::write(&error);
    }
    if let Err(error) = units::quota(&input) {
        text::write(&error);
    }
    if let Err(error) = units::timeout(&input) {
        text::write(&error);
    }
    match units::ports(&input) {
        Ok(range) => assert!(range.first <= range.last),
        Err(error) => text::write(&error),
    }
}
