//! Fuzzes how long a downstream asks to be left alone.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::retry_after(input));
