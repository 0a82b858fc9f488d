//! Looks into a table of squares that its pager computes on demand: run it with `lazy-squares`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use runtime::{println, program::pager_area};

runtime::entry!(main);

/// Numbers whose squares are in the table: 128 MiB of it, of which three pages will ever exist.
const NUMBERS: usize = 16 << 20;

fn main() -> i32 {
    let squares = pager_area::<u64>(NUMBERS);
    let mut mistakes = 0;
    for number in [7, 12, 1_000, 16_000_000] {
        let square = squares[number].get();
        println!("{number} squared is {square}");
        mistakes += i32::from(square != (number as u64).pow(2));
    }
    mistakes
}
