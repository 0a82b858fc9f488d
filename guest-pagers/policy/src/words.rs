//! Counting lines, words and bytes exactly like `wc` in the C locale.

/// What a byte does to the word around it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    /// It prints: it begins a word or continues one.
    Printing,
    /// White space: it ends a word.
    Space,
    /// Neither: `wc` passes over control characters and, in the C locale, over all bytes from 0x80.
    Silent,
}

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

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Newline characters.
    pub lines: u64,
    /// Runs of printing bytes that no white space interrupts.
    pub words: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counts a text that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    counts: Counts,
    is_in_word: bool,
}

impl Counter {
    /// Nothing counted yet.
    pub const fn new() -> Self {
        Self { counts: Counts { lines: 0, words: 0, bytes: 0 }, is_in_word: false }
    }

    /// Counts the next piece.
    pub fn count(&mut self, piece: &[u8]) {
        self.counts.bytes += piece.len() as u64;
        for byte in piece {
            self.counts.lines += u64::from(*byte == b'\n');
            match CLASSES[usize::from(*byte)] {
                Class::Printing => {
                    self.counts.words += u64::from(!self.is_in_word);
                    self.is_in_word = true;
                }
                Class::Space => self.is_in_word = false,
                Class::Silent => {}
            }
        }
    }

    /// What all pieces so far add up to.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(text: &[u8]) -> (u64, u64, u64) {
        let mut counter = Counter::new();
        counter.count(text);
        let Counts { lines, words, bytes } = counter.counts();
        (lines, words, bytes)
    }

    /// `wc`'s rule in one sentence: without the bytes that neither print nor separate, words are
    /// what white space separates.
    fn model(text: &[u8]) -> (u64, u64, u64) {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let visible: Vec<u8> =
            text.iter().copied().filter(|b| is_space(b) || b.is_ascii_graphic()).collect();
        let words = visible.split(is_space).filter(|word| !word.is_empty()).count();
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        (lines as u64, words as u64, text.len() as u64)
    }

    #[test]
    fn known_texts() {
        assert_eq!(count(b""), (0, 0, 0));
        assert_eq!(count(b"no newline"), (0, 2, 10));
        assert_eq!(count(b" \t\n\x0b\x0c\r\n"), (2, 0, 7));
        // As measured with `LC_ALL=C wc`.
        assert_eq!(count(b"\xff\xfe a\x01b \x01 \x02\x03\n\xa0x\n"), (2, 2, 15));
    }

    proptest! {
        #[test]
        fn it_counts_like_the_model(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(count(&text), model(&text));
        }

        #[test]
        fn pieces_do_not_matter(
            text in prop::collection::vec(prop_oneof![Just(b' '), Just(b'x'), any::<u8>()], 0..100),
            at in any::<prop::sample::Index>(),
        ) {
            let (left, right) = text.split_at(at.index(text.len() + 1));
            let mut counter = Counter::new();
            counter.count(left);
            counter.count(right);
            let mut whole = Counter::new();
            whole.count(&text);
            prop_assert_eq!(counter.counts(), whole.counts());
        }
    }
}
