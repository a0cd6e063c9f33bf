//! Fuzzes what calls itself a plugin. Half of the changes keep the frame of a component: whole sections are changed, moved
//! and doubled, and the modules inside are changed as modules.

#![no_main]

mod sections;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| windlass::fuzzing::component(input));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = (seed % 2 == 0).then(|| sections::change(&data[..size], seed / 2)).flatten();
    match changed {
        Some(changed) if changed.len() <= max_size => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
