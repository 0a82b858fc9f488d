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
