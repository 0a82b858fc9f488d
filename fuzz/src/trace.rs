//! The trace ring, while the guest writes it, in every style.
//!
//! The input changes the memory of a guest that has run, see [`crate::memory`]: at each look of it the
//! trace is read on.

use crate::{memory::Changing, text};
use observe::{Event, GuestMemory, Images, Observer, OutsideMemory, Printer, Style};
use serde_json::Value;
use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
};

const STYLES: [Style; 5] = [Style::Blocks, Style::Flat, Style::Json, Style::Summary, Style::Quiet];

/// Rate of the guest's time stamps.
const TICKS_PER_SECOND: u64 = 1_000_000_000;

/// An image with a function, as the tasks of the recording have.
const IMAGE: &[u8] = include_bytes!("../corpus/elf/amd64");

/// Reads the trace and shows it.
pub fn run(input: &[u8]) {
    let Some(changing) = Changing::new(input) else { return };
    let header = changing.recorded.header;
    let shared = Shared(Rc::new(RefCell::new(changing)));
    let mut images = Images::new();
    images.set_kernel(IMAGE);
    (0..4).for_each(|module| images.add(module, "program", IMAGE));
    let mut observer = Observer::new(shared.clone(), header, images, TICKS_PER_SECOND);
    let mut printers = STYLES.map(|style| Printer::new(style, false, Output(style)));
    let mut show = |event: &Event| {
        printers.iter_mut().for_each(|printer| printer.event(event).expect("it can be written"));
    };
    let mut read = Ok(());
    while read.is_ok() && shared.0.borrow_mut().change() {
        read = observer.poll(&mut show).map(drop);
    }
    if read.is_ok() {
        read = observer.finish(&mut || true, &mut show);
    }
    if let Err(error) = read {
        text::check(&error);
    }
    let lost = observer.lost();
    printers.iter_mut().for_each(|printer| printer.finish(lost).expect("it can be written"));
}

/// Memory that is read, and changed between two reads.
#[derive(Clone)]
struct Shared<'i>(Rc<RefCell<Changing<'i>>>);

impl GuestMemory for Shared<'_> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), OutsideMemory> {
        self.0.borrow().memory.read(address, bytes)
    }
}

/// Looks at what is written: whole texts, one an event.
struct Output(Style);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).expect("it is text");
        text::check(&text);
        if self.0 == Style::Json {
            for line in text.lines() {
                serde_json::from_str::<Value>(line).expect("each line is an object");
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
