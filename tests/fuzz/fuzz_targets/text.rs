//! Fuzzes text that a guest chose.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::text(input));
