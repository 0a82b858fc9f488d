//! Machine code, put together piece by piece.

/// The longest code.
const LENGTH: usize = 96;

/// A function in machine code. It may do anything, and come back by `ret` or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Code {
    /// Comes back at once.
    pub const fn new() -> Self {
        Self { bytes: [0xc3; LENGTH], length: 0 }
    }

    /// Goes on with these bytes.
    pub fn then(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }

    /// All of it, with `ret` at the end.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..=self.length]
    }
}
