//! The real binary at rest: how soon it picks up a job, and what it costs to do nothing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::machine::{Folder, cpu, fdatasync_median, now, resident_mib};
use crate::{folder, line, median};

/// How many jobs are picked up, one after the other.
const JOBS: usize = 300;
/// How long the host is watched doing nothing.
const REST: Duration = Duration::from_secs(5);

/// Measures and prints.
pub async fn report() {
    let (arrivals, mut arrived) = mpsc::unbounded_channel::<Instant>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    let router = Router::new().fallback(move || {
        let at = now();
        let arrivals = arrivals.clone();
        async move {
            let _ = arrivals.send(at);
            "yes"
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut host = Host::start(&origin);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let address = host.ready(&client).await;

    let sync = fdatasync_median();
    let mut times_us = Vec::new();
    for _ in 0..JOBS {
        let job = json!({"plugin": "http", "payload": {"url": origin, "body": 1}});
        let asked = now();
        let answer = client.post(format!("{address}/v1/jobs")).json(&job).send().await.expect("an answer");
        let id = answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();
        let at = arrived.recv().await.expect("the job's call");
        times_us.push((at - asked).as_secs_f64() * 1e6);
        // The next one finds the system idle.
        client.get(format!("{address}/v1/jobs/{id}?wait=10s")).send().await.expect("an answer");
    }
    let sync_us = sync.as_secs_f64() * 1e6;
    let goal_us = 2.0 * sync_us + 500.0;
    let picked_up = median(times_us);
    let name = "idle pick-up, POST asked to call arrived | one fdatasync";
    line(
        name,
        &format!("{picked_up:.0} us"),
        &format!("{sync_us:.0} us"),
        Some(picked_up / sync_us),
        &format!("{goal_us:.0} us"),
    );
    tokio::time::sleep(REST / 5).await;
    let before = cpu(host.child.id());
    tokio::time::sleep(REST).await;
    let idle = (cpu(host.child.id()) - before).as_secs_f64() / REST.as_secs_f64() * 100.0;
    line(
        "resident memory, idle, one Rust plugin",
        &format!("{:.1} MiB", resident_mib(host.child.id())),
        "",
        None,
        "<= 60",
    );
    line("CPU, idle", &format!("{idle:.1} %"), "", None, "");
}

/// The real binary.
pub struct Host {
    child: Child,
    _folder: Folder,
}

impl Host {
    fn start(origin: &str) -> Self {
        let http = std::fs::read("plugins/http.wasm").expect("the shipped plugin");
        Self::with(&[("http", &http, origin)])
    }

    /// With these plugins: name, component and the origin that it may reach, if any.
    pub fn with(plugins: &[(&str, &[u8], &str)]) -> Self {
        let folder = folder();
        let dir = folder.path().join("plugins");
        std::fs::create_dir(&dir).expect("a folder");
        for (name, component, origin) in plugins {
            std::fs::write(dir.join(format!("{name}.wasm")), component).expect("a file");
            if !origin.is_empty() {
                std::fs::write(dir.join(format!("{name}.toml")), format!("origins = [\"{origin}\"]")).expect("a file");
            }
        }
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        Self { child, _folder: folder }
    }

    /// The base of its URLs, when it is ready.
    pub async fn ready(&mut self, client: &reqwest::Client) -> String {
        let mut lines = BufReader::new(self.child.stderr.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line.ok()?).ok()?;
                Some(line.get("address").or_else(|| line.get("fields")?.get("address"))?.as_str()?.to_owned())
            })
            .expect("it says where it listens");
        // Nobody reads on, and a full pipe would stop the host.
        std::thread::spawn(move || lines.for_each(drop));
        let base = format!("http://{address}");
        loop {
            let answer = client.get(format!("{base}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return base;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
