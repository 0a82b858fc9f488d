//! The serial line's input.
//!
//! What comes is what a terminal sends: control-D is the end of the input, control-V says that the next byte is
//! meant as it is, and control-Q means nothing ([`protocol::serial`]).

use crate::{
    Result,
    capability::{Cap, FACTORY, Gate, Interrupt, THREAD},
    interrupt, ipc,
    owned::Owned,
    port::Port,
};
use protocol::{
    Word,
    serial::{Decoded, Decoder},
};

/// Where the registers of the first serial port (a 16550) are.
const BASE: u16 = 0x3f8;
const DATA: Port = Port(BASE);
const INTERRUPTS: Port = Port(BASE + 1);
const QUEUES: Port = Port(BASE + 2);
const MODEM: Port = Port(BASE + 4);
const STATUS: Port = Port(BASE + 5);

/// In [`INTERRUPTS`]: raised when there is a byte to be read.
const ON_DATA: u8 = 1;
/// In [`QUEUES`]: received bytes queue, and 14 of them raise the interrupt, or fewer a little later.
const QUEUE: u8 = 0b1100_0001;
/// In [`MODEM`]: ready to receive, and interrupts go out.
const READY: u8 = 0b1011;
/// In [`STATUS`]: there is a byte to be read.
const HAS_DATA: u8 = 1;

/// The serial line, whose ports and interrupt this program has, and a gate by which the interrupt comes.
#[derive(Debug)]
pub struct Input {
    interrupt: Cap<Interrupt>,
    /// Lives as long as messages are to come.
    _gate: Owned<Gate>,
    decoder: Decoder,
    has_ended: bool,
}

impl Input {
    /// Sets the line up. Its interrupt arrives at this program's first thread, under this label.
    ///
    /// # Errors
    /// If this program has no factory, or not the interrupt.
    pub fn new(interrupt: Cap<Interrupt>, label: Word) -> Result<Self> {
        let gate = FACTORY.create_gate(label, THREAD)?;
        interrupt.bind(*gate)?;
        // What has come already is lost with that: one byte at most, as there was no queue.
        QUEUES.write(QUEUE);
        MODEM.write(READY);
        INTERRUPTS.write(ON_DATA);
        Ok(Self { interrupt, _gate: gate, decoder: Decoder::new(), has_ended: false })
    }

    /// Waits until there is something to read, and reads what is there. 0 bytes: the input has ended.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        loop {
            // Whatever comes from here on is told, and what came before is there to be read.
            self.interrupt.unmask()?;
            let length = self.take(bytes);
            if length != 0 || self.has_ended || bytes.is_empty() {
                return Ok(length);
            }
            while !interrupt::is_meant(ipc::wait()?.tag) {}
        }
    }

    /// Takes what is there, as far as there is room.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let mut length = 0;
        while length < bytes.len() && !self.has_ended && STATUS.read() & HAS_DATA != 0 {
            match self.decoder.decode(DATA.read()) {
                Decoded::Byte(byte) => {
                    bytes[length] = byte;
                    length += 1;
                }
                Decoded::Nothing => {}
                Decoded::End => self.has_ended = true,
            }
        }
        length
    }
}
