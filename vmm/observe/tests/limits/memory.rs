//! Guest memory that counts how often it is read.

use observe::{GuestMemory, OutsideMemory};
use std::cell::Cell;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// RAM that begins with these bytes; the rest is zero and takes no memory.
pub struct Ram {
    pub bytes: Vec<u8>,
    size: u64,
    reads: Cell<u64>,
}

impl Ram {
    /// RAM of `size` bytes, of which the first `written` can be written.
    pub fn new(size: u64, written: u64) -> Self {
        Self { bytes: vec![0; written as usize], size, reads: Cell::new(0) }
    }

    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, address: u64, value: &T) {
        let bytes = value.as_bytes();
        self.bytes[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub fn get<T: FromZeros + IntoBytes + zerocopy::FromBytes>(&self, address: u64) -> T {
        let mut value = T::new_zeroed();
        let size = size_of::<T>();
        value.as_mut_bytes().copy_from_slice(&self.bytes[address as usize..][..size]);
        value
    }

    /// How often it was read since the last time.
    pub fn reads(&self) -> u64 {
        self.reads.take()
    }
}

impl GuestMemory for Ram {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        self.reads.set(self.reads.get() + 1);
        let length = bytes.len();
        if address.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(OutsideMemory { address, length });
        }
        let there = self.bytes.get(address as usize..).unwrap_or_default();
        let there = &there[..there.len().min(length)];
        bytes[..there.len()].copy_from_slice(there);
        bytes[there.len()..].fill(0);
        Ok(())
    }
}
