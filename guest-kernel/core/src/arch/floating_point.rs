//! The area that FXSAVE stores a thread's floating-point state in.

use protocol::{
    Word,
    registers::{FLOATING_POINT_SIZE, MXCSR_MASK_OFFSET, MXCSR_OFFSET},
};

/// What the processor stores, and loads.
const IMAGE_WORDS: usize = (FLOATING_POINT_SIZE - 48) / size_of::<Word>();
/// What it leaves to software, and some software KVMs clear.
const UNUSED_WORDS: usize = 48 / size_of::<Word>();

/// x87 control word and MXCSR with all exceptions masked, as after reset.
const INITIAL_X87_CONTROL: Word = 0x37f;
const INITIAL_MXCSR: u32 = 0x1f80;

/// The bits of MXCSR where the processor does not say which it has (AMD64 manual volume 2, 11.5.7).
const DEFAULT_MXCSR_MASK: u32 = 0xffbf;

/// See [the module](self).
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct FloatingPoint {
    image: [Word; IMAGE_WORDS],
    unused: [Word; UNUSED_WORDS],
}

const _: () = assert!(size_of::<FloatingPoint>() == FLOATING_POINT_SIZE);

impl FloatingPoint {
    /// As it is before a thread first runs.
    pub fn new() -> Self {
        let mut image = [0; IMAGE_WORDS];
        image[0] = INITIAL_X87_CONTROL;
        let mut new = Self { image, unused: [0; UNUSED_WORDS] };
        new.set_half(MXCSR_OFFSET, INITIAL_MXCSR);
        new
    }

    /// A word of the state; what is none of it is 0.
    pub fn word(&self, number: usize) -> Word {
        self.image.get(number).copied().unwrap_or(0)
    }

    /// Sets a word of the state, so that the processor can load it: MXCSR gets no bits that it has not. Nobody
    /// but the processor says which these are.
    pub fn set_word(&mut self, number: usize, word: Word) {
        let mask = self.half(MXCSR_MASK_OFFSET);
        let Some(place) = self.image.get_mut(number) else { return };
        *place = word;
        self.set_half(MXCSR_MASK_OFFSET, mask);
        let possible = if mask == 0 { DEFAULT_MXCSR_MASK } else { mask };
        self.set_half(MXCSR_OFFSET, self.half(MXCSR_OFFSET) & possible);
    }

    /// Whether the processor can load it.
    #[cfg(test)]
    pub fn is_harmless(&self) -> bool {
        let mask = self.half(MXCSR_MASK_OFFSET);
        let possible = if mask == 0 { DEFAULT_MXCSR_MASK } else { mask };
        self.half(MXCSR_OFFSET) & !possible == 0 && self.unused == [0; UNUSED_WORDS]
    }

    /// The 32 bits at a byte.
    fn half(&self, offset: usize) -> u32 {
        (self.image[offset / size_of::<Word>()] >> shift(offset)) as u32
    }

    fn set_half(&mut self, offset: usize, half: u32) {
        let word = &mut self.image[offset / size_of::<Word>()];
        let these = (u32::MAX as Word) << shift(offset);
        *word = *word & !these | (half as Word) << shift(offset);
    }
}

impl Default for FloatingPoint {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the 32 bits at a byte begin in their word.
const fn shift(offset: usize) -> u32 {
    8 * (offset % size_of::<Word>()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::registers::FLOATING_POINT_WORDS;

    /// FXRSTOR faults if MXCSR has a bit that the processor has not.
    #[test]
    fn nothing_that_is_written_makes_the_processor_fault() {
        for (mask, possible) in [(0, DEFAULT_MXCSR_MASK), (0xffff, 0xffff), (0xffbf, 0xffbf)] {
            let mut state = FloatingPoint::new();
            assert_eq!(state.half(MXCSR_OFFSET), INITIAL_MXCSR);
            state.set_half(MXCSR_MASK_OFFSET, mask);
            (0..FLOATING_POINT_WORDS + 2).for_each(|number| state.set_word(number, Word::MAX));
            assert_eq!(state.half(MXCSR_OFFSET), possible);
            assert_eq!(state.half(MXCSR_MASK_OFFSET), mask, "it is the processor's");
            assert_eq!(state.unused, [0; UNUSED_WORDS]);
            assert_eq!(state.word(0), Word::MAX);
            assert_eq!(state.word(IMAGE_WORDS), 0, "that is none of it");
        }
    }
}
