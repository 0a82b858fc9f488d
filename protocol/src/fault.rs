//! The messages that the kernel sends on behalf of a faulting thread.

use crate::{Word, message::MessageTag, object::label};
use bitflags::bitflags;

bitflags! {
    /// How memory was accessed when the fault happened.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u8 {
        /// `p`: a page was present, its rights did not suffice.
        const PRESENT = 1;
        /// `w`: the access was a write.
        const WRITE = 2;
        /// The access was an instruction fetch (the CPU reports this only where pages have an
        /// execute right: not on `ia32`).
        const EXECUTE = 4;
    }
}

impl Access {
    /// `R`, `W` or `X`.
    pub const fn letter(self) -> char {
        if self.contains(Self::EXECUTE) {
            'X'
        } else if self.contains(Self::WRITE) {
            'W'
        } else {
            'R'
        }
    }
}

/// Which bits of word 0 hold access flags: two on the lecture's 32-bit machine, three where the
/// word has a bit to spare.
const ACCESS_MASK: Word = if Word::BITS == 64 { 7 } else { 3 };

/// A page fault as its pager sees it: two words with the label [`label::PAGE_FAULT`].
///
/// Lecture, "Page-fault IPC": word 0 is `fault address / 4 (30) | w | p`, word 1 the faulting
/// instruction pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The address, without the bits that the access flags take.
    pub address: Word,
    /// The faulting instruction.
    pub instruction: Word,
    /// What was tried.
    pub access: Access,
}

impl PageFault {
    /// The tag of the message.
    pub const TAG: MessageTag = MessageTag::new(label::PAGE_FAULT, 2, 0);

    /// The two message words.
    #[inline]
    pub const fn to_words(self) -> [Word; 2] {
        let access = self.access.bits() as Word & ACCESS_MASK;
        [self.address & !ACCESS_MASK | access, self.instruction]
    }

    /// Reads the two message words.
    #[inline]
    pub const fn from_words(words: [Word; 2]) -> Self {
        Self {
            address: words[0] & !ACCESS_MASK,
            instruction: words[1],
            access: Access::from_bits_truncate((words[0] & ACCESS_MASK) as u8),
        }
    }
}

/// Any other processor exception, sent to the thread's exception handler with the label
/// [`label::EXCEPTION`]: words `vector, error code, instruction pointer, stack pointer`.
/// An answer with label 0 lets the thread go on, any other one leaves it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The processor's exception number.
    pub vector: Word,
    /// The processor's error code, 0 if it has none.
    pub error_code: Word,
    /// The instruction that raised it.
    pub instruction: Word,
    /// The stack pointer then.
    pub stack: Word,
}

impl Exception {
    /// The tag of the message.
    pub const TAG: MessageTag = MessageTag::new(label::EXCEPTION, 4, 0);

    /// The message words.
    pub const fn to_words(self) -> [Word; 4] {
        [self.vector, self.error_code, self.instruction, self.stack]
    }

    /// Reads the message words.
    pub const fn from_words(words: [Word; 4]) -> Self {
        Self { vector: words[0], error_code: words[1], instruction: words[2], stack: words[3] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_zero_is_the_address_by_four_then_w_then_p() {
        let fault =
            PageFault { address: 0x4030_1008, instruction: 0x4002a1, access: Access::WRITE };
        let [word0, word1] = fault.to_words();
        assert_eq!((word0 >> 3 << 1, word0 >> 1 & 1, word0 & 1), (0x4030_1008 / 4, 1, 0));
        assert_eq!(word1, 0x4002a1);
        assert_eq!(PageFault::from_words([word0, word1]), fault);
        let protection = PageFault { access: Access::WRITE | Access::PRESENT, ..fault };
        assert_eq!(protection.to_words()[0], 0x4030_1008 | 3);
    }
}
