//! Fuzzes which addresses are special.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::address(input));
