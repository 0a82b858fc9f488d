//! What goes into the guest by its serial line.
//!
//! The line has no other way to say anything than its bytes, so it is as a terminal would have it
//! ([`protocol::serial`]): control-D ends the input. Where the bytes are not typed by somebody, those that
//! mean something are quoted. The first byte on the line means nothing: it may be lost while the guest
//! sets its end up.

use protocol::serial::{END, IDLE, QUOTE, needs_quote};
use std::{
    fmt,
    io::{self, Read},
};

/// Bytes that are read at once.
const PIECE: usize = 4096;

/// Where the input comes from.
pub struct Input {
    reader: Box<dyn Read + Send>,
    is_typed: bool,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("is_typed", &self.is_typed).finish_non_exhaustive()
    }
}

impl Input {
    /// Bytes that arrive as they are, and then their end.
    pub fn bytes(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), is_typed: false }
    }

    /// What somebody types, control characters included.
    pub fn typed(reader: impl Read + Send + 'static) -> Self {
        Self { reader: Box::new(reader), is_typed: true }
    }

    /// Sends all of it, piece by piece, for as long as that is wanted.
    pub(crate) fn send(mut self, mut send: impl FnMut(&[u8]) -> io::Result<()>) {
        // An error says that nobody wants to have it any more.
        let _ = send(&[IDLE]).and_then(|()| self.send_all(&mut send));
    }

    fn send_all(&mut self, send: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut read = [0; PIECE];
        let mut line = Vec::with_capacity(2 * PIECE);
        loop {
            let length = match self.reader.read(&mut read) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal that belongs to somebody else now: nobody types here.
                Err(error) if self.is_typed => return Err(error),
                // What cannot be read has ended.
                Ok(0) | Err(_) => return send(&[END]),
                Ok(length) => length,
            };
            line.clear();
            for byte in &read[..length] {
                if !self.is_typed && needs_quote(*byte) {
                    line.push(QUOTE);
                }
                line.push(*byte);
            }
            send(&line)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::serial::{Decoded, Decoder};

    fn sent(input: Input) -> Vec<u8> {
        let mut line = Vec::new();
        input.send(|bytes| {
            line.extend(bytes);
            Ok(())
        });
        line
    }

    /// What a guest makes of it that sees all, or not the first byte.
    fn decoded(line: &[u8]) -> (Vec<u8>, bool) {
        let (mut decoder, mut bytes) = (Decoder::new(), Vec::new());
        for byte in line {
            match decoder.decode(*byte) {
                Decoded::Byte(byte) => bytes.push(byte),
                Decoded::Nothing => {}
                Decoded::End => return (bytes, true),
            }
        }
        (bytes, false)
    }

    #[test]
    fn all_bytes_arrive_and_then_the_end_whether_or_not_the_first_one_is_lost() {
        let all: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE + 5).collect();
        for bytes in [&all[..], b"", &[IDLE], &[END], &[QUOTE, END]] {
            let line = sent(Input::bytes(io::Cursor::new(bytes.to_vec())));
            assert_eq!(decoded(&line), (bytes.to_vec(), true));
            assert_eq!(decoded(&line[1..]), (bytes.to_vec(), true));
        }
    }

    #[test]
    fn what_is_typed_means_what_it_does_on_a_terminal() {
        let line = sent(Input::typed(&b"a\x16\x04b\x04c"[..]));
        assert_eq!(line, b"\x11a\x16\x04b\x04c\x04");
        assert_eq!(decoded(&line), (b"a\x04b".to_vec(), true));
    }

    #[test]
    fn what_cannot_be_read_ends_unless_somebody_types() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        assert_eq!(sent(Input::bytes(Broken)), [IDLE, END]);
        assert_eq!(sent(Input::typed(Broken)), [IDLE]);
    }

    #[test]
    fn nothing_is_read_for_whoever_is_gone() {
        let mut calls = 0;
        Input::bytes(io::repeat(0)).send(|_| {
            calls += 1;
            if calls == 3 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        });
        assert_eq!(calls, 3);
    }
}
