//! Fuzzes requests that are well-formed as HTTP.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::request(input));
