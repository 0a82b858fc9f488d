//! The console: a 16550 serial port at its traditional address.

use crate::arch::processor::{read_port, write_port};
use core::fmt;

const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// How often the status is read before a byte is sent anyway: a console that never gets ready must
/// not stop the kernel.
const PATIENCE: u32 = 10_000;

/// Writes bytes, waiting until the port takes each one.
#[derive(Debug)]
pub struct Console;

impl Console {
    /// Sends one byte.
    pub fn write_byte(&mut self, byte: u8) {
        for _ in 0..PATIENCE {
            // SAFETY: reading the line status of a serial port has no effect on memory.
            if unsafe { read_port(LINE_STATUS) } & TRANSMITTER_EMPTY != 0 {
                break;
            }
        }
        // SAFETY: sending a byte has no effect on memory.
        unsafe { write_port(DATA, byte) }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.write_byte(byte);
        }
        Ok(())
    }
}
