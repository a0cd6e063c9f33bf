//! Batches over HTTP, beside a bare loop over SQLite that inserts the same rows in transactions of the same size.

use std::time::Duration;

use windlass::config::SyncMode;

use crate::api::{Server, sync_mode};
use crate::bare::Bare;
use crate::folder;
use crate::jobs::{as_json, payload};
use crate::load::{self, Sent};
use crate::machine::Meter;
use crate::role::{Player, answer_rounds};
use crate::table::{CPU_US, RATE, Series, line, number, per_second, rounds};

/// How long each side of a round is loaded.
const ROUND: Duration = Duration::from_millis(1_000);
/// How many jobs a request has.
const BATCHES: [usize; 2] = [100, 1_000];
/// How many connections send them.
const CONNECTIONS: usize = 8;

/// Measures and prints.
pub async fn report() {
    for batch in BATCHES {
        compare(batch, SyncMode::Full).await;
        compare(batch, SyncMode::Normal).await;
    }
}

async fn compare(batch: usize, sync: SyncMode) {
    let mut env = vec![("BATCH", batch.to_string())];
    if sync == SyncMode::Normal {
        env.push(("RELAXED", String::new()));
    }
    let (mut server, mut bare) = (Server::Durable(sync).start(), Player::ready("batch-bare", &env));
    let (address, pid, sent) = (server.address(), server.pid(), request(batch));
    let (mut over_http, mut limit) = (Series::default(), Series::default());
    for _ in 0..rounds() {
        let load = load::run(address, pid, CONNECTIONS, &sent, ROUND).await;
        over_http.push(vec![load.rate * batch as f64, load.cpu_us / batch as f64]);
        limit.push(bare.round());
    }
    let relaxed = if sync == SyncMode::Normal { "  relaxed: " } else { "" };
    let name = format!("{relaxed}batch enqueue, {batch} a request | bare SQLite");
    let (rate, of_bare) = (per_second(over_http.median(RATE)), per_second(limit.median(RATE)));
    let goal = if sync == SyncMode::Full { "0.6 or 100k/s" } else { "" };
    line(&name, &rate, &of_bare, Some(over_http.ratio(&limit, RATE)), goal);
    let cpu = |series: &Series| format!("{:.4} s", series.median(CPU_US) / 1e3);
    line("  CPU of the server for 1,000 jobs", &cpu(&over_http), &cpu(&limit), None, "");
}

fn request(batch: usize) -> Sent {
    let jobs = vec![as_json("http://localhost"); batch].join(",");
    Sent { path: "/v1/jobs/batch", body: format!(r#"{{"jobs":[{jobs}]}}"#).into() }
}

/// The bare loop.
pub async fn bare() {
    let folder = folder();
    let mut bare = Bare::create(&folder.path().join("bare.db"), sync_mode());
    let (payload, batch) = (payload("http://localhost"), number::<usize>("BATCH").expect("said"));
    answer_rounds(async || {
        let (meter, mut jobs) = (Meter::start(), 0);
        while meter.elapsed() < ROUND {
            bare.enqueue(batch, &payload);
            jobs += batch;
        }
        meter.numbers(jobs)
    })
    .await;
}
