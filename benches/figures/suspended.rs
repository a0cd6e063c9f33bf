//! Attempts suspended in a slow call, very many at once, in the real binary: what each holds of the memory, and whether
//! clients notice.

use std::time::Duration;

use crate::guest;
use crate::host::{Dropped, Host};
use crate::jobs::as_json;
use crate::load::{Sent, connect, post};
use crate::machine::{maps, maps_max, now, raise_open_files, resident_kib};
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
/// How long to wait for calls to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures and prints.
pub async fn report() {
    let files = raise_open_files();
    for asked in SUSPENDED {
        let count = asked.min(files.saturating_sub(OTHERS) * 9 / 10 / 100 * 100);
        if count < asked {
            println!("suspended: {count} instead of {asked}, as the system allows {files} open files a process");
        }
        hold(usize::try_from(count).expect("it fits")).await;
    }
}

async fn hold(count: usize) {
    let mut downstream = Player::start("downstream-silent", &[]);
    let origin = downstream.line();
    let http = guest::shipped();
    let file = format!("concurrency = 10000\norigins = [\"{origin}\"]");
    let mut host = Host::start(SETTINGS, &[Dropped { name: "http", component: &http, file }]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = host.ready(&client).await;
    let (resident_before, maps_before) = (resident_kib(host.pid()), maps(host.pid()));

    let job = as_json(&origin);
    let jobs = vec![job.as_str(); count].join(",");
    let batch = format!(r#"{{"jobs":[{jobs}]}}"#);
    let request = client.post(format!("{base}/v1/jobs/batch")).header("content-type", "application/json").body(batch);
    let (answer, started) = (request.send().await.expect("an answer"), now());
    assert_eq!(answer.status(), 202);
    let came = until_called(downstream, count).await;
    let filled_ms = started.elapsed().as_secs_f64() * 1e3;
    let Some(_downstream) = came else {
        println!("suspended: {count} calls did not all arrive within {PATIENCE:?}");
        return;
    };
    // What is still allocated and freed on the way there.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resident = resident_kib(host.pid());
    let each = (resident - resident_before) / count as f64;
    note(&format!("memory of a suspended attempt, {count} at once"), &format!("{each:.1} KiB"), "<= 40");
    let all_goal = if count == 10_000 { "<= 500" } else { "" };
    note("  of the host in all", &format!("{:.0} MiB", resident / 1_024.0), all_goal);
    note("  from the enqueue to the last call", &format!("{filled_ms:.0} ms"), "");
    let own_maps = (maps(host.pid()) - maps_before) as f64 / count as f64;
    note("  mappings each, and of all the system's most", &format!("{own_maps:.1}, {}", maps_of(&host)), "");
    let latencies_ms = enqueue_meanwhile(&base, &job).await;
    note("  enqueue meanwhile, p50/p99", &two(&latencies_ms), "p99 <= 20");
}

fn maps_of(host: &Host) -> String {
    format!("{} of {}", maps(host.pid()), maps_max())
}

/// Waits until so many calls have arrived; the downstream goes on holding them.
async fn until_called(mut downstream: Player, count: usize) -> Option<Player> {
    let waiting = tokio::task::spawn_blocking(move || {
        while downstream.line().parse::<usize>().expect("a number") < count {}
        downstream
    });
    tokio::time::timeout(PATIENCE, waiting).await.ok().map(|downstream| downstream.expect("it goes on"))
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
