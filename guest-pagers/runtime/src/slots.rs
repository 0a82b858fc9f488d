//! Slots of this task's capability table that are handed out when they are needed. Programs name those below
//! [`FIRST`] themselves.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use protocol::{
    Word,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
};

/// The first slot that is handed out.
pub const FIRST: CapabilityIndex = CapabilityIndex(512);

const BITS: usize = Word::BITS as usize;

/// Which slots nobody has: bit 0 of the first word is [`FIRST`].
static FREE: [AtomicUsize; (CAPABILITY_TABLE_SIZE - FIRST.0) / BITS] =
    [const { AtomicUsize::new(!0) }; (CAPABILITY_TABLE_SIZE - FIRST.0) / BITS];

/// A slot that nobody else has until it is given back; `None` if all are handed out.
#[inline]
pub fn take() -> Option<CapabilityIndex> {
    FREE.iter().zip(0..).find_map(|(word, number)| take_from(word, number * BITS))
}

#[inline(always)]
fn take_from(word: &AtomicUsize, first: usize) -> Option<CapabilityIndex> {
    loop {
        let free = word.load(Relaxed);
        if free == 0 {
            return None;
        }
        let without = free & (free - 1);
        if word.compare_exchange_weak(free, without, Relaxed, Relaxed).is_ok() {
            return Some(CapabilityIndex(FIRST.0 + first + free.trailing_zeros() as usize));
        }
    }
}

/// Gives a slot back that was taken, and is empty again.
#[inline]
pub fn give_back(slot: CapabilityIndex) {
    let number = slot.0 - FIRST.0;
    FREE[number / BITS].fetch_or(1 << (number % BITS), Relaxed);
}
