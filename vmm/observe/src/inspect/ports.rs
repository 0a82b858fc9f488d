//! What the processor lets user code do with I/O ports: the bitmap behind its task state segment.

use crate::memory::{GuestMemory, OutsideMemory, read_value};
use protocol::introspection::{BITMAP_OFFSET_AT, NOBODY, PORT_BITMAP_SIZE, PortCache};

/// How often the bitmap is read anew while the kernel changes it.
const TRIES: u32 = 10;

/// The bitmap, and the state that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessorPorts {
    pub(super) cache: PortCache,
    /// Where the bitmap is in the task state segment, as that says.
    pub(super) offset: u16,
    /// The top-level page table that the processor works with.
    pub(super) root: u64,
    bitmap: Box<[u8; PORT_BITMAP_SIZE]>,
}

impl ProcessorPorts {
    /// Reads all of it until it is twice the same, so that it is of one moment.
    pub(super) fn read(memory: &dyn GuestMemory, address: u64) -> Result<Self, OutsideMemory> {
        let mut ports = Self::read_once(memory, address)?;
        for _ in 0..TRIES {
            let again = Self::read_once(memory, address)?;
            let is_settled = again == ports;
            ports = again;
            if is_settled {
                break;
            }
        }
        Ok(ports)
    }

    fn read_once(memory: &dyn GuestMemory, address: u64) -> Result<Self, OutsideMemory> {
        let cache: PortCache = read_value(memory, address)?;
        let mut bitmap = Box::new([0; PORT_BITMAP_SIZE]);
        memory.read(cache.bitmap, &mut bitmap[..])?;
        let offset_at = cache.task_state.saturating_add(BITMAP_OFFSET_AT);
        let offset = read_value(memory, offset_at)?;
        Ok(Self { cache, offset, root: read_value(memory, cache.loaded_root)?, bitmap })
    }

    /// The task whose ports the bitmap has.
    pub fn owner(&self) -> Option<u16> {
        (self.cache.owner != NOBODY).then_some(self.cache.owner)
    }

    /// Whether the processor goes by the bitmap at the moment. Else it forbids all ports.
    pub fn applies(&self) -> bool {
        u64::from(self.offset) < self.cache.task_state_size
    }

    /// Whether the bitmap allows a port.
    pub fn is_open(&self, port: u16) -> bool {
        self.bitmap[usize::from(port / 8)] >> (port % 8) & 1 == 0
    }

    /// The physical address of the byte with a port's bit.
    pub fn byte_at(&self, port: u16) -> u64 {
        self.cache.bitmap + u64::from(port / 8)
    }

    /// All ports that the bitmap allows.
    pub(super) fn open(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| self.is_open(*port))
    }
}
