//! Random sequences of everything that a store can be asked, over a real store and over the book (`tests/book`): every
//! answer must be the same, and so must be what people are shown.
//!
//! One seed, one sequence. A failing one is shrunk and printed with its seed; `MODEL_SEED=n cargo test --test
//! store_model` replays it alone, and `MODEL_RUNS=n` makes more than the usual. A store joins by its harness, as in
//! `tests/store_conformance.rs`.

#[path = "book/book.rs"]
mod book;
#[path = "store_conformance/harness.rs"]
mod harness;
#[path = "store_model/held_against.rs"]
mod held_against;
#[path = "common/number.rs"]
mod number;
#[path = "store_model/op.rs"]
mod op;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use harness::{Harness, SqliteHarness};
use held_against::Trial;
use number::number;
use op::{Op, sequences};

thread_local! {
    /// Whether a failure is told here, and not by the one who makes the sequence smaller.
    static IS_TRYING: Cell<bool> = const { Cell::new(false) };
}

/// How many sequences a usual run tries.
const RUNS: u64 = 240;

#[test]
fn sqlite_answers_as_the_book_does() {
    answers_as_the_book_does::<SqliteHarness>();
}

fn answers_as_the_book_does<Store: Harness>() {
    let seeds = match number("MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MODEL_RUNS").unwrap_or(RUNS),
    };
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_TRYING.get() {
            loud(panic);
        }
    }));
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    try_seed::<Store>(seed);
                }
            });
        }
    });
}

/// Runs the sequence of that seed, and makes it smaller where it fails.
fn try_seed<Store: Harness>(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&sequences(), |(held_jobs_max, ops)| {
        let trial = std::panic::AssertUnwindSafe(|| run::<Store>(held_jobs_max, &ops));
        IS_TRYING.set(true);
        let outcome = std::panic::catch_unwind(trial);
        IS_TRYING.set(false);
        outcome.map_err(|panic| TestCaseError::fail(text_of(&*panic)))
    });
    if let Err(TestError::Fail(reason, (held_jobs_max, ops))) = outcome {
        let ops: Vec<_> = ops.iter().map(|op| format!("    {op:?}")).collect();
        panic!(
            "seed {seed} failed; replay it with MODEL_SEED={seed} cargo test --test store_model\n\
             the smallest sequence, over a store that holds {held_jobs_max} jobs:\n{}\n{reason}",
            ops.join("\n")
        );
    }
}

fn run<Store: Harness>(held_jobs_max: usize, ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut trial = Trial::new(Store::holding(held_jobs_max), held_jobs_max);
        for op in ops {
            trial.take(op).await;
        }
        trial.conclude().await;
    });
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
