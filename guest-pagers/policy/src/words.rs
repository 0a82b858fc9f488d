//! Counting lines, words and bytes exactly like GNU `wc` (up to coreutils 9.4), in the C locale and
//! in those with UTF-8.
//!
//! For `wc` a character does one of three things: a printing one begins a word or continues it, white
//! space ends it, and all others (control characters, bytes that are no character) are passed over.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// What bytes from 0x80 on mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locale {
    /// Nothing: all of them are passed over.
    C,
    /// Characters of several bytes.
    Utf8,
}

/// What a character does to the word around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Printing,
    Space,
    Silent,
}

/// The class of each byte below 0x80; the others are no characters by themselves.
static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Silent; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b' ' | b'\t'..=b'\r' => Class::Space,
            b'!'..=b'~' => Class::Printing,
            _ => Class::Silent,
        };
        byte += 1;
    }
    classes
}

/// The class of a character from U+0080 on. No-break spaces are spaces for `wc`, though not for C.
fn class_of(character: char) -> Class {
    match character.general_category() {
        GeneralCategory::SpaceSeparator => Class::Space,
        GeneralCategory::Control
        | GeneralCategory::Unassigned
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => Class::Silent,
        _ if character == '\u{2060}' => Class::Space,
        _ => Class::Printing,
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Newline characters.
    pub lines: u64,
    /// Runs of printing characters that no white space interrupts.
    pub words: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counts a text that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    locale: Locale,
    counts: Counts,
    is_in_word: bool,
    partial: Partial,
}

impl Counter {
    /// Nothing counted yet.
    pub const fn new(locale: Locale) -> Self {
        let counts = Counts { lines: 0, words: 0, bytes: 0 };
        Self { locale, counts, is_in_word: false, partial: Partial::NONE }
    }

    /// Counts the next piece. It may begin and end within a character.
    pub fn count(&mut self, piece: &[u8]) {
        self.counts.bytes += piece.len() as u64;
        for byte in piece {
            self.counts.lines += u64::from(*byte == b'\n');
            let class = match (self.locale, byte) {
                (Locale::Utf8, 0x80..) => self.partial.push(*byte).map_or(Class::Silent, class_of),
                _ => {
                    self.partial = Partial::NONE;
                    CLASSES[usize::from(*byte)]
                }
            };
            self.put(class);
        }
    }

    #[inline]
    fn put(&mut self, class: Class) {
        match class {
            Class::Printing => {
                self.counts.words += u64::from(!self.is_in_word);
                self.is_in_word = true;
            }
            Class::Space => self.is_in_word = false,
            Class::Silent => {}
        }
    }

    /// What all pieces so far add up to.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

/// The beginning of a character of several bytes.
#[derive(Clone, Copy, Debug)]
struct Partial {
    /// The bits so far.
    bits: u32,
    /// Bytes that are still to come.
    missing: u32,
    /// Characters below this one are shorter: longer forms of them are no characters.
    first: u32,
}

impl Partial {
    const NONE: Self = Self { bits: 0, missing: 0, first: 0 };

    /// Adds a byte from 0x80 on; the character, if that was its last one.
    fn push(&mut self, byte: u8) -> Option<char> {
        *self = match byte {
            0xc0..0xe0 => Self { bits: u32::from(byte & 0x1f), missing: 1, first: 0x80 },
            0xe0..0xf0 => Self { bits: u32::from(byte & 0x0f), missing: 2, first: 0x800 },
            0xf0..0xf8 => Self { bits: u32::from(byte & 0x07), missing: 3, first: 0x1_0000 },
            0x80..0xc0 if self.missing > 0 => Self {
                bits: self.bits << 6 | u32::from(byte & 0x3f),
                missing: self.missing - 1,
                ..*self
            },
            _ => Self::NONE,
        };
        if self.missing > 0 || self.bits < self.first || self.first == 0 {
            return None;
        }
        let character = char::from_u32(self.bits);
        *self = Self::NONE;
        character
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(locale: Locale, text: &[u8]) -> (u64, u64, u64) {
        let mut counter = Counter::new(locale);
        counter.count(text);
        let Counts { lines, words, bytes } = counter.counts();
        (lines, words, bytes)
    }

    /// `wc`'s rule in one sentence: without what neither prints nor separates, words are what white
    /// space separates.
    fn model(locale: Locale, text: &[u8]) -> (u64, u64, u64) {
        let characters: Vec<char> = match locale {
            Locale::C => text.iter().filter(|b| b.is_ascii()).map(|b| char::from(*b)).collect(),
            Locale::Utf8 => text.utf8_chunks().flat_map(|chunk| chunk.valid().chars()).collect(),
        };
        let is_space = |c: &char| {
            c.is_whitespace() && !"\u{85}\u{2028}\u{2029}".contains(*c) || *c == '\u{2060}'
        };
        let is_silent = |c: &char| c.is_control() || class_of(*c) == Class::Silent;
        let visible: Vec<char> =
            characters.into_iter().filter(|c| is_space(c) || !is_silent(c)).collect();
        let words = visible.split(is_space).filter(|word| !word.is_empty()).count();
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        (lines as u64, words as u64, text.len() as u64)
    }

    /// As measured with `wc` of coreutils 9.1, under LC_ALL=C and LC_ALL=C.UTF-8.
    #[test]
    fn known_texts() {
        let cases: [(&[u8], u64, u64); 9] = [
            (b"", 0, 0),
            (b"no newline", 2, 2),
            (b" \t\n\x0b\x0c\r\n", 0, 0),
            (b"\xff\xfe a\x01b \x01 \x02\x03\n\xa0x\n", 2, 2),
            ("это слово — word\n".as_bytes(), 1, 4),
            ("a\u{a0}b c\u{2003}d e\u{2060}f".as_bytes(), 3, 6),
            // Unassigned, line separator, an overlong slash, a surrogate, above the last character
            ("\u{378} \u{2028} x".as_bytes(), 1, 1),
            (b"\xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80 \xe2\x82 \x80", 0, 0),
            (b"\xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x82z", 1, 3),
        ];
        for (text, in_c, in_utf8) in cases {
            assert_eq!(count(Locale::C, text).1, in_c, "{text:x?}");
            assert_eq!(count(Locale::Utf8, text).1, in_utf8, "{text:x?}");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let letters = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            prop::sample::select(vec![" ", "x", "\n", "\u{2003}", "—"])
                .prop_map(|letter| letter.as_bytes().to_vec()),
        ];
        prop::collection::vec(letters, 0..100).prop_map(|letters| letters.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_counts_like_the_model(text in text()) {
            for locale in [Locale::C, Locale::Utf8] {
                prop_assert_eq!(count(locale, &text), model(locale, &text));
            }
        }

        #[test]
        fn pieces_do_not_matter(text in text(), at in any::<prop::sample::Index>()) {
            for locale in [Locale::C, Locale::Utf8] {
                let (left, right) = text.split_at(at.index(text.len() + 1));
                let mut counter = Counter::new(locale);
                counter.count(left);
                counter.count(right);
                let mut whole = Counter::new(locale);
                whole.count(&text);
                prop_assert_eq!(counter.counts(), whole.counts());
            }
        }
    }
}
