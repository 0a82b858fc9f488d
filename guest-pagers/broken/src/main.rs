//! Jumps through a null pointer, to show what a fault that nobody resolves looks like.
#![no_std]
#![no_main]

use core::{hint::black_box, mem};
use runtime::println;

runtime::entry!(main);

fn main() -> i32 {
    println!("broken: calling a handler that nobody has set");
    // The compiler must not find out.
    call_the_handler(black_box(0))
}

#[inline(never)]
fn call_the_handler(address: usize) -> i32 {
    // SAFETY: none. The address is 0, and Rust forbids a null function pointer: this is the very
    // mistake that the program is there to make.
    let handler = unsafe { mem::transmute::<usize, fn() -> i32>(address) };
    // One is added so that the call is no jump, which would leave no trace of this function.
    handler() + 1
}
