//! What `glass` itself has to say, on standard error.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Says something, in one write, so that nothing else comes between its lines.
pub fn say(text: impl Display) {
    let text = format!("glass: {text}\n");
    // With nowhere to write there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
