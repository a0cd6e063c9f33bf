//! Fuzzes which URLs are let out.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::origin(input));
