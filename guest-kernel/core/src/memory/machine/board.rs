//! What lies around the processor.

/// The console, and the switch. Neither can be misused: who may use them is for the kernel to decide.
pub trait Board {
    /// Writes a byte to the console.
    fn write_console(&mut self, byte: u8);

    /// Ends the machine. Where it cannot be ended this returns, and the kernel goes on.
    fn shut_down(&mut self, status: u8);
}
