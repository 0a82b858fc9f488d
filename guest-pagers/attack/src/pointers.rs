//! Addresses that no task has: as targets, as stacks, and behind answers that say to try again.

use crate::{
    arch::{POINTERS, USES},
    code::Code,
    laboratory::Laboratory,
};
use runtime::{println, protocol::Word};

pub fn run(laboratory: &mut Laboratory, entry: Word) {
    let inside = entry.wrapping_add(0x10);
    for retries in [0, 3] {
        for (name, bytes) in USES {
            for address in POINTERS {
                let outcome = attempt(laboratory, address, bytes, retries);
                println!("{name} {address:#x} {retries}: {outcome}");
            }
            // Into the middle of the kernel's entry.
            let outcome = attempt(laboratory, inside, bytes, retries);
            println!("{name} entry {retries}: {outcome}");
        }
    }
}

fn attempt(
    laboratory: &mut Laboratory,
    address: Word,
    bytes: &[u8],
    retries: usize,
) -> crate::laboratory::Outcome {
    laboratory.attempt_again(&Code::new().load(address).then(bytes), retries)
}
