//! Fuzzes raw bytes at the server.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::http(input));
