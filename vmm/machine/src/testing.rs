//! What tests of both engines need.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

/// A console whose contents outlive the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paper(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
