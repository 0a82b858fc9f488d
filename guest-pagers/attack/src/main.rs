//! Does what a hostile task can do, to see that nothing comes of it.
//!
//! | mode | what it tries |
//! |---|---|
//! | `instructions`, `interrupts`, `flags ENTRY`, `selectors COUNT`, `pointers ENTRY`, `returns` | lists of instructions, one after the other, and what comes of each |
//! | `cstar`, `ldt`, `vm86` | ways into ring 0 by modes and tables that nobody has set up |
//! | `df ENTRY` | system calls by a jump to the kernel's entry, with the direction flag set |
//! | `cut ROUNDS` | two threads take back the same tree at the same time |
//! | `chain LENGTH` | mappings of mappings of mappings |
//! | `storm SEED OPERATIONS` | three threads that map, grant and take back at random |
//! | `deputy`, `misuse`, `distract` | a server, and those who want it to make their system call |
//! | `leftovers` | what of others' registers can be seen |
//! | `registers SEED ROUNDS` | registers of another thread, set at random whatever it does |
//! | `again ENTRY BEHIND` | a system call by a jump that begins again at an address of its own |
//! | `starve` | a server that never comes back, and a caller that waits for no answer |
//! | `victim` | nothing: it works, and looks whether anybody has touched what is its own |
//!
//! ENTRY is the address of the kernel's entry for system calls. Whoever has a server tells it in the end
//! that it is through.
#![no_std]
#![no_main]

mod arch;
mod chain;
mod code;
mod cut;
mod deputy;
mod flags;
mod instructions;
mod interrupts;
mod laboratory;
mod leftovers;
mod lowest_pages;
mod pointers;
mod registers;
mod report;
mod returns;
mod selectors;
mod starve;
mod storm;
mod thread;
mod victim;

use laboratory::Laboratory;
use runtime::{
    capability::SERVER,
    println, program,
    protocol::{Word, message::MessageTag},
};

runtime::entry!(main);

/// To a server: this program is through.
const THROUGH: isize = 1;

fn main() -> i32 {
    let mut words = program::arguments().split_whitespace();
    let mode = words.next().unwrap_or_default();
    let mut numbers = words.map(number);
    let mut number = || numbers.next().flatten().unwrap_or_default();
    match mode {
        "instructions" => instructions::run(&mut Laboratory::new()),
        "interrupts" => interrupts::run(&mut Laboratory::new()),
        "flags" => flags::run(&mut Laboratory::new(), number()),
        "selectors" => selectors::run(&mut Laboratory::new(), number()),
        "pointers" => pointers::run(&mut Laboratory::new(), number()),
        "registers" => registers::run(number(), number()),
        "starve" => starve::run(),
        "again" => registers::again(number(), number()),
        "returns" => returns::run(&mut Laboratory::new()),
        "cstar" | "ldt" | "vm86" => lowest_pages::run(&mut Laboratory::new(), mode),
        "df" => flags::direction(&mut Laboratory::new(), number()),
        "cut" => cut::run(number()),
        "chain" => chain::run(number()),
        "storm" => storm::run(number() as u64, number()),
        "deputy" => return deputy::serve(),
        "misuse" => deputy::misuse(),
        "distract" => deputy::distract(),
        "leftovers" => leftovers::run(),
        "victim" => return victim::run(),
        _ => {
            println!("attack: there is no mode `{mode}`");
            return 2;
        }
    }
    println!("{mode}: through");
    // It has no server if nobody wants to know.
    let _ = SERVER.call(MessageTag::new(THROUGH, 0, 0));
    0
}

/// A decimal number, or a hexadecimal one that begins with `0x`.
fn number(text: &str) -> Option<Word> {
    match text.strip_prefix("0x") {
        Some(digits) => Word::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
