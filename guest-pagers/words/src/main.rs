//! Counts lines, words and bytes of the first file that it is given, exactly like `LC_ALL=C wc`.
//!
//! It is an ordinary program, and uses what ordinary programs use: text, constants (the table that
//! classifies bytes), data (the length of a block), zeroed data (the totals), a stack, and a heap.
//! None of it is mapped when it starts.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, vec::Vec};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use policy::words::{Counter, Counts};
use runtime::{
    print, println,
    program::{arguments, files},
};

runtime::entry!(main);

/// How much is read at once, unless the first argument is another number.
static BLOCK_LENGTH: AtomicUsize = AtomicUsize::new(64 * 1024);

static LINES: AtomicU64 = AtomicU64::new(0);
static WORDS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn main() -> i32 {
    let Some(file) = files().next() else {
        println!("words: there is no file to count: name one with --file PATH");
        return 1;
    };
    if let Some(length) = arguments().split_whitespace().next() {
        match length.parse() {
            Ok(length @ 1..) => BLOCK_LENGTH.store(length, Relaxed),
            _ => {
                println!(
                    "words: `{length}` is no length of a block: give a number above 0, or none"
                );
                return 1;
            }
        }
    }
    count(file.bytes);
    report(file.name);
    0
}

/// Reads block by block into a buffer, as `wc` does.
fn count(bytes: &[u8]) {
    let mut counter = Counter::new();
    let mut block = Vec::new();
    for piece in bytes.chunks(BLOCK_LENGTH.load(Relaxed)) {
        block.clear();
        block.extend_from_slice(piece);
        counter.count(&block);
    }
    let Counts { lines, words, bytes } = counter.counts();
    LINES.fetch_add(lines, Relaxed);
    WORDS.fetch_add(words, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
}

/// One line as `wc` prints it: all columns are as wide as the widest number.
fn report(name: &str) {
    let counts = [&LINES, &WORDS, &BYTES].map(|total| format!("{}", total.load(Relaxed)));
    let width = counts.iter().map(|count| count.len()).max().unwrap_or(0);
    let [lines, words, bytes] = &counts;
    print!("{lines:>width$} {words:>width$} {bytes:>width$} {name}\n");
}
