//! Who called whom in a kernel that has panicked.

use crate::{
    memory::{GuestMemory, OutsideMemory, read_value},
    symbols::{Frame, Image, Location},
};
use protocol::introspection::last_words::{LastWords, REGISTERS};

/// Functions that are looked at.
pub const MOST_FRAMES: usize = 32;

/// How a processor numbers what a backtrace needs, and how large its words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// 32 bits.
    Ia32,
    /// 64 bits.
    Amd64,
}

impl Processor {
    /// Of an ELF machine number.
    pub fn of_machine(machine: u32) -> Option<Self> {
        match machine {
            3 => Some(Self::Ia32),
            62 => Some(Self::Amd64),
            _ => None,
        }
    }

    const fn stack_pointer(self) -> usize {
        match self {
            Self::Ia32 => 4,
            Self::Amd64 => 7,
        }
    }

    const fn instruction_pointer(self) -> usize {
        match self {
            Self::Ia32 => 8,
            Self::Amd64 => 16,
        }
    }
}

/// Where a kernel was that has left these last words, and who had called that: the innermost function first,
/// [`MOST_FRAMES`] at most.
pub fn backtrace<M: GuestMemory + ?Sized>(
    memory: &M,
    processor: Processor,
    words: &LastWords,
    kernel: &Image,
) -> Vec<Location> {
    let mut registers = words.registers;
    let instruction = |registers: &[u64; REGISTERS]| registers[processor.instruction_pointer()];
    let mut places = vec![kernel.locate(instruction(&registers))];
    let mut frame = kernel.frame(instruction(&registers));
    while let Some(callers) = frame.and_then(|frame| {
        let stack = Stack { memory, processor, words };
        stack.callers_registers(&registers, &frame)
    }) {
        registers = callers;
        let return_address = instruction(&registers);
        if places.len() == MOST_FRAMES || !kernel.has_code_at(return_address.wrapping_sub(1)) {
            break;
        }
        places.push(kernel.locate_call(return_address));
        frame = kernel.frame(return_address.wrapping_sub(1));
    }
    places
}

/// The kernel's stack. What it says about itself is not believed: memory is read where there is some.
struct Stack<'a, M: ?Sized> {
    memory: &'a M,
    processor: Processor,
    words: &'a LastWords,
}

impl<M: GuestMemory + ?Sized> Stack<'_, M> {
    /// The registers with which the caller goes on. `None` at the end of the stack.
    fn callers_registers(
        &self,
        registers: &[u64; REGISTERS],
        frame: &Frame,
    ) -> Option<[u64; REGISTERS]> {
        let base = registers.get(usize::from(frame.register))?;
        let end = base.checked_add_signed(frame.offset)?;
        let mut callers = *registers;
        for (register, offset) in &frame.saved {
            let place = callers.get_mut(usize::from(*register))?;
            *place = self.word(end.checked_add_signed(*offset)?)?;
        }
        callers[self.processor.stack_pointer()] = end;
        Some(callers)
    }

    fn word(&self, address: u64) -> Option<u64> {
        let LastWords { stack, stack_size, stack_end, .. } = *self.words;
        let offset = address.checked_sub(stack_end.checked_sub(stack_size)?)?;
        let physical = stack.checked_add(offset).filter(|_| offset < stack_size)?;
        let word: Result<u64, OutsideMemory> = match self.processor {
            Processor::Ia32 => read_value::<u32, M>(self.memory, physical).map(u64::from),
            Processor::Amd64 => read_value(self.memory, physical),
        };
        word.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Images,
        symbols::{ImageId, Lookup, Place},
        testing::small_elf,
    };
    use protocol::introspection::last_words::MESSAGE_LENGTH;
    use std::sync::Arc;

    const CODE: u64 = 0x40_0000;
    const STACK_END: u64 = 0xffff_8000_0000_1000;

    /// The same frame everywhere.
    #[derive(Debug)]
    struct Always(Frame);

    impl Lookup for Always {
        fn find(&self, _image: ImageId, _address: u64) -> Option<Place> {
            None
        }

        fn frame(&self, _image: ImageId, _address: u64) -> Option<Frame> {
            Some(self.0.clone())
        }
    }

    fn words(stack_pointer: u64) -> LastWords {
        let mut registers = [0; REGISTERS];
        (registers[7], registers[16]) = (stack_pointer, CODE);
        let message = [0; MESSAGE_LENGTH];
        let (stack, stack_size, stack_end) = (0x1000, 0x1000, STACK_END);
        LastWords { registers, stack, stack_size, stack_end, message_length: 0, message }
    }

    /// Of a kernel whose functions all have this frame, and whose stack is full of these words.
    fn of(frame: Frame, on_stack: u64, words: &LastWords) -> Vec<u64> {
        let mut images = Images::with_source_lines(Arc::new(Always(frame)));
        images.set_kernel(small_elf(CODE, "start"));
        let memory: Vec<u8> =
            [on_stack; 0x400].iter().flat_map(|word| word.to_le_bytes()).collect();
        let kernel = images.kernel().unwrap();
        let places = backtrace(&memory, Processor::Amd64, words, kernel);
        places.iter().map(|place| place.address).collect()
    }

    fn frame(offset: i64) -> Frame {
        Frame { register: 7, offset, saved: vec![(16, -8)] }
    }

    #[test]
    fn callers_are_found_up_to_the_end_of_the_stack() {
        let callers = of(frame(16), CODE + 5, &words(STACK_END - 48));
        assert_eq!(callers, [CODE, CODE + 5, CODE + 5, CODE + 5]);
    }

    #[test]
    fn a_backtrace_ends_where_there_is_no_code() {
        assert_eq!(of(frame(16), 1, &words(STACK_END - 48)), [CODE]);
        assert_eq!(of(frame(16), 0, &words(STACK_END - 48)), [CODE]);
    }

    #[test]
    fn frames_without_end_are_cut() {
        let callers = of(frame(0), CODE + 5, &words(STACK_END - 8));
        assert_eq!(callers.len(), MOST_FRAMES);
    }

    #[test]
    fn what_makes_no_sense_is_the_end() {
        let good = words(STACK_END - 48);
        for bad in [
            words(u64::MAX),
            words(0),
            words(STACK_END),
            LastWords { stack: u64::MAX, ..good },
            LastWords { stack: 0x10_0000, ..good },
            LastWords { stack_size: 0, ..good },
            LastWords { stack_end: 1, ..good },
            LastWords { stack_end: u64::MAX, stack_size: u64::MAX, stack: u64::MAX - 1, ..good },
        ] {
            assert_eq!(of(frame(16), CODE + 5, &bad), [CODE], "{bad:?}");
        }
        for bad in [
            Frame { register: 17, ..frame(16) },
            frame(i64::MAX),
            frame(i64::MIN),
            Frame { saved: vec![(17, -8)], ..frame(16) },
            Frame { saved: vec![(16, i64::MIN)], ..frame(16) },
            Frame { saved: vec![(16, i64::MAX)], ..frame(16) },
        ] {
            assert_eq!(of(bad.clone(), CODE + 5, &good), [CODE], "{bad:?}");
        }
    }
}
