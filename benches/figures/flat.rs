//! Whether a job costs more where many have ended, or many wait: CPU of the queue alone, beside an empty store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use windlass::clock::{Clock, SystemClock, UnixMs};
use windlass::config::{Config, SyncMode};

use crate::folder;
use crate::jobs::{job, payload};
use crate::pipeline::{Crew, NATIVE, Nothing, Pipeline};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{CPU_US, RATE, line, note, number, per_second, rounds, rows, us};
use crate::{backlog, table};

/// How many jobs a round has, how many are enqueued at once, and by how many calls at the same time.
const JOBS: usize = 50_000;
const CHUNK: usize = 64;
const STREAMS: usize = 4;
/// How many attempts run at once.
const CONCURRENCY: u32 = 256;
/// What is in the store beforehand.
const ENDED: &str = "ended";
const LATER: &str = "scheduled for later";
const CLOSED: &str = "due, of a plugin that is away";
const AHEAD: &str = "due, ahead of every new one";

/// Measures and prints.
pub fn report() {
    for what in [ENDED, LATER, CLOSED, AHEAD] {
        let (few, many) = (rows() / 10, rows());
        let player = |rows: usize| {
            let env = [("WHAT", what.to_owned()), ("ROWS", rows.to_string())];
            Player::ready("flat", &env)
        };
        let [empty, with_few, with_many] = alternate(rounds(), &mut [player(0), player(few), player(many)]);
        let cpu = |series: &table::Series| us(series.median(CPU_US));
        for (rows, series) in [(few, with_few), (many, with_many)] {
            let name = format!("CPU for one job, {rows} {what} | empty");
            line(&name, &cpu(&series), &cpu(&empty), Some(series.ratio(&empty, CPU_US)), "<= 1.1");
            note("  jobs a second", &per_second(series.median(RATE)), "");
        }
    }
}

/// The queue over a store that is filled first.
pub async fn host() {
    let folder = folder();
    let path = folder.path().join("bench.db");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    fill(&path, clock.now()).await;
    let store = backlog::open(&path, SyncMode::Full);
    let mut config = Config::default();
    config.limits.concurrency = CONCURRENCY;
    let pipeline = Pipeline::start(store, config, clock, Crew::native(Arc::new(Nothing::default()))).await;
    let payload = payload("http://localhost");
    let make = || job(NATIVE, &payload, pipeline.clock.now());
    answer_rounds(async || pipeline.pass(JOBS, CHUNK, STREAMS, &make).await).await;
    pipeline.stop().await;
}

async fn fill(path: &Path, now: UnixMs) {
    let (what, rows) = (std::env::var("WHAT").expect("said"), number("ROWS").expect("said"));
    let hour = Duration::from_secs(3_600);
    match what.as_str() {
        ENDED => backlog::end(path, rows, NATIVE, now).await,
        LATER => backlog::wait(path, rows, NATIVE, |draw| now.after(hour).after(hour.mul_f64(draw))).await,
        CLOSED => backlog::wait(path, rows, "away", |_| now).await,
        AHEAD => backlog::wait(path, rows, NATIVE, |_| now).await,
        other => panic!("nothing is {other}"),
    }
}
