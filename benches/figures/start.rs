//! A store in which very many jobs wait is opened: how long that takes, how long it is from the start of the process to
//! the first attempt, and what a waiting job holds of the memory. Beside it a bare loop over SQLite that reads the same
//! rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass::clock::{Clock, SystemClock};
use windlass::config::{Config, SyncMode};
use windlass::job::{Evidence, Outcome, RetryOverride};
use windlass::plugin::Call;
use windlass::worker::Handler;

use crate::backlog;
use crate::bare::beside;
use crate::folder;
use crate::machine::{now, resident_kib};
use crate::pipeline::{Crew, NATIVE, Nothing, Pipeline};
use crate::role::Player;
use crate::table::{Series, line, note, rounds, rows};

/// Over which time the jobs are spread; a few are due when the store is opened.
const SPAN: Duration = Duration::from_secs(36_000);

/// Measures and prints.
pub async fn report() {
    let begin = SystemClock::start().now();
    let due = |draw| begin.after(SPAN.mul_f64(draw));
    let folder = folder();
    let (new, tried) = (folder.path().join("new.db"), folder.path().join("tried.db"));
    backlog::wait(&new, rows(), NATIVE, due).await;
    measure(&new, &format!("start, {} jobs wait: store opened | rows read", rows()), "<= 500 ms");
    backlog::fail(&tried, rows(), NATIVE, begin, due).await;
    measure(&tried, "start, each of them was tried once: store opened | rows read", "");
}

fn measure(path: &Path, name: &str, goal: &str) {
    let (mut opened, mut scanned) = (Series::default(), Series::default());
    for _ in 0..rounds() {
        let started = now();
        let mut host = Player::start("start", &[("STORE", path.display().to_string())]);
        let mut numbers: Vec<f64> = host.line().split(' ').map(|number| number.parse().expect("a number")).collect();
        numbers.push(started.elapsed().as_secs_f64() * 1e3);
        opened.push(numbers);
        drop(host);
        scanned.push(vec![scan_ms(path)]);
    }
    let ms = |ms: f64| format!("{ms:.0} ms");
    line(name, &ms(opened.median(0)), &ms(scanned.median(0)), Some(opened.ratio(&scanned, 0)), "");
    note("  from the start of the process to the first attempt", &ms(opened.median(2)), goal);
    let bytes = opened.median(1) * 1_024.0 / rows() as f64;
    note("  memory of a waiting job", &format!("{bytes:.0} B"), "");
}

fn scan_ms(path: &Path) -> f64 {
    let started = now();
    let conn = beside(path);
    let sql = "SELECT place, tail, plugin, downstream, priority, run_at_ms FROM jobs WHERE end_state IS NULL";
    let mut statement = conn.prepare(sql).expect("SQL");
    let mut rows = statement.query(()).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        let plugin = row.get_ref(2).and_then(|value| Ok(value.as_str()?.len())).expect("text");
        std::hint::black_box((row.get::<_, i64>(0).expect("a number"), plugin));
    }
    started.elapsed().as_secs_f64() * 1e3
}

/// Opens the store, and prints at the first attempt: milliseconds to the opening, KiB of memory.
pub async fn host() {
    let path = std::env::var("STORE").expect("the store's path");
    let clock = Arc::new(SystemClock::start());
    let (resident_before, started) = (resident_kib(std::process::id()), now());
    let store = backlog::open(Path::new(&path), SyncMode::Full);
    let opened_ms = started.elapsed().as_secs_f64() * 1e3;
    let resident = resident_kib(std::process::id()) - resident_before;
    let first = Arc::new(First::default());
    let pipeline = Pipeline::start(store, Config::default(), clock, Crew::native(first.clone())).await;
    first.came.notified().await;
    println!("{opened_ms} {resident}");
    pipeline.stop().await;
}

/// Tells of the first attempt.
#[derive(Default)]
struct First {
    came: Notify,
    nothing: Nothing,
}

#[async_trait]
impl Handler for First {
    fn retry(&self) -> &RetryOverride {
        self.nothing.retry()
    }

    async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        self.came.notify_one();
        self.nothing.run(call, cancelled).await
    }
}
