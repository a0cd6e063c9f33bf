//! `windlass demo`: the main job, to be watched: a host, a plugin, a downstream that fails at first, and a few jobs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::api::Door;
use crate::config::{Config, Store};
use crate::job::State;
use crate::lock::lock;
use crate::telemetry::{self, LogFormat};

use super::serve::{Running, hosting};
use super::signals::Signals;
use super::{DemoArgs, ExitCode, print};

/// The shipped plugin.
const HTTP_PLUGIN: &[u8] = include_bytes!("../../plugins/http.wasm");
/// Where the demo keeps its store and its plugins, in the current folder.
const FOLDER: &str = "windlass-demo";
/// How many calls the downstream refuses for each job.
const REFUSALS: [u32; 3] = [3, 1, 0];
/// How often the demo looks at its jobs.
const GLANCE: Duration = Duration::from_millis(100);

/// Shows the main job. Stays up afterwards, unless `--once` is said.
///
/// # Errors
/// Where the demo's folder cannot be written, or the host cannot start.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let _logging = telemetry::subscribe_quietly(LogFormat::Text)?;
    hosting(async {
        let mut signals = Signals::new()?;
        let downstream = flaky_downstream().await?;
        let config = settings(args, downstream)?;
        let door = Door::open(&config, "its settings")?;
        let running = Running::start(config, door).await?;
        tokio::select! {
            shown = show(running.address, downstream) => shown?,
            _ = signals.next() => {
                let stopped = running.stop(std::future::ready(())).await?;
                return Ok((ExitCode::Done, Some(stopped)));
            }
        }
        if !args.once {
            print::out(&farewell(running.address, downstream));
            signals.next().await;
        }
        let stopped = running.stop(signals.another()).await?;
        Ok((ExitCode::Done, Some(stopped)))
    })
}

/// Lays out the demo's folder and points a host at it.
fn settings(args: &DemoArgs, downstream: SocketAddr) -> anyhow::Result<Config> {
    let folder = Path::new(FOLDER);
    let plugins = folder.join("plugins");
    let grants = format!(
        "# What the plugin `http` may reach. Nothing else is reachable.\norigins = [\"http://{downstream}\"]\n\n\
         # So that the doubling is easy to see: by default each delay is spread.\n[retry]\njitter = \"none\"\n"
    );
    let lay_out = || -> std::io::Result<()> {
        std::fs::create_dir_all(&plugins)?;
        std::fs::write(plugins.join("http.wasm"), HTTP_PLUGIN)?;
        std::fs::write(plugins.join("http.toml"), grants)
    };
    lay_out().with_context(|| format!("cannot write the demo's folder {FOLDER}"))?;
    let store = Store::in_folder(&folder.join("data")).map_err(anyhow::Error::msg)?;
    let mut config = Config { store, ..Config::default() };
    config.plugins.dir = plugins;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    Ok(config)
}

/// A downstream on loopback that refuses the first calls of each job, as many as the path says.
async fn flaky_downstream() -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("cannot start the demo's downstream")?;
    let address = listener.local_addr()?;
    let calls = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let router =
        Router::new().route(
            "/refuse/{refusals}",
            axum::routing::post(move |axum::extract::Path(refusals): axum::extract::Path<u32>, headers: HeaderMap| {
                let key =
                    headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
                let mut calls = lock(&calls);
                let count = calls.entry(key).or_default();
                *count += 1;
                let refused = *count <= refusals;
                async move {
                    if refused { (StatusCode::SERVICE_UNAVAILABLE, "not now") } else { (StatusCode::OK, "thank you") }
                }
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Enqueues over HTTP and prints every attempt as it ends.
async fn show(host: SocketAddr, downstream: SocketAddr) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    print::out(&format!("windlass is up on http://{host}; its plugins are in {FOLDER}/plugins\n\n"));
    let mut jobs = Vec::new();
    for (number, refusals) in (1..).zip(REFUSALS) {
        let url = format!("http://{downstream}/refuse/{refusals}");
        let request = json!({"plugin": "http", "payload": {"url": url, "body": {"order": number}}});
        let answer = client.post(format!("http://{host}/v1/jobs")).json(&request).send().await?;
        let status = answer.status();
        let answer: Value = answer.json().await?;
        let id = answer["id"].as_str().with_context(|| format!("the host answered {answer}"))?.to_owned();
        let calls = match refusals {
            0 => "no call".to_owned(),
            1 => "the first call".to_owned(),
            more => format!("the first {more} calls"),
        };
        print::out(&format!(
            "POST /v1/jobs {request}\n  {status}: job {number} is {id}; its downstream refuses {calls}\n\n"
        ));
        jobs.push(Watched { number, id, refusals, attempts: 0, previous_end: None });
    }
    while !jobs.is_empty() {
        for watched in &mut jobs {
            let job: Value = client.get(format!("http://{host}/v1/jobs/{}", watched.id)).send().await?.json().await?;
            print::out(&watched.news(&job));
        }
        jobs.retain(|watched| watched.attempts <= watched.refusals);
        tokio::time::sleep(GLANCE).await;
    }
    print::out(&format!("\nEvery job is {}.\n", State::Completed));
    Ok(())
}

/// A job whose attempts are being printed.
struct Watched {
    number: u32,
    id: String,
    refusals: u32,
    attempts: u32,
    previous_end: Option<i64>,
}

impl Watched {
    /// The lines about what ended since the last look.
    fn news(&mut self, job: &Value) -> String {
        let mut text = String::new();
        let attempts = job["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
        for attempt in attempts.iter().skip(self.attempts as usize).filter(|attempt| !attempt["finished_at"].is_null())
        {
            self.attempts += 1;
            let word = |name: &str| attempt[name].as_str().unwrap_or_default().to_owned();
            let moment = |name: &str| crate::clock::UnixMs::parse(&word(name)).map_or(0, |moment| moment.0);
            let waited = self
                .previous_end
                .map_or(String::new(), |end| format!(" after {:.1} s", (moment("started_at") - end) as f64 / 1e3));
            self.previous_end = Some(moment("finished_at"));
            let error = attempt["error"].as_str().map_or(String::new(), |error| format!(": {error}"));
            let _ = writeln!(
                text,
                "{} job {}, attempt {}{waited}: {}{error}",
                word("finished_at"),
                self.number,
                attempt["n"],
                word("outcome")
            );
        }
        text
    }
}

fn farewell(host: SocketAddr, downstream: SocketAddr) -> String {
    format!(
        "
windlass stays up until Ctrl-C. In another terminal:

  # a second plugin: drop its file in, and enqueue for it at once
  cp plugins/http.wasm {FOLDER}/plugins/webhook.wasm
  cp {FOLDER}/plugins/http.toml {FOLDER}/plugins/webhook.toml
  curl -s http://{host}/v1/jobs -H 'Content-Type: application/json' \\
    -d '{{\"plugin\": \"webhook\", \"payload\": {{\"url\": \"http://{downstream}/refuse/2\"}}}}'

  # what is there
  curl -s http://{host}/v1/jobs
  curl -s http://{host}/v1/plugins
"
    )
}
