//! I/O ports, for drivers. The ports of a program stand in the manifest; they come, like pages, when they
//! are used for the first time.

use crate::arch;

/// One port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl Port {
    /// Reads a byte. Faults if this program does not have the port.
    pub fn read(self) -> u8 {
        arch::port_in(self.0)
    }

    /// Writes a byte. Faults if this program does not have the port.
    pub fn write(self, value: u8) {
        arch::port_out(self.0, value);
    }
}
