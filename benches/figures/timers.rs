//! How late retries start, by the worker's own loop, while very many jobs are scheduled; beside the lateness of the
//! runtime's own timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use windlass::clock::{Clock, SystemClock, UnixMs};
use windlass::config::{Config, SyncMode};
use windlass::job::units::TimeSpan;
use windlass::job::{Evidence, Jitter, JobId, Outcome, RetryOverride, Setback};
use windlass::plugin::Call;
use windlass::worker::Handler;

use crate::jobs::{job, payload};
use crate::machine::now;
use crate::pipeline::{Crew, NATIVE, Nothing, Pipeline};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{line, percentile, rounds, rows};
use crate::{backlog, folder};

/// How many retries a round has, and how far apart they are.
const RETRIES: usize = 1_000;
const APART: Duration = Duration::from_millis(1);
/// How long after its first attempt each is due.
const DELAY: TimeSpan = TimeSpan::from_secs(1);

/// Measures and prints.
pub fn report() {
    let env = [("ROWS", rows().to_string())];
    let [late] = alternate(rounds().min(3), &mut [Player::ready("timers", &env)]);
    let two = |half: usize, most: usize| format!("{:.2}/{:.2} ms", late.median(half), late.median(most));
    let name = format!("retries start late, p50/p99, {} scheduled | sleep", rows());
    line(&name, &two(0, 1), &two(2, 3), None, "<= 1 s");
}

/// The worker, over a store that is filled first.
pub async fn host() {
    let folder = folder();
    let path = folder.path().join("bench.db");
    let clock = Arc::new(Fine::start());
    let hour = Duration::from_secs(3_600);
    let begin = clock.now().after(hour);
    backlog::wait(&path, rows(), NATIVE, |draw| begin.after(hour.mul_f64(draw))).await;
    let late = Arc::new(Late::new(clock.clone()));
    let crew = Crew::native(late.clone());
    let pipeline = Pipeline::start(backlog::open(&path, SyncMode::Full), Config::default(), clock, crew).await;
    answer_rounds(async || {
        let worker_ms = retries(&pipeline, &late).await;
        let sleep_ms = sleeps().await;
        let at = |values: &[f64], share| percentile(values, share);
        vec![at(&worker_ms, 0.5), at(&worker_ms, 0.99), at(&sleep_ms, 0.5), at(&sleep_ms, 0.99)]
    })
    .await;
    pipeline.stop().await;
}

async fn retries(pipeline: &Pipeline, late: &Late) -> Vec<f64> {
    let (began, payload) = (now(), payload("http://localhost"));
    for n in 0..RETRIES {
        tokio::time::sleep_until((began + APART * n as u32).into()).await;
        let now = pipeline.clock.now();
        pipeline.store.enqueue(vec![job(NATIVE, &payload, now)], now).await.expect("room");
    }
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut late_ms = late.late_ms.lock().expect("unpoisoned");
        if late_ms.len() >= RETRIES {
            return std::mem::take(&mut late_ms);
        }
    }
}

/// How late the runtime wakes who sleeps, in milliseconds.
async fn sleeps() -> Vec<f64> {
    let (began, mut sleepers) = (now(), tokio::task::JoinSet::new());
    for n in 0..RETRIES {
        sleepers.spawn(async move {
            let due = began + APART * n as u32;
            tokio::time::sleep_until(due.into()).await;
            due.elapsed().as_secs_f64() * 1e3
        });
    }
    sleepers.join_all().await
}

/// The machine's time, to the nanosecond too.
#[derive(Debug)]
struct Fine {
    started_at: UnixMs,
    started: Instant,
}

impl Fine {
    fn start() -> Self {
        Self { started_at: SystemClock::start().now(), started: now() }
    }

    /// How long ago that moment was, in milliseconds.
    fn ms_since(&self, moment: UnixMs) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3 - (moment.0 - self.started_at.0) as f64
    }
}

impl Clock for Fine {
    fn now(&self) -> UnixMs {
        self.started_at.after(self.started.elapsed())
    }
}

/// Fails the first attempt of each job, and notes how late the second one starts.
struct Late {
    clock: Arc<Fine>,
    due: Mutex<HashMap<JobId, UnixMs>>,
    late_ms: Mutex<Vec<f64>>,
    retry: RetryOverride,
    nothing: Nothing,
}

impl Late {
    fn new(clock: Arc<Fine>) -> Self {
        let (base, cap, jitter) = (Some(DELAY), Some(DELAY), Some(Jitter::None));
        let retry = RetryOverride { base, cap, jitter, ..RetryOverride::default() };
        Self { clock, due: Mutex::default(), late_ms: Mutex::default(), retry, nothing: Nothing::default() }
    }
}

#[async_trait]
impl Handler for Late {
    fn retry(&self) -> &RetryOverride {
        &self.retry
    }

    async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        let due = self.due.lock().expect("unpoisoned").remove(&call.job);
        if let Some(due) = due {
            self.late_ms.lock().expect("unpoisoned").push(self.clock.ms_since(due));
            return self.nothing.run(call, cancelled).await;
        }
        self.due.lock().expect("unpoisoned").insert(call.job, self.clock.now().after(DELAY.0));
        (Outcome::TryAgain(Setback { message: "later".to_owned(), ..Setback::default() }), Evidence::default())
    }
}
