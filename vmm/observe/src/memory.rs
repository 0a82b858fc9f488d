//! Guest memory as this crate sees it: bytes at physical addresses that change while one reads.

use std::sync::Arc;

/// Read access to the guest's physical memory. The guest may write it at the same time.
pub trait GuestMemory {
    /// Copies `bytes.len()` bytes from the physical `address` on.
    ///
    /// # Errors
    /// If any of them lies outside the guest's memory.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory>;
}

/// An address that the guest's structures name is not in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at physical address {address:#x} are not in the guest's memory")]
pub struct OutsideMemory {
    /// First byte that was asked for.
    pub address: u64,
    /// How many were asked for.
    pub length: usize,
}

/// Memory that stands still, from address 0 on.
impl GuestMemory for [u8] {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory { address, length: bytes.len() };
        let start = usize::try_from(address).map_err(|_| outside)?;
        let end = start.checked_add(bytes.len()).ok_or(outside)?;
        bytes.copy_from_slice(self.get(start..end).ok_or(outside)?);
        Ok(())
    }
}

impl GuestMemory for Vec<u8> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        self.as_slice().read(address, bytes)
    }
}

impl<M: GuestMemory + ?Sized> GuestMemory for &M {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        (**self).read(address, bytes)
    }
}

impl<M: GuestMemory + ?Sized> GuestMemory for Arc<M> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        (**self).read(address, bytes)
    }
}

/// Reads one plain value.
pub(crate) fn read_value<T, M>(memory: &M, address: u64) -> Result<T, OutsideMemory>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::FromZeros,
    M: GuestMemory + ?Sized,
{
    let mut value = T::new_zeroed();
    memory.read(address, value.as_mut_bytes())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_and_refuses_any_byte_outside() {
        let memory = vec![1, 2, 3, 4];
        let mut two = [0; 2];
        memory.read(2, &mut two).unwrap();
        assert_eq!(two, [3, 4]);
        for address in [3, 4, u64::MAX, u64::MAX - 1] {
            assert_eq!(memory.read(address, &mut two), Err(OutsideMemory { address, length: 2 }));
        }
        memory.read(4, &mut []).unwrap();
    }
}
