//! Fuzzes settings.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| windlass::fuzzing::config(input));
