//! What the machine does when the guest leaves KVM: plain values in, plain values out.
//!
//! Nothing here knows KVM, so that tests feed every exit by hand.

use crate::{
    layout::{CONSOLE_PORT, CONSOLE_PORTS, EXIT_PORT, EXIT_STATUS_MAX},
    outcome::Cause,
};
use std::{convert::Infallible, io::Write};
use vm_superio::{Serial, Trigger, serial::NoEvents};

/// Why the guest left KVM.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// It wrote to a port.
    PortWrite {
        /// The port.
        port: u16,
        /// The bytes; those of a string instruction one after the other.
        data: &'a [u8],
    },
    /// It reads from a port.
    PortRead {
        /// The port.
        port: u16,
        /// To be filled.
        data: &'a mut [u8],
    },
    /// It wrote where there is no RAM.
    MemoryWrite,
    /// It reads where there is no RAM.
    MemoryRead {
        /// To be filled.
        data: &'a mut [u8],
    },
    /// It waits for an interrupt that can never come.
    Halt,
    /// It cannot go on.
    Fatal(Cause),
    /// A signal, or nothing that concerns the guest.
    Nothing,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Back into the guest.
    Run,
    /// The guest asked for the end.
    Exit(u8),
    /// The guest cannot go on.
    Crash(Cause),
}

/// The console is polled: nobody hears its interrupts.
struct Unheard;

impl Trigger for Unheard {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The devices of the machine that are not KVM's.
pub struct Devices<W: Write> {
    console: Serial<Unheard, NoEvents, W>,
}

impl<W: Write> Devices<W> {
    /// A machine whose console writes to `output`.
    pub fn new(output: W) -> Self {
        Self { console: Serial::new(Unheard, output) }
    }

    /// Does what an exit asks for.
    pub fn handle(&mut self, exit: Exit<'_>) -> Next {
        match exit {
            Exit::PortWrite { port: EXIT_PORT, data } => {
                return Next::Exit(data.first().copied().unwrap_or(0).min(EXIT_STATUS_MAX));
            }
            Exit::PortWrite { port, data } => self.write_port(port, data),
            Exit::PortRead { port, data } => self.read_port(port, data),
            // Where there is nothing, a PC's bus reads all ones and drops what is written.
            Exit::MemoryRead { data } => data.fill(0xFF),
            Exit::MemoryWrite | Exit::Nothing => {}
            Exit::Halt => return Next::Crash(Cause::Halted),
            Exit::Fatal(cause) => return Next::Crash(cause),
        }
        Next::Run
    }

    fn write_port(&mut self, port: u16, data: &[u8]) {
        let Some(register) = console_register(port) else { return };
        for byte in data {
            // The guest can't help it if the console's reader is gone; whoever gave us the
            // writer hears of it there.
            let _ = self.console.write(register, *byte);
        }
    }

    fn read_port(&mut self, port: u16, data: &mut [u8]) {
        data.fill(0xFF);
        if let Some(register) = console_register(port) {
            data.fill_with(|| self.console.read(register));
        }
    }
}

fn console_register(port: u16) -> Option<u8> {
    let register = port.checked_sub(CONSOLE_PORT)?;
    (register < CONSOLE_PORTS).then_some(register as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::InternalError;
    use std::io;

    fn write<W: Write>(devices: &mut Devices<W>, port: u16, data: &[u8]) -> Next {
        devices.handle(Exit::PortWrite { port, data })
    }

    fn read<W: Write>(devices: &mut Devices<W>, port: u16) -> u8 {
        let mut data = [0];
        assert_eq!(devices.handle(Exit::PortRead { port, data: &mut data }), Next::Run);
        data[0]
    }

    #[test]
    fn the_console_prints_what_is_written_to_its_data_register() {
        let mut output = Vec::new();
        let mut devices = Devices::new(&mut output);
        assert_eq!(write(&mut devices, 0x3F8, b"h"), Next::Run);
        assert_eq!(write(&mut devices, 0x3F8, b"ello"), Next::Run);
        assert_eq!(output, b"hello");
    }

    #[test]
    fn the_console_is_always_ready() {
        let mut devices = Devices::new(io::sink());
        assert_eq!(read(&mut devices, 0x3FD) & 0x20, 0x20);
    }

    #[test]
    fn programming_the_console_prints_nothing() {
        let mut output = Vec::new();
        let mut devices = Devices::new(&mut output);
        for (port, value) in [(0x3F9, 0), (0x3FB, 0x80), (0x3F8, 1), (0x3F9, 0), (0x3FB, 3)] {
            assert_eq!(write(&mut devices, port, &[value]), Next::Run);
        }
        assert_eq!(output, b"");
    }

    #[test]
    fn a_console_nobody_reads_does_not_stop_the_guest() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(write(&mut Devices::new(Gone), 0x3F8, b"x"), Next::Run);
    }

    #[test]
    fn the_exit_port_ends_the_machine_with_its_byte() {
        let mut devices = Devices::new(io::sink());
        assert_eq!(write(&mut devices, 0xF4, &[0]), Next::Exit(0));
        assert_eq!(write(&mut devices, 0xF4, &[42, 1, 2, 3]), Next::Exit(42));
        assert_eq!(write(&mut devices, 0xF4, &[200]), Next::Exit(127));
    }

    #[test]
    fn unknown_ports_are_harmless() {
        let mut devices = Devices::new(io::sink());
        for port in [0, 0x21, 0xA1, 0x3F7, 0x400, 0xFFFF] {
            assert_eq!(write(&mut devices, port, &[1, 2, 3, 4]), Next::Run);
            assert_eq!(read(&mut devices, port), 0xFF);
        }
    }

    #[test]
    fn memory_without_ram_reads_all_ones() {
        let mut devices = Devices::new(io::sink());
        let mut data = [0; 8];
        assert_eq!(devices.handle(Exit::MemoryRead { data: &mut data }), Next::Run);
        assert_eq!(data, [0xFF; 8]);
        assert_eq!(devices.handle(Exit::MemoryWrite), Next::Run);
    }

    #[test]
    fn what_kvm_cannot_continue_is_a_crash() {
        let mut devices = Devices::new(io::sink());
        assert_eq!(devices.handle(Exit::Halt), Next::Crash(Cause::Halted));
        let cause = Cause::InternalError(Box::new(InternalError {
            suberror: 1,
            details: vec![0x10],
            instruction: vec![0x0F, 0x58, 0xC0],
        }));
        assert_eq!(devices.handle(Exit::Fatal(cause.clone())), Next::Crash(cause.clone()));
        assert_eq!(
            cause.to_string(),
            "KVM gave up: it could not emulate the instruction (KVM_EXIT_INTERNAL_ERROR, \
             suberror 1 0x10), bytes at rip: 0f 58 c0"
        );
        assert_eq!(devices.handle(Exit::Nothing), Next::Run);
    }
}
