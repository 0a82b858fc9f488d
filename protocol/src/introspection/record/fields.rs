//! The parts of a record that have another meaning for each kind of event.

use super::Ids;
use crate::{
    boot::{pad_name, trim_name},
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::NAME_LENGTH,
    message::MessageTag,
};

/// What a record has of an event. What an event does not use is zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    pub(super) flags: u8,
    pub(super) order: u8,
    pub(super) other: u8,
    pub(super) words: [u64; 5],
}

impl Fields {
    /// Only words.
    pub(super) const fn words(words: [u64; 5]) -> Self {
        Self { flags: 0, order: 0, other: 0, words }
    }
}

/// Two halves of a word.
#[inline(always)]
pub(super) const fn halves(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The lower half.
pub(super) const fn low(word: u64) -> u32 {
    word as u32
}

/// The upper half.
pub(super) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Ids in the lower half.
pub(super) const fn low_ids(word: u64) -> Ids {
    Ids::from_bits(low(word))
}

/// Ids in the upper half.
pub(super) const fn high_ids(word: u64) -> Ids {
    Ids::from_bits(high(word))
}

/// A flexpage, which has the same bits on both architectures.
pub(super) const fn flexpage(word: u64) -> Flexpage {
    Flexpage(word as usize)
}

/// A tag, which records have [widened](MessageTag::widened).
pub(super) const fn tag(word: u64) -> MessageTag {
    MessageTag(word as usize)
}

/// The rights in the lowest bits.
pub(super) const fn rights(bits: u8) -> Rights {
    Rights::from_bits_truncate(bits)
}

/// How something was accessed.
pub(super) const fn access(bits: u8) -> Access {
    Access::from_bits_truncate(bits)
}

/// The bit if that is so.
#[inline(always)]
pub(super) const fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

const HALF: usize = NAME_LENGTH / 2;

/// A name as two words.
pub(super) fn name_words(name: [u8; NAME_LENGTH]) -> [u64; 2] {
    [0, HALF].map(|start| {
        let mut bytes = [0; HALF];
        bytes.copy_from_slice(&name[start..start + HALF]);
        u64::from_le_bytes(bytes)
    })
}

/// The name that is two words, without what may be behind its end.
pub(super) fn name(words: [u64; 2]) -> [u8; NAME_LENGTH] {
    let mut name = [0; NAME_LENGTH];
    for (half, word) in name.chunks_mut(HALF).zip(words) {
        half.copy_from_slice(&word.to_le_bytes());
    }
    pad_name(trim_name(&name))
}
