//! A real store of the real binary: jobs of every kind, once closed in order and once left behind by a killed host.

use std::path::{Path, PathBuf};

use reqwest::Method;
use rustix::process::Signal;
use tempfile::TempDir;

use super::common::{Host, Setup, Value, json, until};
use super::damage::{Damage, Dice};
use super::rows::{self, Jobs};

/// The files of a store.
const FILES: [&str; 3] = ["windlass.db", "windlass.db-wal", "windlass.db-shm"];

/// The two stores, and what is known to be in them.
pub struct Base {
    /// Closed in order, in the middle of the work.
    pub closed: TempDir,
    pub early: Jobs,
    /// The same store later, when its host was killed.
    pub killed: TempDir,
    pub late: Jobs,
}

/// The host that works on such a store.
pub fn setup() -> Setup {
    Setup::default().guest("echo", "").guest("misbehave", "").plugin("http", super::common::guests::shipped(), "")
}

pub fn store_in(folder: &Path) -> PathBuf {
    folder.join("windlass.db")
}

pub fn copy(from: &Path, to: &Path) {
    for name in FILES {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Everything in the files of a store.
pub fn content(folder: &Path) -> Vec<Option<Vec<u8>>> {
    FILES.iter().map(|name| std::fs::read(folder.join(name)).ok()).collect()
}

impl Base {
    pub async fn make() -> Self {
        let mut host = setup().start().await;
        let mut dice = Dice(1);
        let mut waiting = work(&host, &mut dice, 90).await;
        host.signal(Signal::TERM);
        assert_eq!(host.exited().await, 0);
        let closed = TempDir::new().unwrap();
        copy(&host.dir().join("data"), closed.path());
        assert!(!closed.path().join("windlass.db-wal").exists(), "it was closed in order");

        host.start().await;
        waiting.extend(work(&host, &mut dice, 60).await);
        for (index, id) in waiting.iter().enumerate().filter(|(index, _)| index % 3 > 0) {
            let act = if index % 3 == 1 { "cancel" } else { "retry" };
            let answer = host.ask(Method::POST, &format!("/v1/jobs/{id}/{act}"), None).await;
            assert!(answer.status().is_success(), "{}", answer.status());
            if index % 3 == 2 {
                host.ended(id).await;
            }
        }
        host.kill();
        let killed = TempDir::new().unwrap();
        copy(&host.dir().join("data"), killed.path());
        assert!(killed.path().join("windlass.db-wal").metadata().unwrap().len() > 100_000);

        let early = known(closed.path());
        let late = known(killed.path());
        assert!(early.len() > 80 && late.len() > early.len());
        Self { closed, early, killed, late }
    }

    pub fn truth(&self, damage: &Damage) -> &Jobs {
        if damage.wants_log() { &self.late } else { &self.early }
    }

    pub fn jobs(&self, damage: &Damage) -> u64 {
        self.truth(damage).len() as u64
    }
}

/// What is in a store, read from a copy.
fn known(folder: &Path) -> Jobs {
    let scratch = TempDir::new().unwrap();
    copy(folder, scratch.path());
    rows::jobs(&store_in(scratch.path()))
}

/// Has jobs of every kind done, and answers those that wait for a time that does not come.
async fn work(host: &Host, dice: &mut Dice, jobs: u64) -> Vec<String> {
    host.ask(Method::POST, "/v1/plugins/http/resume", None).await;
    let (mut over, mut failed, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..jobs {
        let (status, answer) = enqueue(host, job(dice, n), n).await;
        assert_eq!(status, 202, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        match n % 6 {
            0 | 1 | 3 => over.push(id),
            2 => failed.push(id),
            _ if !is_held(n) => waiting.push(id),
            _ => _ = host.waiting(&id, "grant-missing").await,
        }
    }
    for id in &over {
        host.ended(id).await;
    }
    for id in &failed {
        until("it has failed", || async { (host.job(id).await["state"] == "retryable").then_some(()) }).await;
    }
    host.ask(Method::POST, "/v1/plugins/http/pause", None).await;
    waiting
}

/// A few lack a grant.
fn is_held(n: u64) -> bool {
    n % 18 == 5
}

fn job(dice: &mut Dice, n: u64) -> Value {
    let bytes = if n % 15 == 1 { 6_000 + dice.below(9_000) } else { dice.below(700) };
    let text: String = (0..bytes).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
    let labels = json!({"n": n.to_string()});
    match n % 6 {
        0 | 1 => json!({"plugin": "echo", "payload": text, "labels": labels}),
        2 => json!({"plugin": "misbehave", "retry": {"base": "1h", "cap": "24h"},
            "payload": {"do": "fail-until", "attempt": 2, "with": {"do": "retry", "message": text}}}),
        3 => json!({"plugin": "misbehave", "payload": {"do": "reject", "message": text, "code": "no"}}),
        _ if !is_held(n) => json!({"plugin": "echo", "payload": text, "delay": "20h", "priority": 7}),
        _ => json!({"plugin": "http", "payload": {"url": "http://127.0.0.1:9/", "body": text}}),
    }
}

async fn enqueue(host: &Host, job: Value, n: u64) -> (u16, Value) {
    let mut request = host.client.post(format!("{}/v1/jobs", host.base)).header("content-type", "application/json");
    if n % 4 == 1 {
        request = request.header("idempotency-key", format!("{n}-{job}").chars().take(100).collect::<String>());
    }
    let answer = request.body(job.to_string()).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}
