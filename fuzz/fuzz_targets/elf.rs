//! See `fuzz::elf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::elf::run(input));
