//! Names as people write them, and none without an end.

use std::fmt::{self, Write};

/// The longest name that anybody sees, in bytes.
const LONGEST: usize = 1024;

/// The name of a function in Rust's own terms. A short symbol can stand for an endless one.
pub(super) fn demangled(symbol: &str) -> String {
    let mut name = Bounded(String::new());
    // The only error is that there is no more room.
    let _ = write!(name, "{:#}", rustc_demangle::demangle(symbol));
    name.0
}

/// As much of a name as anybody sees.
pub(super) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST)]
}

/// Refuses what it has no room for.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_become_names() {
        assert_eq!(demangled("_ZN5words4fill17h0123456789abcdefE"), "words::fill");
        assert_eq!(demangled("_RNvC5words4fill"), "words::fill");
        assert_eq!(demangled("start"), "start");
    }

    /// A tuple of two tuples of two tuples and so on, each of which refers back to the one before.
    #[test]
    fn a_symbol_that_stands_for_an_endless_name_is_cut() {
        let mut symbol = "_RIC1aTuuE".to_owned();
        let mut last = "IC1a".len();
        for _ in 0..30 {
            let next = symbol.len() - "_R".len();
            symbol.push_str(&format!("T{0}{0}E", back_reference(last)));
            last = next;
        }
        symbol.push('E');
        let whole = format!("{:#}", rustc_demangle::demangle(&symbol));
        assert!(symbol.len() < 400 && whole.len() > 100_000, "{} {}", symbol.len(), whole.len());
        assert_eq!(demangled(&symbol), whole[..LONGEST]);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(demangled(&"x".repeat(5000)).len(), LONGEST);
        let umlauts = format!("x{}", "ä".repeat(5000));
        assert_eq!((demangled(&umlauts).len(), cut(&umlauts).len()), (LONGEST - 1, LONGEST - 1));
        assert_eq!(cut("short"), "short");
    }

    /// In base 62, from 1 on: `_` alone is 0.
    fn back_reference(position: usize) -> String {
        const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let digit = |value: usize| char::from(DIGITS[value]);
        let (high, low) = ((position - 1) / 62, (position - 1) % 62);
        let high = (high > 0).then(|| digit(high));
        ['B'].into_iter().chain(high).chain([digit(low), '_']).collect()
    }
}
