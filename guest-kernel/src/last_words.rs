//! What the kernel leaves in memory when it panics: where it was, and why.

use crate::{
    arch::{self, STACK_END, STACK_PAGES, direct_map},
    trace_ring,
};
use core::{
    fmt::{self, Write},
    panic::PanicInfo,
};
use protocol::{
    PAGE_SIZE,
    introspection::last_words::{LastWords, MESSAGE_LENGTH, REGISTERS},
};

/// Registers by the numbers that DWARF gives them.
pub type Registers = [u64; REGISTERS];

static mut LAST_WORDS: LastWords = LastWords {
    registers: [0; REGISTERS],
    stack: 0,
    stack_size: (STACK_PAGES * PAGE_SIZE) as u64,
    stack_end: STACK_END as u64,
    message_length: 0,
    message: [0; MESSAGE_LENGTH],
};

unsafe extern "C" {
    #[link_name = "KERNEL_STACK"]
    static STACK: u8;
}

fn last_words() -> &'static mut LastWords {
    let words = &raw mut LAST_WORDS;
    // SAFETY: one processor, interrupts off; the functions below use it one after the other.
    unsafe { &mut *words }
}

/// Notes the registers of who was interrupted by what the kernel cannot go on after.
pub fn note_registers(registers: Registers) {
    last_words().registers = registers;
}

/// Leaves a panic's message, and the registers of now unless others were noted.
pub fn leave(info: &PanicInfo) {
    let words = last_words();
    if words.registers.iter().all(|register| *register == 0) {
        words.registers = arch::registers();
    }
    words.stack = direct_map::physical_in_image(&raw const STACK).0;
    // What there is no room for is left out.
    let _ = write_message(&mut Message(words), info);
    trace_ring::mark_panicked(direct_map::physical_in_image(words));
}

/// Writes a panic's message, and where in the source it came from.
pub fn write_message(to: &mut impl Write, info: &PanicInfo) -> fmt::Result {
    write!(to, "{}", info.message())?;
    match info.location() {
        Some(location) => write!(to, " ({}:{})", location.file(), location.line()),
        None => Ok(()),
    }
}

struct Message<'a>(&'a mut LastWords);

impl Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Self(words) = self;
        let length = words.message_length as usize;
        let room = words.message.get_mut(length..).unwrap_or_default();
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        words.message_length += fits as u64;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
