//! What a plugin notices of others that hang and spin: how long its own jobs wait, alone and beside them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::host::{Dropped, Host};
use crate::machine::now;
use crate::table::{line, median, percentile};
use crate::{downstream, guest};

/// How many jobs of the plugin that is watched, and how far apart.
const JOBS: usize = 500;
const APART: Duration = Duration::from_millis(20);
/// What its downstream takes.
const SERVICE: Duration = Duration::from_millis(5);
/// What the others flood the host with.
const HANGING: usize = 100_000;
const SPINNING: usize = 1_000;
/// The most jobs of one batch.
const BATCH: usize = 10_000;

type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// What goes on beside the plugin that is watched.
struct Flood {
    name: &'static str,
    /// Jobs, of which each names a downstream of so many.
    jobs: Vec<(Value, usize, usize)>,
}

/// Measures and prints.
pub async fn report() {
    let hanging = downstream::here(Router::new().fallback(std::future::pending::<&str>)).await;
    let Some(spinner) = guest::built("misbehave") else {
        println!("fairness: not measured; `plugins/build` makes the plugin that spins");
        return;
    };
    let hang = || json!({"plugin": "a", "payload": {"url": hanging}});
    let spin = |ms: u64| json!({"plugin": "c", "payload": {"do": "spin", "ms": ms}});
    for flood in [
        Flood { name: "100,000 that hang, 1 downstream", jobs: vec![(hang(), HANGING, 1)] },
        Flood { name: "100,000 that hang, 1,000 downstreams", jobs: vec![(hang(), HANGING, 1_000)] },
        Flood { name: "1,000 that spin, 1,000 downstreams", jobs: vec![(spin(60_000), SPINNING, 1_000)] },
        Flood { name: "100,000 that spin for 6 ms", jobs: vec![(spin(6), HANGING, 1_000)] },
        Flood {
            name: "10,000 that hang and 1,000 that spin",
            jobs: vec![(hang(), HANGING / 10, 1), (spin(60_000), SPINNING, 1)],
        },
    ] {
        beside(&flood, &spinner, &hanging).await;
    }
}

async fn beside(flood: &Flood, spinner: &[u8], hanging: &str) {
    let arrivals = Arrivals::default();
    let ledger = arrivals.clone();
    let quick = downstream::here(Router::new().fallback(move |body: Bytes| {
        ledger.lock().expect("unpoisoned").insert(String::from_utf8_lossy(&body).into_owned(), now());
        async {
            tokio::time::sleep(SERVICE).await;
            "yes"
        }
    }))
    .await;
    let http = guest::shipped();
    let spins = Dropped { name: "c", component: spinner, file: String::new() };
    let plugins = [Dropped::calling("b", &http, &quick), Dropped::calling("a", &http, hanging), spins];
    let mut host = Host::start("", &plugins);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let address = host.ready(&client).await;

    watch(&client, &address, &quick, &arrivals, "warm").await;
    let alone = watch(&client, &address, &quick, &arrivals, "alone").await;
    for (job, count, downstreams) in &flood.jobs {
        for batch in 0..count.div_ceil(BATCH) {
            let named = |n: usize| {
                let mut job = job.clone();
                job["downstream"] = json!(format!("d{}", (batch * BATCH + n) % downstreams));
                job
            };
            let jobs: Vec<_> = (0..BATCH.min(count - batch * BATCH)).map(named).collect();
            let batch = json!({"jobs": jobs});
            client.post(format!("{address}/v1/jobs/batch")).json(&batch).send().await.expect("an answer");
        }
    }
    let beside = watch(&client, &address, &quick, &arrivals, "beside").await;
    let ms = |wait: f64| format!("{wait:.1} ms");
    line(
        &format!("wait, p99, beside {} | alone", flood.name),
        &ms(percentile(&beside, 0.99)),
        &ms(percentile(&alone, 0.99)),
        Some(percentile(&beside, 0.99) / percentile(&alone, 0.99)),
        "<= 2",
    );
    line("  the same in the median", &ms(median(beside.clone())), &ms(median(alone.clone())), None, "");
}

/// From the POST to the call's arrival, of each job in milliseconds.
async fn watch(client: &reqwest::Client, address: &str, quick: &str, arrivals: &Arrivals, name: &str) -> Vec<f64> {
    let mut asked = Vec::new();
    for n in 0..JOBS {
        let key = format!("\"{name}-{n}\"");
        let job = json!({"plugin": "b", "payload": {"url": quick, "body": format!("{name}-{n}")}});
        asked.push((key, now()));
        let (client, url) = (client.clone(), format!("{address}/v1/jobs"));
        tokio::spawn(async move { client.post(url).json(&job).send().await });
        tokio::time::sleep(APART).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let arrived = arrivals.lock().expect("unpoisoned");
    let never = Duration::from_secs(60);
    let wait = |(key, asked): &(String, Instant)| arrived.get(key).map_or(never, |at| *at - *asked);
    asked.iter().map(|job| wait(job).as_secs_f64() * 1e3).collect()
}
