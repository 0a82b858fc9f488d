//! Does what its arguments say, so that tests see what then happens to a program.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{vec, vec::Vec};
use core::hint::black_box;
use runtime::{
    arch,
    capability::TASK,
    memory::Pool,
    println,
    program::{arguments, files, pager_area},
    protocol::{
        PAGE_ORDER, PAGE_SIZE,
        flexpage::{Flexpage, Rights},
    },
    share::{Item, Shareable},
};

runtime::entry!(main);

const USAGE: &str = "test-assist: the arguments are one of: panic | exit STATUS | undefined | hole | \
                     recurse DEPTH | heap MIB | memory | alias | files | arguments";

const MIB: usize = 1 << 20;

fn main() -> i32 {
    let mut words = arguments().split_whitespace();
    let (what, number) = (words.next(), words.next().and_then(|word| word.parse::<u16>().ok()));
    match (what, number) {
        (Some("panic"), _) => panic!("as told"),
        (Some("exit"), Some(status)) => return status.into(),
        // An exception that nobody handles
        (Some("undefined"), _) => arch::stop(),
        // Without a pager of its own, a program has nothing there
        (Some("hole"), _) => println!("there is {}", pager_area::<u8>(1)[0].get()),
        (Some("recurse"), Some(depth)) => println!("{}", recurse(depth.into())),
        (Some("heap"), Some(size)) => println!("{}", fill(usize::from(size) * MIB)),
        (Some("memory"), _) => use_up_memory(),
        (Some("alias"), _) => alias(),
        (Some("files"), _) => list_files(),
        (Some("arguments"), _) => println!("{}", arguments()),
        _ => {
            println!("{USAGE}");
            return 2;
        }
    }
    0
}

/// Needs about a page of stack for each step; gives the depth.
#[inline(never)]
fn recurse(depth: usize) -> usize {
    let page = black_box([1u8; 4096]);
    if depth == 0 { 0 } else { recurse(depth - 1) + usize::from(page[depth % 4096]) }
}

/// Allocates and touches so many bytes; gives their sum, which is the same number.
fn fill(length: usize) -> usize {
    let mut bytes = Vec::new();
    bytes.resize(length, 1u8);
    black_box(&bytes).iter().map(|byte| usize::from(*byte)).sum()
}

/// Asks the parent for memory until there is none.
fn use_up_memory() {
    let mut pool = Pool::new();
    for number in 0.. {
        match pool.take(MIB.trailing_zeros()) {
            Ok(mut memory) => memory.fill(1),
            Err(error) => return println!("{number} MiB, then: {error}"),
        }
    }
}

/// Tries to map a page to where a reference leads, and to let others write there.
fn alias() {
    let block = vec![1u8; 2 * PAGE_SIZE];
    let start = block.as_ptr().addr();
    let inside = start.next_multiple_of(PAGE_SIZE);
    let byte = &block[inside - start];
    let mut page = Pool::new().page().expect("a page");
    page.fill(2);
    let mapped = TASK.map(Item::map(inside, page.flexpage(Rights::READ_WRITE)));
    println!("mapped: {mapped:?}");
    let page_of_block = |rights| Shareable::new(Flexpage::memory(inside, PAGE_ORDER, rights));
    println!("for others to write: {:?}", page_of_block(Rights::READ_WRITE));
    println!("for others to read: {}", page_of_block(Rights::READ).is_some());
    println!("it is {}", black_box(byte));
}

/// One line a file: name, length, and the sum of all bytes.
fn list_files() {
    for file in files() {
        let sum: u64 = file.bytes.iter().map(|byte| u64::from(*byte)).sum();
        println!("{} {} {sum}", file.name, file.bytes.len());
    }
}
