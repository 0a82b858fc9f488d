//! Text that somebody else wrote, as people can see it.
//!
//! Names of tasks, symbols, paths and messages come from guests, images and other processes. A
//! terminal would obey the control characters in them, bidirectional overrides would change the
//! order of what is read around them, and other characters cannot be seen at all. All these are
//! shown as JSON writes them, `\u001b`, and bytes that are no UTF-8 as `\xff`: what is shown on a
//! terminal is as good within a JSON string.

use std::{fmt::Write, ops::RangeInclusive};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Letters and marks that Unicode tells programs not to draw (`Default_Ignorable_Code_Point`),
/// beside the format characters. The variation selectors of emoji are left alone.
const INVISIBLE: [RangeInclusive<char>; 9] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2065}'..='\u{2065}',
    '\u{3164}'..='\u{3164}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether a character stands for itself: it does nothing to a terminal or to its neighbours.
pub fn is_plain(character: char) -> bool {
    let is_ruling = || {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
        let category = character.general_category();
        matches!(category, Control | Format | LineSeparator | ParagraphSeparator)
            || INVISIBLE.iter().any(|range| range.contains(&character))
    };
    matches!(character, ' '..='~') || !character.is_ascii() && !is_ruling()
}

/// Text on one line, with everything in it to be seen.
pub fn shown(text: &str) -> String {
    shown_bytes(text.as_bytes())
}

/// The same of bytes that should be UTF-8.
pub fn shown_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut shown, character));
        chunk.invalid().iter().for_each(|byte| push_byte(&mut shown, *byte));
    }
    shown
}

/// Adds a character, so that it can be seen.
pub fn push(text: &mut String, character: char) {
    if is_plain(character) {
        return text.push(character);
    }
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

/// Adds a byte that is no UTF-8.
pub fn push_byte(text: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_rules_instead_of_being_seen_is_shown() {
        let ruling = ('\0'..=' ').chain('\x7f'..='\u{9f}').filter(|character| *character != ' ');
        let ruling = ruling
            .chain('\u{200b}'..='\u{200f}')
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2060}'..='\u{206f}')
            .chain(['\u{ad}', '\u{61c}', '\u{180e}', '\u{3164}', '\u{feff}', '\u{fff9}'])
            .chain('\u{e0000}'..='\u{e01ef}');
        for character in ruling {
            let text = shown(&format!("a{character}b"));
            assert!(text.starts_with("a\\u") && text.ends_with('b'), "{character:?}: {text}");
            assert!(text.chars().all(|shown| shown.is_ascii_graphic()), "{character:?}: {text}");
            // JSON means the same by it.
            let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(read, format!("a{character}b"));
        }
    }

    #[test]
    fn what_can_be_seen_stays_as_it_is() {
        let text = "words::main+0x1c {closure#0} \\ \"ä\" 日本語 עברית नमस्ते e\u{301} ❤\u{fe0f} 🦀";
        assert_eq!(shown(text), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_numbers() {
        assert_eq!(shown_bytes(b"a\xff\xc3(\xe2\x82"), "a\\xff\\xc3(\\xe2\\x82");
        assert_eq!(shown_bytes("ä\u{1b}[2J".as_bytes()), "ä\\u001b[2J");
    }
}
