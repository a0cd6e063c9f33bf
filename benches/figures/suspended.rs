//! Attempts suspended in a slow call, very many at once, in the real binary: what each holds of the memory, and whether
//! clients notice.

use std::time::Duration;

use crate::guest;
use crate::host::{Dropped, Host};
use crate::jobs::as_json;
use crate::load::{Sent, connect, post};
use crate::machine::{held_kib, maps, maps_max, now, raise_open_files, resident_kib};
use crate::role::Player;
use crate::table::{note, two};

/// How many are suspended.
const SUSPENDED: [u64; 2] = [1_000, 10_000];
/// Descriptors of a host that are for others than its downstreams; of the rest a plugin gets nine tenths.
const OTHERS: u64 = 2_000;
/// What lets so many run at once. Clients get fewer sockets, so that downstreams get more.
const SETTINGS: &str = r#"
[limits]
concurrency = 10000
deadline = "10m"
[breaker]
initial = 10000
[server]
connections = 1000
"#;
/// How many jobs are enqueued meanwhile, and how far apart.
const JOBS: usize = 300;
const APART: Duration = Duration::from_millis(10);

/// Measures and prints.
pub async fn report() {
    let files = raise_open_files();
    for asked in SUSPENDED {
        let count = asked.min(files.saturating_sub(OTHERS) * 9 / 10 / 100 * 100);
        if count < asked {
            println!("suspended: {count} instead of {asked}, as the system allows {files} open files a process");
        }
        hold(count).await;
    }
}

async fn hold(count: u64) {
    let mut downstream = Player::start("downstream-silent", &[("COUNT", count.to_string())]);
    let origin = downstream.line();
    let http = guest::shipped();
    let file = format!("concurrency = 10000\norigins = [\"{origin}\"]");
    let mut host = Host::start(SETTINGS, &[Dropped { name: "http", component: &http, file }]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = host.ready(&client).await;
    let before = Footprint::of(&host);

    let (job, asked) = (as_json(&origin), now());
    enqueue(&client, &base, &job, usize::try_from(count).expect("it fits")).await;
    let came = downstream.line();
    let filled = asked.elapsed();
    if came != count.to_string() {
        println!("suspended: not measured, as {came} of {count} calls arrived");
        return;
    }
    // What was only needed on the way there is given back.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell(count, &before, &Footprint::of(&host));
    note("  from the enqueue to the last call", &format!("{:.0} ms", filled.as_secs_f64() * 1e3), "");
    note("  enqueue meanwhile, p50/p99", &two(&enqueue_meanwhile(&base, &job).await), "p99 <= 20");
}

/// What a process has of the system's memory.
struct Footprint {
    resident_kib: f64,
    held_kib: f64,
    maps: usize,
}

impl Footprint {
    fn of(host: &Host) -> Self {
        Self { resident_kib: resident_kib(host.pid()), held_kib: held_kib(host.pid()), maps: maps(host.pid()) }
    }
}

fn tell(count: u64, before: &Footprint, after: &Footprint) {
    let each = |more: f64| more / count as f64;
    let kib = each(after.resident_kib - before.resident_kib);
    note(&format!("memory of a suspended attempt, {count} at once"), &format!("{kib:.1} KiB"), "<= 40");
    let goal = if count >= 10_000 { "<= 500" } else { "" };
    note("  of the host in all", &format!("{:.0} MiB", after.resident_kib / 1_024.0), goal);
    let held = each(after.held_kib - before.held_kib);
    let held = format!("{held:.1} KiB, {:.0} MiB", after.held_kib / 1_024.0);
    note("  the same, with the pages counted once that all share", &held, "");
    let maps = each((after.maps - before.maps) as f64);
    note("  mappings of memory, and before the first", &format!("{maps:.1}, {}", before.maps), "");
    note("  in all, of vm.max_map_count", &format!("{} of {}", after.maps, maps_max()), "");
}

async fn enqueue(client: &reqwest::Client, base: &str, job: &str, count: usize) {
    let batch = format!(r#"{{"jobs":[{}]}}"#, vec![job; count].join(","));
    let request = client.post(format!("{base}/v1/jobs/batch")).header("content-type", "application/json").body(batch);
    assert_eq!(request.send().await.expect("an answer").status(), 202);
}

async fn enqueue_meanwhile(base: &str, job: &str) -> Vec<f64> {
    let address = base.trim_start_matches("http://").parse().expect("an address");
    let (mut sender, sent) = (connect(address).await, Sent { path: "/v1/jobs", body: job.to_owned().into() });
    let mut latencies_ms = Vec::new();
    for _ in 0..JOBS {
        tokio::time::sleep(APART).await;
        let asked = now();
        post(&mut sender, &sent).await;
        latencies_ms.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    latencies_ms
}
