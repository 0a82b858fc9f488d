//! The guest's console on standard output, line by line.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// Collects what the guest prints. Clones share it: one writes, another one sees to it that an
/// unfinished line does not wait for ever.
pub struct Console<W: Write> {
    shared: Arc<Mutex<Shared<W>>>,
}

struct Shared<W> {
    output: W,
    pending: Vec<u8>,
    // Once writing has failed, everything else is dropped, and the reader hears of it once.
    failure: Option<io::Error>,
    failed: bool,
}

/// Longer lines are written in pieces.
const LINE_MAX: usize = 4096;

impl<W: Write> Clone for Console<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<W: Write> Console<W> {
    /// A console that prints on `output`.
    pub fn new(output: W) -> Self {
        let shared = Shared { output, pending: Vec::new(), failure: None, failed: false };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Prints an unfinished line. The error, if printing has failed at any time, comes once.
    pub fn settle(&self) -> io::Result<()> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.print();
        shared.failure.take().map_or(Ok(()), Err)
    }
}

impl<W: Write> Shared<W> {
    fn print(&mut self) {
        if !self.failed && !self.pending.is_empty() {
            let result = self.output.write_all(&self.pending).and_then(|()| self.output.flush());
            if let Err(error) = result {
                self.failure = Some(error);
                self.failed = true;
            }
        }
        self.pending.clear();
    }
}

impl<W: Write> Write for Console<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.pending.extend(bytes);
        if bytes.contains(&b'\n') || shared.pending.len() >= LINE_MAX {
            shared.print();
        }
        Ok(bytes.len())
    }

    /// Does nothing: a serial port flushes after every byte.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps each write apart, and fails after some.
    #[derive(Clone, Default)]
    struct Output {
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
        room: Option<usize>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut writes = self.writes.lock().unwrap();
            if self.room == Some(writes.len()) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            writes.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_printed_whole() {
        let output = Output::default();
        let mut console = Console::new(output.clone());
        for byte in b"one\ntwo" {
            console.write_all(&[*byte]).unwrap();
            console.flush().unwrap();
        }
        assert_eq!(*output.writes.lock().unwrap(), [b"one\n"]);
        console.settle().unwrap();
        console.settle().unwrap();
        assert_eq!(*output.writes.lock().unwrap(), [b"one\n".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn endless_lines_are_printed_in_pieces() {
        let output = Output::default();
        let mut console = Console::new(output.clone());
        for _ in 0..LINE_MAX + 1 {
            console.write_all(b"x").unwrap();
        }
        assert_eq!(output.writes.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_reader_that_is_gone_is_reported_once_and_never_stops_the_guest() {
        let output = Output { room: Some(1), ..Output::default() };
        let mut console = Console::new(output);
        console.write_all(b"one\ntwo\nthree\n").unwrap();
        console.settle().unwrap();
        console.write_all(b"four\n").unwrap();
        console.write_all(b"five\n").unwrap();
        assert_eq!(console.settle().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        console.settle().unwrap();
    }
}
