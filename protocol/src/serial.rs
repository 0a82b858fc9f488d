//! How the input of a serial line says where it ends: as terminals do.
//!
//! [`END`] ends it, [`IDLE`] means nothing. [`QUOTE`] before a byte says that this is meant as it is, so that
//! all bytes can be sent.

/// Control-D: the end of the input.
pub const END: u8 = 0x04;

/// Control-Q: nothing. The host sends one first, since what comes before the guest has set its port up may
/// be lost.
pub const IDLE: u8 = 0x11;

/// Control-V: the next byte is meant as it is.
pub const QUOTE: u8 = 0x16;

/// Whether a byte must be quoted to be meant as it is.
pub const fn needs_quote(byte: u8) -> bool {
    matches!(byte, END | IDLE | QUOTE)
}

/// What a byte of the line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A byte of the input.
    Byte(u8),
    /// Nothing yet.
    Nothing,
    /// The input has ended.
    End,
}

/// Reads a line byte by byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    is_quoted: bool,
}

impl Decoder {
    /// At the beginning of the input.
    pub const fn new() -> Self {
        Self { is_quoted: false }
    }

    /// What the next byte means.
    pub fn decode(&mut self, byte: u8) -> Decoded {
        if core::mem::take(&mut self.is_quoted) {
            return Decoded::Byte(byte);
        }
        match byte {
            END => Decoded::End,
            IDLE => Decoded::Nothing,
            QUOTE => {
                self.is_quoted = true;
                Decoded::Nothing
            }
            byte => Decoded::Byte(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_sent_quoted_or_not() {
        for byte in 0..=u8::MAX {
            let mut decoder = Decoder::new();
            if needs_quote(byte) {
                assert_eq!(decoder.decode(QUOTE), Decoded::Nothing);
            }
            assert_eq!(decoder.decode(byte), Decoded::Byte(byte));
            // What needs no quote may have one, as people type it.
            assert_eq!(decoder.decode(QUOTE), Decoded::Nothing);
            assert_eq!(decoder.decode(byte), Decoded::Byte(byte));
            assert_eq!(decoder.decode(END), Decoded::End);
        }
    }
}
