//! A mixed load, and what its clients saw of it: single jobs and batches, repeats under a key, retries, cancels, a pause.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::ledger::{Act, Attempt, Job, Ledger, What};
use crate::common::{Host, ms};

/// How many clients there are at once.
const CLIENTS: u64 = 6;
/// How often a job that is to fail is asked for.
const LOOKS_MAX: usize = 500;
/// How many jobs a batch has.
pub const BATCH_JOBS: u32 = 25;

/// Lets the clients do so many things each, and returns when they are done or the host is gone. Where `kill_after` is
/// given, the host is killed when that many things were done in all.
pub async fn run(host: &mut Host, ledger: &Arc<Ledger>, seed: u64, steps: usize, kill_after: Option<usize>) {
    let (done, mut count) = tokio::sync::mpsc::unbounded_channel();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let chance = SmallRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number));
        let (base, client, ledger, done) = (host.base.clone(), host.client.clone(), ledger.clone(), done.clone());
        let user = User {
            number,
            base,
            client,
            ledger,
            chance,
            own: Vec::new(),
            batched: Vec::new(),
            keyed: Vec::new(),
            paused: false,
        };
        clients.spawn(user.run(seed, steps, done));
    }
    drop(done);
    let mut steps_done = 0;
    while count.recv().await.is_some() {
        steps_done += 1;
        if Some(steps_done) == kill_after {
            host.kill();
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client does not panic");
    }
}

/// Jobs that nobody asks after, and that change many pages at once.
pub fn wide_batch(number: i64) -> Value {
    let payload = json!({"do": "echo", "pad": "x".repeat(10_000)});
    let job = json!({"plugin": "misbehave", "payload": payload, "labels": {"batch": format!("wide-{number}")}, "delay": "1h"});
    json!({"jobs": vec![job; BATCH_JOBS as usize]})
}

/// The host is gone, or takes nothing more.
struct Gone;

struct User {
    number: u64,
    base: String,
    client: Client,
    ledger: Arc<Ledger>,
    chance: SmallRng,
    /// Its jobs, and whether each will come to an end by itself.
    own: Vec<(String, bool)>,
    /// Those that came in batches. Nobody calls them off, so that a batch can be counted.
    batched: Vec<String>,
    keyed: Vec<(String, String, String)>,
    paused: bool,
}

impl User {
    async fn run(mut self, seed: u64, steps: usize, done: tokio::sync::mpsc::UnboundedSender<()>) {
        for step in 0..steps {
            if self.step(seed, step).await.is_err() {
                return;
            }
            // Whoever counts is there to the end.
            _ = done.send(());
        }
        // What has become of them in the end; a few only, since each look is a fact that every image is held against.
        let batched = std::mem::take(&mut self.batched).into_iter().map(|id| (id, true));
        for (id, ends) in std::mem::take(&mut self.own).into_iter().chain(batched) {
            if ends && self.look(&id, "?wait=30s").await.is_err() {
                return;
            }
        }
    }

    async fn step(&mut self, seed: u64, step: usize) -> Result<(), Gone> {
        match self.chance.random_range(0..100) {
            0..40 => {
                let payload = json!({"do": "echo", "pad": "x".repeat(self.size())});
                self.enqueue(json!({"plugin": "misbehave", "payload": payload}), true).await
            }
            40..48 => {
                let with = json!({"do": "retry", "message": "not yet"});
                let payload = json!({"do": "fail-until", "attempt": 3, "with": with});
                let retry = json!({"base": "10ms", "jitter": "none"});
                self.enqueue(json!({"plugin": "misbehave", "payload": payload, "retry": retry}), true).await
            }
            48..54 => {
                let payload = json!({"do": "reject", "message": "never"});
                self.enqueue(json!({"plugin": "misbehave", "payload": payload}), true).await
            }
            54..58 => self.fail(format!("it said {seed}-{}-{step}", self.number)).await,
            58..62 => {
                let job = json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"});
                self.enqueue(job, false).await
            }
            62..68 => self.batch(format!("{seed}-{}-{step}", self.number)).await,
            68..76 => self.keyed(seed, step).await,
            76..84 => self.act(Act::Cancel).await,
            84..91 => self.act(Act::Retry).await,
            91..93 if self.number == 0 => self.toggle().await,
            _ => match self.any() {
                Some((id, true)) => self.look(&id, "?wait=5s").await,
                Some((id, false)) => self.look(&id, "").await,
                None => Ok(()),
            },
        }
    }

    /// Mostly small, sometimes large enough for pages of its own.
    fn size(&mut self) -> usize {
        let most = [200, 2_000, 30_000][self.chance.random_range(0..3)];
        self.chance.random_range(0..most)
    }

    fn any(&mut self) -> Option<(String, bool)> {
        let most = self.own.len();
        (most > 0).then(|| self.own[self.chance.random_range(0..most)].clone())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value), Gone> {
        self.send(method, path, body.map(Value::to_string), None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        key: Option<&str>,
    ) -> Result<(u16, Value), Gone> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.map_err(|_| Gone)?;
        let (status, text) = (answer.status().as_u16(), answer.text().await.map_err(|_| Gone)?);
        let value = serde_json::from_str(&text).map_err(|_| Gone)?;
        if status == 503 {
            return Err(Gone);
        }
        assert!(matches!(status, 200 | 202 | 404 | 409), "{path}: {status} {value}");
        Ok((status, value))
    }

