//! See `fuzz::module_spec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::module_spec::run(input));
