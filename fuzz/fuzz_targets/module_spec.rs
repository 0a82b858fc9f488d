//! See `fuzz::module_spec`.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::module_spec::run(input));