    async fn enqueue(&mut self, job: Value, ends: bool) -> Result<(), Gone> {
        let (_, answer) = self.ask(Method::POST, "/v1/jobs", Some(&job)).await?;
        let id = text(&answer["id"]);
        self.ledger.note(What::Accepted(vec![id.clone()]));
        self.own.push((id, ends));
        Ok(())
    }

    /// A job that fails, is looked at, and waits for long.
    async fn fail(&mut self, says: String) -> Result<(), Gone> {
        let steps = json!([{"do": "log", "level": "info", "message": says}, {"do": "retry", "message": "not today"}]);
        let payload = json!({"do": "fail-until", "attempt": 2, "with": {"do": "then", "steps": steps}});
        let job = json!({"plugin": "misbehave", "payload": payload, "retry": {"base": "1h", "cap": "1h"}});
        self.enqueue(job, false).await?;
        let (id, _) = self.own.last().expect("just accepted").clone();
        // It cannot be waited for but by asking again: at most for as long as an attempt takes on a busy machine.
        for _ in 0..LOOKS_MAX {
            let (status, job) = self.ask(Method::GET, &format!("/v1/jobs/{id}"), None).await?;
            if status != 200 || job["state"] != "retryable" {
                tokio::task::yield_now().await;
                continue;
            }
            self.ledger.note(What::Tried(shown(&job)));
            let (status, attempt) = self.ask(Method::GET, &format!("/v1/jobs/{id}/attempts/1"), None).await?;
            assert_eq!((status, &attempt["log"][0]["message"]), (200, &json!(says)), "{attempt}");
            self.ledger.note(What::Said { id, n: 1, said: says });
            return Ok(());
        }
        Ok(())
    }

    async fn batch(&mut self, name: String) -> Result<(), Gone> {
        let job = |n| json!({"plugin": "misbehave", "payload": {"do": "echo", "n": n}, "labels": {"batch": &name}});
        let jobs: Vec<_> = (0..BATCH_JOBS).map(job).collect();
        let (_, answer) = self.ask(Method::POST, "/v1/jobs/batch", Some(&json!({"jobs": jobs}))).await?;
        let ids: Vec<_> = answer["ids"].as_array().expect("ids").iter().map(text).collect();
        self.ledger.note(What::Accepted(ids.clone()));
        self.batched.extend(ids);
        Ok(())
    }

    /// A job under a new key, or a repeat.
    async fn keyed(&mut self, seed: u64, step: usize) -> Result<(), Gone> {
        if let Some((id, key, body)) = self.keyed.last().filter(|_| step.is_multiple_of(2)) {
            let (status, answer) = self.send(Method::POST, "/v1/jobs", Some(body.clone()), Some(key)).await?;
            assert_eq!((status, &answer["id"]), (200, &json!(id)));
            return Ok(());
        }
        let key = format!("{seed}-{}-{step}", self.number);
        let body = json!({"plugin": "misbehave", "payload": {"do": "echo", "key": key}}).to_string();
        let (_, answer) = self.send(Method::POST, "/v1/jobs", Some(body.clone()), Some(&key)).await?;
        let id = text(&answer["id"]);
        self.ledger.note(What::Keyed { id: id.clone(), key: key.clone(), body: body.clone() });
        self.own.push((id.clone(), true));
        self.keyed.push((id, key, body));
        Ok(())
    }

    async fn act(&mut self, act: Act) -> Result<(), Gone> {
        let Some((id, _)) = self.any() else { return Ok(()) };
        let word = if act == Act::Cancel { "cancel" } else { "retry" };
        self.ledger.note(What::Asked(id.clone(), act));
        let (status, _) = self.ask(Method::POST, &format!("/v1/jobs/{id}/{word}"), None).await?;
        if status == 200 {
            self.ledger.note(What::Acted(id, act));
        }
        Ok(())
    }

    async fn toggle(&mut self) -> Result<(), Gone> {
        self.ledger.note(What::AskedPause);
        self.paused = !self.paused;
        let word = if self.paused { "pause" } else { "resume" };
        let (status, answer) = self.ask(Method::POST, &format!("/v1/plugins/echo/{word}"), None).await?;
        assert_eq!(status, 200, "{answer}");
        self.ledger.note(What::Paused(self.paused));
        Ok(())
    }

    async fn look(&self, id: &str, how: &str) -> Result<(), Gone> {
        let (status, job) = self.ask(Method::GET, &format!("/v1/jobs/{id}{how}"), None).await?;
        if status == 200 {
            let (job, is_final) = (shown(&job), !job["finished_at"].is_null());
            if is_final {
                self.ledger.note(What::Shown(job));
            } else if !job.attempts.is_empty() {
                self.ledger.note(What::Tried(job));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no id")).to_owned()
}

fn shown(job: &Value) -> Job {
    let attempts = job["attempts"].as_array().expect("attempts").iter().filter(|it| !it["finished_at"].is_null());
    let attempt = |it: &Value| Attempt {
        n: it["n"].as_i64().expect("a number"),
        outcome: text(&it["outcome"]),
        finished_ms: ms(&it["finished_at"]),
        error: it["error"].as_str().map(str::to_owned),
    };
    Job {
        id: text(&job["id"]),
        state: text(&job["state"]),
        result: job["result"].clone(),
        attempts: attempts.map(attempt).collect(),
    }
}
