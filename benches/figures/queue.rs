//! The queue alone: enqueue, claim, and the end of an attempt that does nothing, beside a bare loop over SQLite that
//! writes the same rows.

use std::sync::Arc;

use windlass::clock::SystemClock;
use windlass::config::{Config, SyncMode};
use windlass::store::sqlite::SqliteOptions;

use crate::bare::Bare;
use crate::jobs::{job, payload};
use crate::machine::Meter;
use crate::pipeline::{Crew, NATIVE, Nothing, Pipeline};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{against, number, rounds};
use crate::{folder, store};

/// How many jobs a round has.
const JOBS: usize = 50_000;
/// How many jobs are enqueued at once, and make one of the bare loop's transactions.
const BATCHES: [(usize, &str); 3] = [(8, ""), (64, ""), (256, ">= 0.75")];
/// How many calls enqueue at the same time.
const STREAMS: usize = 4;
/// How many attempts run at once.
const CONCURRENCY: u32 = 256;

/// Measures and prints.
pub fn report() {
    for (batch, goal) in BATCHES {
        let env = [("BATCH", batch.to_string())];
        let [host, bare] = alternate(rounds(), &mut [Player::ready("queue", &env), Player::ready("queue-bare", &env)]);
        let name = format!("queue alone, {batch} at once, durable | bare SQLite");
        against(&name, "  CPU for one job", &host, &bare, goal);
    }
}

fn batch() -> usize {
    number("BATCH").expect("said")
}

/// The host's loops.
pub async fn host() {
    let folder = folder();
    let store = store(&folder.path().join("bench.db"), SqliteOptions::default());
    let mut config = Config::default();
    config.limits.concurrency = CONCURRENCY;
    let crew = Crew::native(Arc::new(Nothing::default()));
    let clock = Arc::new(SystemClock::start());
    let pipeline = Pipeline::start(store, config, clock, crew).await;
    let payload = payload("http://localhost");
    let make = || job(NATIVE, &payload, pipeline.clock.now());
    let chunk = batch().div_ceil(STREAMS);
    answer_rounds(async || pipeline.pass(JOBS.min(batch() * 1_000), chunk, STREAMS, &make).await).await;
    pipeline.stop().await;
}

/// The bare loop.
pub async fn bare() {
    let folder = folder();
    let mut bare = Bare::create(&folder.path().join("bare.db"), SyncMode::Full);
    let (payload, batch) = (payload("http://localhost"), batch());
    let transactions = JOBS.min(batch * 1_000) / batch;
    answer_rounds(async || {
        let meter = Meter::start();
        (0..transactions).for_each(|_| bare.go_on(batch, &payload));
        meter.numbers(transactions * batch)
    })
    .await;
}
