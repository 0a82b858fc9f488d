//! What people get to see.

use std::fmt::Display;

/// Writes an error that repeats what a stranger wrote. On its way out the command makes it harmless.
pub fn write(error: &impl Display) {
    assert!(!error.to_string().is_empty(), "it says something");
}

/// Panics if a text that a stranger has a part in could do something to a terminal.
pub fn check(text: &impl Display) {
    let text = text.to_string();
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    assert!(text.chars().all(is_harmless), "a terminal would not only show {text:?}");
}
