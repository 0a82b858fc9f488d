//! The messages that the kernel sends on behalf of a faulting thread.

use crate::{Word, flexpage::Flexpage, message::MessageTag, object::label, registers::Registers};
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
        /// Not memory but an I/O port was accessed (only in trace records; ports have a message of
        /// their own, [`PortFault`]).
        const PORT = 8;
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

/// Which bits of word 0 hold access flags.
const ACCESS_MASK: Word = access_mask(Word::BITS);

/// Two flags on the lecture's 32-bit machine, three where the word has a bit to spare.
const fn access_mask(word_bits: u32) -> Word {
    if word_bits == 64 { 7 } else { 3 }
}

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
        [self.word0(ACCESS_MASK), self.instruction]
    }

    const fn word0(self, access_mask: Word) -> Word {
        self.address & !access_mask | self.access.bits() as Word & access_mask
    }

    /// Reads the two message words.
    #[inline]
    pub const fn from_words(words: [Word; 2]) -> Self {
        Self::from_word0(words[0], words[1], ACCESS_MASK)
    }

    const fn from_word0(word: Word, instruction: Word, access_mask: Word) -> Self {
        let access = Access::from_bits_truncate((word & access_mask) as u8);
        Self { address: word & !access_mask, instruction, access }
    }
}

/// An access to I/O ports that the task may not use, as its pager sees it: two words with the label
/// [`label::PORT_FAULT`]. The pager answers as to a page fault, with an item of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFault {
    /// The smallest flexpage of ports that holds all of the access.
    pub ports: Flexpage,
    /// The instruction.
    pub instruction: Word,
}

impl PortFault {
    /// The tag of the message.
    pub const TAG: MessageTag = MessageTag::new(label::PORT_FAULT, 2, 0);

    /// The message words.
    pub const fn to_words(self) -> [Word; 2] {
        [self.ports.0, self.instruction]
    }

    /// Reads the message words.
    pub const fn from_words(words: [Word; 2]) -> Self {
        Self { ports: Flexpage(words[0]), instruction: words[1] }
    }
}

/// What reaches a thread's exception handler beside the processor's own exceptions, by
/// [`Exception::vector`]. Their error code is 0, and the instruction pointer is that of what comes next.
pub mod vector {
    use crate::Word;

    /// A [foreign](crate::operation::thread::Modify) thread has made the kernel's own system call: `syscall`
    /// on `amd64`, `int 0x30` on `ia32`.
    pub const SYSTEM_CALL: Word = 0x30;
    /// A foreign thread has made another system's call by `int 0x80`.
    pub const INTERRUPT_80: Word = 0x80;
    /// Somebody has asked for it ([`ExRegsFlags::TRIGGER`](crate::operation::thread::ExRegsFlags::TRIGGER)).
    pub const TRIGGERED: Word = 255;
}

/// Any other exception, sent to the thread's exception handler with the label [`label::EXCEPTION`]: words
/// `vector, error code`, then the [registers](Registers), of which the first two are instruction and stack
/// pointer.
///
/// An answer with label 0 lets the thread go on, any other one leaves it stopped. If the answer has as many
/// words as the message, the thread goes on with the registers that it says (vector and error code are
/// not looked at); with any other number of words, none for one, they stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The processor's exception number, or one of [`vector`].
    pub vector: Word,
    /// The processor's error code, 0 if it has none.
    pub error_code: Word,
    /// The registers then.
    pub registers: Registers,
}

impl Exception {
    /// The tag of the message.
    pub const TAG: MessageTag = MessageTag::new(label::EXCEPTION, Self::WORDS, 0);

    /// How many words.
    pub const WORDS: usize = Self::FIRST_REGISTER + Registers::WORDS;

    /// Where the registers begin.
    pub const FIRST_REGISTER: usize = 2;

    /// The message words.
    pub fn to_words(self) -> [Word; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        [words[0], words[1]] = [self.vector, self.error_code];
        words[Self::FIRST_REGISTER..].copy_from_slice(&self.registers.to_words());
        words
    }

    /// Reads the message words.
    pub fn from_words(words: [Word; Self::WORDS]) -> Self {
        let [vector, error_code, registers @ ..] = words;
        Self { vector, error_code, registers: Registers::from_words(registers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Word = 0x4030_100c;

    fn fault(access: Access) -> PageFault {
        PageFault { address: ADDRESS, instruction: 0x40_02a1, access }
    }

    /// The slide: `fault address / 4 (30) | w | p`, in a word of 32 bits.
    #[test]
    fn word_zero_is_the_address_by_four_then_w_then_p() {
        let mask = access_mask(32);
        for (w, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let access = Access::from_bits_truncate(w << 1 | p);
            let word = fault(access).word0(mask);
            let fields = (word >> 2, word >> 1 & 1, word & 1);
            assert_eq!(fields, (ADDRESS / 4, w.into(), p.into()));
            let word = (ADDRESS / 4) << 2 | Word::from(w) << 1 | Word::from(p);
            assert_eq!(PageFault::from_word0(word, 0x40_02a1, mask), fault(access));
        }
        // There is no room for an execute flag.
        assert_eq!(fault(Access::EXECUTE).word0(mask), ADDRESS);
    }

    /// Widened: `fault address / 8 (61) | x | w | p`.
    #[test]
    fn a_word_of_64_bits_has_an_execute_flag_too() {
        let mask = access_mask(64);
        for bits in 0..8 {
            let access = Access::from_bits_truncate(bits);
            let word = fault(access).word0(mask);
            assert_eq!((word >> 3, word & 7), (ADDRESS / 8, bits.into()));
            let read = PageFault::from_word0(word, 0, mask);
            assert_eq!((read.address, read.access), (ADDRESS & !7, access));
        }
    }

    #[test]
    fn word_one_is_the_instruction() {
        let [word0, word1] = fault(Access::WRITE).to_words();
        assert_eq!(word1, 0x40_02a1);
        assert_eq!(PageFault::from_words([word0, word1]).instruction, 0x40_02a1);
    }

    /// What handlers have always read stands first.
    #[test]
    fn an_exception_begins_with_vector_error_instruction_and_stack() {
        let registers = Registers { instruction: 3, stack: 4, flags: 5, ..Registers::default() };
        let exception = Exception { vector: 1, error_code: 2, registers };
        let words = exception.to_words();
        assert_eq!(words[..5], [1, 2, 3, 4, 5]);
        assert_eq!(Exception::from_words(words), exception);
    }
}
