//! What a run answers to a viewer: a line, the guest's memory, and KVM's statistics.
//!
//! An input is the line with its end, two bytes for the length of the statistics, these, and the memory.

use crate::text;
use glass::attach::Attached;
use observe::{GuestMemory, inspect::Guest};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{fs::File, io::Write, path::Path};

/// Asks an attached machine for all that views ask it for.
pub fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| end + 1);
    let (line, files) = input.split_at(end);
    let files = files.split_first_chunk().map_or(Vec::new(), |(length, rest)| {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (statistics, ram) = rest.split_at(length);
        vec![file(ram), file(statistics)]
    });
    match Attached::new(line, files, Path::new("/dev/null")) {
        Ok(machine) => look(&machine),
        Err(error) => text::write(&format_args!("{error:#}")),
    }
}

fn look(machine: &Attached) {
    assert!(machine.runs(), "its name is there");
    machine.statistics();
    let ram = machine.ram().metadata().expect("it is a file").len();
    for address in [0, ram, machine.introduction.ram, u64::MAX] {
        let read = machine.read(address, &mut [0]);
        assert_eq!(read.is_ok(), address < ram, "only what is in the file can be read");
    }
    let Ok(header) = machine.header() else { return };
    match Guest::open(machine, header) {
        Ok(guest) => drop((guest.tasks(), guest.snapshot())),
        Err(error) => text::write(&error),
    }
}

fn file(bytes: &[u8]) -> File {
    let file = memfd_create("input", MemfdFlags::CLOEXEC).expect("the host makes a file");
    let mut file = File::from(file);
    file.write_all(bytes).expect("it has room");
    file
}
