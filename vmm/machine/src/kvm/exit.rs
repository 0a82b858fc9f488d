//! What the machine does when the guest leaves KVM: plain values in, plain values out.
//!
//! Nothing here knows KVM, so that tests feed every exit by hand.

use super::serial::Port;
use crate::{
    layout::{CONSOLE_PORT, CONSOLE_PORTS, EXIT_PORT, EXIT_STATUS_MAX},
    outcome::Cause,
};
use std::io::Write;
use vm_superio::Trigger;

/// Why the guest left KVM.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// It wrote to a port.
    PortWrite {
        /// The first port of each access.
        port: u16,
        /// Bytes of an access.
        size: usize,
        /// The bytes; the accesses of a string instruction one after the other.
        data: &'a [u8],
    },
    /// It reads from a port.
    PortRead {
        /// The first port of each access.
        port: u16,
        /// Bytes of an access.
        size: usize,
        /// To be filled; the accesses of a string instruction one after the other.
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

/// The devices of the machine that are not KVM's.
pub struct Devices<T: Trigger, W: Write> {
    console: Port<T, W>,
}

impl<T: Trigger, W: Write> Devices<T, W> {
    /// A machine whose console is this port.
    pub fn new(console: Port<T, W>) -> Self {
        Self { console }
    }

    /// Does what an exit asks for.
    pub fn handle(&mut self, exit: Exit<'_>) -> Next {
        match exit {
            Exit::PortWrite { port, size, data } => return self.write_ports(port, size, data),
            Exit::PortRead { port, size, data } => self.read_ports(port, size, data),
            // Where there is nothing, a PC's bus reads all ones and drops what is written.
            Exit::MemoryRead { data } => data.fill(0xFF),
            Exit::MemoryWrite | Exit::Nothing => {}
            Exit::Halt => return Next::Crash(Cause::Halted),
            Exit::Fatal(cause) => return Next::Crash(cause),
        }
        Next::Run
    }

    fn write_ports(&mut self, port: u16, size: usize, data: &[u8]) -> Next {
        for (port, byte) in ports(port, size).zip(data) {
            if port == Some(EXIT_PORT) {
                return Next::Exit((*byte).min(EXIT_STATUS_MAX));
            }
            if let Some(register) = port.and_then(console_register) {
                // The guest can't help it if the console's reader is gone; whoever gave us the
                // writer hears of it there.
                let _ = self.console.registers().write(register, *byte);
            }
        }
        Next::Run
    }

    fn read_ports(&mut self, port: u16, size: usize, data: &mut [u8]) {
        for (port, byte) in ports(port, size).zip(data) {
            let register = port.and_then(console_register);
            *byte = register.map_or(0xFF, |register| self.console.registers().read(register));
        }
    }
}

/// The port of each byte: as on a PC's bus, byte `i` of an access is that of port `port + i`, if
/// there is one. The next access of a string instruction begins at the same port.
fn ports(port: u16, size: usize) -> impl Iterator<Item = Option<u16>> {
    (0..size).map(move |offset| port.checked_add(offset as u16)).cycle()
}

fn console_register(port: u16) -> Option<u8> {
    let register = port.checked_sub(CONSOLE_PORT)?;
    (register < CONSOLE_PORTS).then_some(register as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::InternalError;
    use std::{convert::Infallible, io};

    /// Nobody hears interrupts here.
    struct Unheard;

    impl Trigger for Unheard {
        type E = Infallible;

        fn trigger(&self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    fn with<W: Write>(output: W) -> Devices<Unheard, W> {
        Devices::new(Port::new(Unheard, output))
    }

    fn write<W: Write>(devices: &mut Devices<Unheard, W>, port: u16, data: &[u8]) -> Next {
        devices.handle(Exit::PortWrite { port, size: data.len(), data })
    }

    fn read<W: Write>(devices: &mut Devices<Unheard, W>, port: u16) -> u8 {
        let [byte] = read_many(devices, port, 1);
        byte
    }

    fn read_many<W: Write, const N: usize>(
        devices: &mut Devices<Unheard, W>,
        port: u16,
        size: usize,
    ) -> [u8; N] {
        let mut data = [0; N];
        assert_eq!(devices.handle(Exit::PortRead { port, size, data: &mut data }), Next::Run);
        data
    }

    #[test]
    fn the_console_prints_what_is_written_to_its_data_register() {
        let mut output = Vec::new();
        let mut devices = with(&mut output);
        for byte in b"hello" {
            assert_eq!(write(&mut devices, 0x3F8, &[*byte]), Next::Run);
        }
        assert_eq!(output, b"hello");
    }

    #[test]
    fn the_console_is_always_ready() {
        let mut devices = with(io::sink());
        assert_eq!(read(&mut devices, 0x3FD) & 0x20, 0x20);
    }

    #[test]
    fn programming_the_console_prints_nothing() {
        let mut output = Vec::new();
        let mut devices = with(&mut output);
        for (port, value) in [(0x3F9, 0), (0x3FB, 0x80), (0x3F8, 1), (0x3F9, 0), (0x3FB, 3)] {
            assert_eq!(write(&mut devices, port, &[value]), Next::Run);
        }
        assert_eq!(output, b"");
    }

    #[test]
    fn each_byte_of_an_access_has_its_own_port() {
        let mut output = Vec::new();
        let mut devices = with(&mut output);
        // The scratch register is the last one; nothing is behind it.
        assert_eq!(write(&mut devices, 0x3FF, &[0x5A, 0x11]), Next::Run);
        let status = read(&mut devices, 0x3FE);
        assert_eq!(read_many(&mut devices, 0x3FE, 2), [status, 0x5A]);
        assert_eq!(read_many(&mut devices, 0x3FE, 4), [status, 0x5A, 0xFF, 0xFF]);
        assert_eq!(write(&mut devices, 0x3FE, &[0, 0xA5]), Next::Run);
        assert_eq!(read(&mut devices, 0x3FF), 0xA5);
        // Only the first byte is data; the other one disables interrupts.
        assert_eq!(write(&mut devices, 0x3F8, b"x\0"), Next::Run);
        assert_eq!(write(&mut devices, 0x3F7, b"-y"), Next::Run);
        assert_eq!(write(&mut devices, 0xF3, &[7, 9]), Next::Exit(9));
        assert_eq!(output, b"xy");
        let mut devices = with(io::sink());
        assert_eq!(read_many(&mut devices, 0xFFFF, 2), [0xFF; 2]);
    }

    #[test]
    fn a_string_instruction_repeats_its_access() {
        let mut output = Vec::new();
        let mut devices = with(&mut output);
        let bytes = Exit::PortWrite { port: 0x3F8, size: 1, data: b"hello" };
        assert_eq!(devices.handle(bytes), Next::Run);
        let words = Exit::PortWrite { port: 0x3F8, size: 2, data: b"w\0o\0" };
        assert_eq!(devices.handle(words), Next::Run);
        assert_eq!(write(&mut devices, 0x3FF, &[0x5A]), Next::Run);
        assert_eq!(read_many(&mut devices, 0x3FF, 1), [0x5A; 3]);
        assert_eq!(read_many(&mut devices, 0x3FF, 2), [0x5A, 0xFF, 0x5A, 0xFF]);
        assert_eq!(output, b"hellowo");
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
        assert_eq!(write(&mut with(Gone), 0x3F8, b"x"), Next::Run);
    }

    #[test]
    fn the_exit_port_ends_the_machine_with_its_byte() {
        let mut devices = with(io::sink());
        assert_eq!(write(&mut devices, 0xF4, &[0]), Next::Exit(0));
        assert_eq!(write(&mut devices, 0xF4, &[42, 1, 2, 3]), Next::Exit(42));
        assert_eq!(write(&mut devices, 0xF4, &[200]), Next::Exit(127));
    }

    #[test]
    fn unknown_ports_are_harmless() {
        let mut devices = with(io::sink());
        for port in [0, 0x21, 0xA1, 0x3F7, 0x400, 0xFFFF] {
            assert_eq!(write(&mut devices, port, &[1, 2, 3, 4]), Next::Run);
            assert_eq!(read(&mut devices, port), 0xFF);
        }
    }

    #[test]
    fn memory_without_ram_reads_all_ones() {
        let mut devices = with(io::sink());
        let mut data = [0; 8];
        assert_eq!(devices.handle(Exit::MemoryRead { data: &mut data }), Next::Run);
        assert_eq!(data, [0xFF; 8]);
        assert_eq!(devices.handle(Exit::MemoryWrite), Next::Run);
    }

    #[test]
    fn what_kvm_cannot_continue_is_a_crash() {
        let mut devices = with(io::sink());
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
