//! Using up what a host has to limit: time, memory, stack.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::wasi::clocks::monotonic_clock;
use crate::wasi::random::random::get_random_bytes;

/// Memory is taken in pieces that double up to this.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Keeps the processor busy for so long, or for ever. Without a limit it makes no call to the host at all.
pub fn spin(limit: Option<Duration>) {
    let Some(limit) = limit else {
        loop {
            black_box(0);
        }
    };
    let start = Instant::now();
    while start.elapsed() < limit {
        for round in 0..10_000 {
            black_box(round);
        }
    }
}

/// Takes so much memory, writes to every page of it, and does not give it back.
pub fn allocate(bytes: usize) {
    let (mut taken, mut chunk_bytes) = (0, 64 << 10);
    while taken < bytes {
        let chunk = vec![0_u8; chunk_bytes.min(bytes - taken)].leak();
        chunk.iter_mut().step_by(4_096).for_each(|byte| *black_box(byte) = 1);
        taken += chunk.len();
        chunk_bytes = (chunk_bytes * 2).min(CHUNK_BYTES_MAX);
    }
}

/// Asks what time it is, so many times.
pub fn calls(times: u32) {
    for _ in 0..times {
        black_box(monotonic_clock::now());
    }
}

/// Takes so many random bytes, so many times.
pub fn random(bytes: u64, times: u32) {
    for _ in 0..times {
        black_box(get_random_bytes(bytes));
    }
}

/// Holds so many timers at once.
pub fn handles(count: u32) {
    let held: Vec<_> = (0..count).map(|_| monotonic_clock::subscribe_duration(1)).collect();
    black_box(held);
}

/// Calls itself until the stack is used up.
pub fn recurse() {
    black_box(deeper(black_box(0)));
}

#[expect(unconditional_recursion, reason = "to have no end is what it is for")]
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    // Work is left after the call, so that no compiler can make a loop of it.
    deeper(depth + 1).wrapping_add(black_box(depth))
}
