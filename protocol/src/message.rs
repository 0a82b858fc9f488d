//! The message tag and the typed items of a message.

use crate::{Word, flexpage::Flexpage};

/// Describes a message: from the lowest bit `words (6) | items (6) | flags (4) | label (rest,
/// signed)`. Negative labels are the kernel's own protocols and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MessageTag(pub Word);

const ITEMS_SHIFT: u32 = 6;
const COUNT_MASK: Word = 0x3f;
const ERROR_FLAG: Word = 1 << 15;
const LABEL_SHIFT: u32 = 16;

impl MessageTag {
    /// A message of `words` untyped words, then `items` typed items of two words each.
    pub const fn new(label: isize, words: usize, items: usize) -> Self {
        Self(
            (label as Word) << LABEL_SHIFT
                | (items & COUNT_MASK) << ITEMS_SHIFT
                | (words & COUNT_MASK),
        )
    }

    /// What the kernel returns when the IPC itself failed; the UTCB's error word says why.
    pub const fn ipc_error() -> Self {
        Self(ERROR_FLAG)
    }

    /// Number of untyped words, from message register 0 on.
    pub const fn words(self) -> usize {
        self.0 & COUNT_MASK
    }

    /// Number of typed items; they follow the untyped words.
    pub const fn items(self) -> usize {
        self.0 >> ITEMS_SHIFT & COUNT_MASK
    }

    /// The protocol or, in a reply, zero for success and a negative error.
    pub const fn label(self) -> isize {
        (self.0 as isize) >> LABEL_SHIFT
    }

    /// Whether the kernel, not the partner, produced this tag because the IPC failed.
    pub const fn is_ipc_error(self) -> bool {
        self.0 & ERROR_FLAG != 0
    }

    /// The tag in 64 bits with the same label, as trace records have it on every architecture.
    #[inline]
    pub const fn widened(self) -> u64 {
        self.0 as isize as i64 as u64
    }

    /// The tag as the kernel passes it on: a sender cannot forge the error flag.
    pub const fn without_flags(self) -> Self {
        Self(self.0 & !(0xf << 12))
    }
}

const MAP_ITEM: Word = 8;
const GRANT_FLAG: Word = 2;
const SEND_BASE_MASK: Word = !0xfff;

/// A typed item that maps or grants a flexpage: word 0 is the send base with flags in its lower
/// bits, word 1 the flexpage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapItem {
    /// Selects the place inside the larger of flexpage and window, in bytes for memory. For
    /// capabilities it is the index shifted left by 12. It says nothing about ports, which arrive
    /// where they are.
    pub send_base: Word,
    /// Whether the sender's own mapping moves to the receiver instead of being copied.
    pub grant: bool,
    /// What is sent.
    pub flexpage: Flexpage,
}

impl MapItem {
    /// An item that maps `flexpage` at `send_base`.
    pub const fn map(send_base: Word, flexpage: Flexpage) -> Self {
        Self { send_base, grant: false, flexpage }
    }

    /// An item that grants `flexpage` at `send_base`.
    pub const fn grant(send_base: Word, flexpage: Flexpage) -> Self {
        Self { send_base, grant: true, flexpage }
    }

    /// The two message words.
    pub const fn to_words(self) -> [Word; 2] {
        let grant = if self.grant { GRANT_FLAG } else { 0 };
        [self.send_base & SEND_BASE_MASK | grant | MAP_ITEM, self.flexpage.0]
    }

    /// Reads an item; `None` if the first word is not a map item's.
    #[inline]
    pub const fn from_words(words: [Word; 2]) -> Option<Self> {
        if words[0] & MAP_ITEM == 0 {
            return None;
        }
        Some(Self {
            send_base: words[0] & SEND_BASE_MASK,
            grant: words[0] & GRANT_FLAG != 0,
            flexpage: Flexpage(words[1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_fields_come_back() {
        for label in [-15, -2, 0, 1, 0x7fff] {
            let tag = MessageTag::new(label, 63, 31);
            assert_eq!((tag.label(), tag.words(), tag.items()), (label, 63, 31));
            assert!(!tag.is_ipc_error());
            assert_eq!(tag.widened() as i64 >> LABEL_SHIFT, label as i64);
            assert_eq!(tag.widened() as Word, tag.0);
        }
        assert!(MessageTag::ipc_error().is_ipc_error());
        assert!(!MessageTag(!0).without_flags().is_ipc_error());
    }

    /// The slide: a send base, then the flexpage. The base is a page address, so that flags fit
    /// below it; in the lower 32 bits of any word.
    #[test]
    fn an_item_is_a_send_base_with_flags_and_a_flexpage() {
        for (grant, flags) in [(false, 8), (true, 10)] {
            let item = MapItem { send_base: 0xbfff_f000, grant, flexpage: Flexpage(0x1234_5317) };
            let [base, flexpage] = item.to_words();
            assert_eq!((base as u32 >> 12, base as u32 & 0xfff), (0xb_ffff, flags));
            assert_eq!((base, flexpage), (0xbfff_f000 | flags as Word, 0x1234_5317));
        }
    }

    #[test]
    fn items_come_back_and_voids_are_refused() {
        let item = MapItem { send_base: 0x5000, grant: true, flexpage: Flexpage(0x1337) };
        assert_eq!(MapItem::from_words(item.to_words()), Some(item));
        assert_eq!(MapItem::from_words([0, 0x1337]), None);
    }
}
