//! What `glass` itself has to say, on standard error.

use crate::screen;
use std::{fmt::Display, io::Write};

/// Says something on one line.
pub fn say(text: impl Display) {
    // With nowhere to write there is nobody to tell.
    let _ = writeln!(screen::errors(), "glass: {text}");
}

/// Says something on several lines, one after the other.
pub fn say_lines(lines: &[String]) {
    let mut lines = lines.iter();
    lines.next().into_iter().for_each(say);
    for line in lines {
        // With nowhere to write there is nobody to tell.
        let _ = writeln!(screen::errors(), "{line}");
    }
}
