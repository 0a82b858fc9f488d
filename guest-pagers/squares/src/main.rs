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
    for number in [7, 12, 1_000, 16_000_000] {
        println!("{number} squared is {}", squares[number]);
    }
    let is_right = [7, 1_000, 16_000_000].iter().all(|n| squares[*n] == (*n as u64).pow(2));
    i32::from(!is_right)
}
