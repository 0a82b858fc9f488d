//! What people get to see.

use observe::text::{is_plain, shown};
use std::fmt::Display;

/// An error that repeats what a stranger wrote: on its way out the command shows it like this.
pub fn write(error: &impl Display) {
    let error = error.to_string();
    assert!(!error.is_empty(), "it says something");
    check(&shown(&error));
}

/// Panics if a text that a stranger has a part in could do something to a terminal.
pub fn check(text: &impl Display) {
    let text = text.to_string();
    let is_harmless = |c: char| c == '\n' || is_plain(c);
    assert!(text.chars().all(is_harmless), "a terminal would not only show {text:?}");
}
