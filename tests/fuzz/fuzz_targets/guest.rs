//! Fuzzes what a guest writes and says of itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::guest(input));
