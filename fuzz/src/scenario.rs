//! Scenarios in TOML, up to the bundle that is made of them.

use crate::text;
use glass::scenario;
use machine::Architecture;

/// Reads a scenario and makes its modules. Images that are files of this host are left alone.
pub fn run(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let made = scenario::parse(&input).and_then(|scenario| {
        let names_files = input.contains('/');
        let architecture = Architecture::Amd64;
        if names_files { Ok(Vec::new()) } else { scenario.modules(architecture, None) }
    });
    if let Err(error) = made {
        text::write(&format_args!("{error:#}"));
    }
}
