//! Counts lines, words and bytes of the first file that it is given, exactly like `wc` in a locale
//! with UTF-8, or with the argument `C` like `LC_ALL=C wc`.
//!
//! It is an ordinary program, and uses what ordinary programs use: text, constants (the tables that
//! classify bytes and characters), data (the locale), zeroed data (the totals), a stack, and a heap
//! (the block that is being read, the numbers as text). None of it is mapped when it starts.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use policy::words::{Counter, Counts, Locale};
use runtime::{
    println,
    program::{arguments, files},
};

runtime::entry!(main);

/// How much is read at once.
const BLOCK_LENGTH: usize = 64 * 1024;

static IS_UTF8: AtomicBool = AtomicBool::new(true);

static LINES: AtomicU64 = AtomicU64::new(0);
static WORDS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn main() -> i32 {
    let Some(file) = files().next() else {
        println!("words: there is no file to count: name one with --file PATH");
        return 1;
    };
    match arguments() {
        "" | "UTF-8" => {}
        "C" => IS_UTF8.store(false, Relaxed),
        other => {
            println!(
                "words: the argument is `{other}`: give UTF-8 or C, the character set to count in"
            );
            return 1;
        }
    }
    count(file.bytes);
    report(file.name);
    0
}

/// Reads block by block into a buffer, as `wc` does.
fn count(bytes: &[u8]) {
    let locale = if IS_UTF8.load(Relaxed) { Locale::Utf8 } else { Locale::C };
    let mut counter = Counter::new(locale);
    let mut block = Vec::new();
    for piece in bytes.chunks(BLOCK_LENGTH) {
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
    println!("{lines:>width$} {words:>width$} {bytes:>width$} {name}");
}
