//! Slide "Flexpage types": I/O ports are resources like pages. Who uses one that he has not got faults,
//! and his pager answers with a flexpage of ports, or refuses.
//!
//! The port is the scratch register of the first serial interface: it keeps what is written to it.

use runtime::{port::Port, println};

const SCRATCH: Port = Port(0x3ff);

/// The manifest names the port for it.
pub fn driver() {
    for value in [0x5a, 0xa5] {
        SCRATCH.write(value);
        assert_eq!(SCRATCH.read(), value);
        println!("driver: wrote {value:#x} to port 0x3ff and read it back");
    }
}

/// The manifest names no port for it.
pub fn intruder() {
    println!("intruder: tries to read port 0x3ff");
    println!("intruder: read {:#x}, which must not be", SCRATCH.read());
}
