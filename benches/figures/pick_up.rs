//! How soon the real binary picks up a job: from the POST to the arrival of the job's call, at rest and under load.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::host::{Dropped, Host};
use crate::load::{Sent, connect, post};
use crate::machine::{fdatasync_median, now};
use crate::table::{line, note, number, percentile, two};
use crate::{downstream, guest};

/// How many jobs are picked up at rest, one after the other.
const JOBS: usize = 500;
/// How many a second come under load, unless `BENCH_RATE` says otherwise, and for how long.
const RATE: u32 = 5_000;
const LOADED: Duration = Duration::from_secs(5);
/// Over how many connections.
const CONNECTIONS: u32 = 32;

/// When the call with that body arrived.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// Measures and prints.
pub async fn report() {
    let arrivals = Arrivals::default();
    let origin = downstream::here(recording(&arrivals)).await;
    let http = guest::shipped();
    let mut host = Host::start("", &[Dropped::calling("http", &http, &origin)]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = host.ready(&client).await;

    let sync_ms = fdatasync_median().as_secs_f64() * 1e3;
    let waits_ms = at_rest(&client, &base, &origin, &arrivals).await;
    let (half, goal_ms) = (percentile(&waits_ms, 0.5), 2.0 * sync_ms + 0.5);
    let name = "idle pick-up, POST asked to call arrived | one fdatasync";
    let (shown, sync, goal) = (format!("{half:.2} ms"), format!("{sync_ms:.2} ms"), format!("{goal_ms:.2} ms"));
    line(name, &shown, &sync, Some(half / sync_ms), &goal);
    note("  p50/p99", &two(&waits_ms), "p99 <= 5");

    let rate = number("BENCH_RATE").unwrap_or(RATE);
    let address = base.trim_start_matches("http://").parse().expect("an address");
    let waits_ms = under_load(address, rate, &origin, &arrivals).await;
    let came = waits_ms.len() as f64 / LOADED.as_secs_f64();
    note(&format!("pick-up with {came:.0} jobs a second, p50/p99"), &two(&waits_ms), "");
}

fn recording(arrivals: &Arrivals) -> Router {
    let arrivals = arrivals.clone();
    Router::new().fallback(move |body: Bytes| {
        let at = now();
        arrivals.lock().expect("unpoisoned").insert(String::from_utf8_lossy(&body).into_owned(), at);
        async { "yes" }
    })
}

/// From the POST to the arrival of each job, in milliseconds.
async fn at_rest(client: &reqwest::Client, base: &str, origin: &str, arrivals: &Arrivals) -> Vec<f64> {
    let mut waits_ms = Vec::new();
    for n in 0..JOBS {
        let job = json!({"plugin": "http", "payload": {"url": origin, "body": format!("rest-{n}")}});
        let asked = now();
        let answer = client.post(format!("{base}/v1/jobs")).json(&job).send().await.expect("an answer");
        let id = answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();
        // The next one finds the system idle.
        client.get(format!("{base}/v1/jobs/{id}?wait=10s")).send().await.expect("an answer");
        waits_ms.extend(wait_ms(arrivals, &format!("rest-{n}"), asked));
    }
    assert_eq!(waits_ms.len(), JOBS, "each was called");
    waits_ms
}

fn wait_ms(arrivals: &Arrivals, body: &str, asked: Instant) -> Option<f64> {
    // The plugin sends JSON.
    let arrived = arrivals.lock().expect("unpoisoned").remove(&format!("\"{body}\""))?;
    Some((arrived - asked).as_secs_f64() * 1e3)
}

/// The same, where so many jobs come each second.
async fn under_load(address: SocketAddr, rate: u32, origin: &str, arrivals: &Arrivals) -> Vec<f64> {
    let (began, mut clients) = (now(), tokio::task::JoinSet::new());
    for first in 0..CONNECTIONS {
        clients.spawn(pace(address, began, first, rate, origin.to_owned()));
    }
    let asked: Vec<(String, Instant)> = clients.join_all().await.concat();
    // The last calls are on their way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    asked.iter().filter_map(|(body, asked)| wait_ms(arrivals, body, *asked)).collect()
}

/// One connection's share of the jobs, each sent when its time has come.
async fn pace(address: SocketAddr, began: Instant, first: u32, rate: u32, origin: String) -> Vec<(String, Instant)> {
    let mut sender = connect(address).await;
    let mut asked = Vec::new();
    for n in (first..).step_by(CONNECTIONS as usize) {
        let due = began + Duration::from_secs(1) / rate * n;
        if due > began + LOADED {
            return asked;
        }
        tokio::time::sleep_until(due.into()).await;
        let body = format!("load-{n}");
        let job = json!({"plugin": "http", "payload": {"url": origin, "body": body}});
        asked.push((body, now()));
        post(&mut sender, &Sent { path: "/v1/jobs", body: job.to_string().into() }).await;
    }
    unreachable!("the numbers do not end")
}
