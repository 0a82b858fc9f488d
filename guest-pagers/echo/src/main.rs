//! Prints what comes through the serial line, and ends where that ends.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use runtime::{Result, capability::CONSOLE, interrupt, println, serial::Input};

runtime::entry!(main);

/// The label under which the line's interrupt arrives.
const LINE: usize = 1;

/// Bytes that are read at once: as many as one message to the console has.
const PIECE: usize = 240;

fn main() -> i32 {
    match echo() {
        Ok(()) => 0,
        Err(error) => {
            println!("echo: {error}");
            1
        }
    }
}

fn echo() -> Result<()> {
    let mut input = Input::new(interrupt::of_manifest(0), LINE)?;
    let mut bytes = [0; PIECE];
    loop {
        match input.read(&mut bytes)? {
            0 => return Ok(()),
            length => CONSOLE.write(&bytes[..length])?,
        }
    }
}
