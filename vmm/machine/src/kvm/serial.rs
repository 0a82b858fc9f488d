//! The serial port of a machine of KVM's: its interrupt, and its input.

use crate::{input::Input, layout::SERIAL_INTERRUPT};
use kvm_ioctls::VmFd;
use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use vm_superio::{Serial, Trigger, serial::SerialEvents};
use vmm_sys_util::errno;

/// The port's line to the interrupt controllers.
pub struct Line(pub Arc<VmFd>);

impl Trigger for Line {
    type E = errno::Error;

    /// A pulse: the line is edge-triggered.
    fn trigger(&self) -> errno::Result<()> {
        self.0.set_irq_line(SERIAL_INTERRUPT.into(), true)?;
        self.0.set_irq_line(SERIAL_INTERRUPT.into(), false)
    }
}

/// Told when the guest has taken all that had come.
#[derive(Clone, Default)]
pub struct Taken(Arc<Condvar>);

impl SerialEvents for Taken {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.0.notify_one();
    }
}

/// A serial port that the guest's processor and the input share.
pub struct Port<T: Trigger, W: Write> {
    serial: Arc<Mutex<Serial<T, Taken, W>>>,
    taken: Taken,
}

impl<T: Trigger, W: Write> Clone for Port<T, W> {
    fn clone(&self) -> Self {
        Self { serial: Arc::clone(&self.serial), taken: self.taken.clone() }
    }
}

impl<T: Trigger, W: Write> Port<T, W> {
    /// A port that writes to `output`.
    pub fn new(line: T, output: W) -> Self {
        let taken = Taken::default();
        let serial = Serial::with_events(line, taken.clone(), output);
        Self { serial: Arc::new(Mutex::new(serial)), taken }
    }

    /// Its registers.
    pub fn registers(&self) -> MutexGuard<'_, Serial<T, Taken, W>> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts bytes into its queue, each as soon as there is room.
    fn receive(&self, bytes: &[u8]) {
        let mut rest = bytes;
        let mut serial = self.registers();
        while !rest.is_empty() {
            let room = serial.fifo_capacity().min(rest.len());
            if room == 0 {
                let waited = self.taken.0.wait(serial);
                serial = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // There is room. In loopback mode the line is cut, as that of a real port.
            let _ = serial.enqueue_raw_bytes(&rest[..room]);
            rest = &rest[room..];
        }
    }
}

impl<T: Trigger + Send + 'static, W: Write + Send + 'static> Port<T, W> {
    /// Lets the input come, in a thread of its own, which ends only with the input or the process.
    pub fn connect(&self, input: Input) -> io::Result<()> {
        let port = self.clone();
        let body = move || {
            input.send(|bytes| {
                port.receive(bytes);
                Ok(())
            });
        };
        thread::Builder::new().name("input".to_owned()).spawn(body).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    struct Counted(Arc<AtomicUsize>);

    impl Trigger for Counted {
        type E = Infallible;
        fn trigger(&self) -> Result<(), Infallible> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    const DATA: u8 = 0;
    const INTERRUPTS: u8 = 1;
    const STATUS: u8 = 5;

    #[test]
    fn nothing_is_lost_however_slowly_the_guest_reads() {
        let interrupts = Arc::new(AtomicUsize::new(0));
        let port = Port::new(Counted(Arc::clone(&interrupts)), io::sink());
        let bytes: Vec<u8> = (0..100_000).map(|number: u32| b'a' + (number % 23) as u8).collect();
        port.connect(Input::bytes(io::Cursor::new(bytes.clone()))).unwrap();
        port.registers().write(INTERRUPTS, 1).unwrap();
        let mut read = Vec::new();
        // Before it the byte that means nothing, behind it the end.
        while read.len() < bytes.len() + 2 {
            let mut serial = port.registers();
            if serial.read(STATUS) & 1 == 0 {
                drop(serial);
                thread::yield_now();
                continue;
            }
            read.push(serial.read(DATA));
        }
        assert_eq!(read[1..=bytes.len()], bytes);
        assert!(interrupts.load(Ordering::Relaxed) > 100, "{interrupts:?}");
    }
}
