//! Text for people: `print!` and `println!`.

use crate::capability::CONSOLE;
use core::fmt::{self, Write};
use protocol::operation::console;

/// The most bytes of one message.
const MAX_BYTES: usize = console::Write::MAX_BYTES;

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {
        $crate::console::write(::core::format_args!($($argument)*))
    };
}

/// Prints to the console, then ends the line.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($argument)*)) };
}

/// Prints formatted text. It is collected so that each message to the console carries as much as
/// fits. Text for a task without a console is lost, as there is nobody to tell.
pub fn write(text: fmt::Arguments) {
    let mut batch = Batch { bytes: [0; MAX_BYTES], length: 0 };
    let _ = batch.write_fmt(text);
    batch.flush();
}

struct Batch {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Batch {
    fn flush(&mut self) {
        let _ = CONSOLE.write(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl Write for Batch {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Bytes, not characters: a character may be cut between two messages.
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.length == MAX_BYTES {
                self.flush();
            }
            let room = &mut self.bytes[self.length..];
            let (now, later) = rest.split_at(room.len().min(rest.len()));
            room[..now.len()].copy_from_slice(now);
            self.length += now.len();
            rest = later;
        }
        Ok(())
    }
}
