//! A host with the hostile plugins, the trap that they call, and the neighbour beside them.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::component;
use super::downstream::Trap;
use super::kinds::{Attack, Expect, Kind, payload};
use super::neighbour::{self, Neighbour};
use super::process::Held;
use super::waiting;
use crate::common::{Host, Setup, guests, ms, until};

/// Attempts at once.
pub const CONCURRENCY: u64 = 16;
/// Jobs in one call: as many as can begin at once.
const BATCH_JOBS: usize = CONCURRENCY as usize;
/// What each may hold.
pub const MEMORY_KIB: u64 = 8 << 10;
/// The CPU time of each.
const CPU_MS: i64 = 20;
/// An asynchronous plugin that behaves.
const BESIDE: &str = "beside";
/// The wall time of a job that is brief.
const BRIEF_MS: i64 = 200;
/// What no log, answer or store may hold.
const SECRET: &str = "s3cr3t+of/the=house";

/// Which of two limits ends a guest that spins through calls would be chance: it is left to the processor's time.
const HOST: &str = r#"
[limits]
calls = 4000000000
call_bytes = "1024GiB"
random_total = "1024GiB"
deadline = "60s"
cpu = "20ms"
memory = "8MiB"
response = "64KiB"
output = "4KiB"
payload = "64KiB"
result = "64KiB"
concurrency = 16
[breaker]
failures = 1000000
[plugins]
compile = { cpu = "20s", memory = "1GiB", wall = "60s" }
"#;

/// Where kinds are tried.
pub struct World {
    pub host: Host,
    pub trap: Trap,
    pub neighbour: Neighbour,
    _secret: tempfile::NamedTempFile,
}

/// What was seen of one kind.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    pub outcome: String,
    pub repeats: usize,
    pub worst_overrun_ms: Option<i64>,
    pub before: Held,
    pub after: Held,
    /// How long each job of the neighbour waited for its call, in milliseconds.
    pub waits_ms: Vec<f64>,
}

impl World {
    /// Starts a host with what those kinds need.
    pub async fn start(kinds: &[Kind]) -> Self {
        let trap = Trap::open().await;
        let neighbour = Neighbour::new().await;
        let mut secret = tempfile::NamedTempFile::new().expect("a temporary file");
        secret.write_all(SECRET.as_bytes()).expect("a written file");
        let granted = format!("concurrency = 8\norigins = [\"{}\", \"{}\"]\n", trap.origin(), trap.named_origin());
        let rest = "[retry]\nmax_attempts = 1\n[config]\narmed = \"yes\"\n";
        let key = |name: &str| format!("[secrets]\n{name} = {{ file = \"{}\" }}\n", secret.path().display());
        let mut setup = Setup::default()
            .config(HOST)
            .plugin(neighbour::PLUGIN, guests::shipped(), &format!("origins = [\"{}\"]", neighbour.origin()))
            .guest("misbehave", &format!("{granted}{rest}{}", key("own_key")))
            .plugin("reused", guests::component("misbehave"), &format!("{granted}reuse = {{}}\n{rest}"))
            .plugin("other", guests::component("echo"), &key("other_key"));
        for kind in kinds {
            match kind.attack {
                Attack::Component(build) => setup = setup.plugin(kind.name, build(), &format!("{granted}{rest}")),
                Attack::Waiting(build) => {
                    let beside = waiting::component(0, 1);
                    setup = setup.plugin(kind.name, build(), rest).plugin(BESIDE, beside, rest);
                }
                _ => {}
            }
        }
        Self { host: setup.start().await, trap, neighbour, _secret: secret }
    }

    /// What the host holds now.
    pub fn held(&self) -> Held {
        Held::by(self.host.pid().as_raw_nonzero().get())
    }

    /// Tries a kind so often beside the neighbour, and checks each outcome.
    pub async fn run(&self, kind: &Kind, repeats: usize) -> Report {
        let repeats = repeats.min(kind.repeats_max);
        let before = self.held();
        let load = self.neighbour.begin(&self.host.client, &self.host.base);
        let worst_overrun_ms = match &kind.attack {
            Attack::Verb(text) => self.attempts(kind, "misbehave", &self.verb(text), None, repeats).await,
            Attack::Brief(text) => self.attempts(kind, "misbehave", &self.verb(text), Some(BRIEF_MS), repeats).await,
            Attack::Reused(text) => self.attempts(kind, "reused", &self.verb(text), None, repeats).await,
            Attack::Component(_) | Attack::Waiting(_) => {
                self.attempts(kind, kind.name, &json!(component::go()), None, repeats).await
            }
            Attack::Load(build) => {
                self.loads(kind, build(), repeats).await;
                None
            }
            Attack::File(put) => {
                self.files(kind, *put, repeats).await;
                None
            }
        };
        let waits_ms = load.end().await;
        let outcome = kind.expect.told().replace('`', "");
        Report { name: kind.name, outcome, repeats, worst_overrun_ms, before, after: self.held(), waits_ms }
    }

    fn verb(&self, text: &str) -> Value {
        payload(text, &self.trap)
    }

    /// Jobs of that payload, and a good one after every three, so that the plugin is not found to be unfit; or so that it is
    /// seen whether another goes on.
    async fn attempts(
        &self,
        kind: &Kind,
        plugin: &str,
        payload: &Value,
        deadline_ms: Option<i64>,
        repeats: usize,
    ) -> Option<i64> {
        let mut jobs = Vec::new();
        for n in 0..repeats {
            let mut job = json!({"plugin": plugin, "payload": payload, "downstream": kind.name});
            if let Some(ms) = deadline_ms {
                job["deadline"] = json!(format!("{ms}ms"));
            }
            jobs.push((job, true));
            if n % 3 == 2 && kind.repeats_max == usize::MAX {
                let plugin = if matches!(kind.attack, Attack::Waiting(_)) { BESIDE } else { plugin };
                let good = if payload.is_object() { json!({"do": "echo"}) } else { json!("") };
                jobs.push((json!({"plugin": plugin, "payload": good, "downstream": kind.name}), false));
            }
        }
        // A few in each call: it is the attempts that are to be felt, and not what a client may ask to be written at once.
        let mut ids = Vec::new();
        for batch in jobs.chunks(BATCH_JOBS) {
            let batch: Vec<_> = batch.iter().map(|(job, _)| job.clone()).collect();
            ids.extend(self.host.enqueue_all(&batch).await);
        }
        let mut worst = None;
        for (index, (id, (_, is_hostile))) in ids.iter().zip(&jobs).enumerate() {
            let job = match kind.expect {
                Expect::Held if *is_hostile => {
                    let held = self.host.waiting(id, "grant-missing").await;
                    self.host.ask(Method::POST, &format!("/v1/jobs/{id}/cancel"), None).await;
                    held
                }
                _ => self.host.ended(id).await,
            };
            if *is_hostile {
                worst = worst.max(self.judge(kind, &job, deadline_ms));
            } else {
                assert_eq!(job["state"], "completed", "{}: a good job of the same plugin: {job:#}", kind.name);
            }
            if index == 0 {
                self.check_kept(kind, id).await;
            }
        }
        worst
    }

    /// How much longer it took than it may.
    fn judge(&self, kind: &Kind, job: &Value, deadline_ms: Option<i64>) -> Option<i64> {
        let attempt = &job["attempts"][0];
        let outcome = attempt["outcome"].as_str().unwrap_or_default();
        let told = attempt["error"].as_str().unwrap_or_default();
        match kind.expect {
            // Its call ended just before its time was up: on a busy machine the guest comes too late to say so.
            Expect::Outcome("try-again") if deadline_ms.is_some() && outcome == "deadline" => {}
            Expect::Outcome(expected) => assert_eq!(outcome, expected, "{}: {job:#}", kind.name),
            Expect::Result(part) => {
                assert_eq!(outcome, "completed", "{}: {job:#}", kind.name);
                assert!(job["result"].to_string().contains(part), "{}: {job:#}", kind.name);
            }
            Expect::Held => assert_eq!(outcome, "denied", "{}: {job:#}", kind.name),
            other => panic!("{}: an attempt cannot be {other:?}", kind.name),
        }
        assert!(told.len() <= 4_096 && !told.contains(|c: char| c.is_control()), "{}: {told:?}", kind.name);
        let peak = attempt["memory_peak_bytes"].as_u64().unwrap_or(0);
        assert!(peak <= MEMORY_KIB << 10, "{}: {job:#}", kind.name);
        let took = ms(&attempt["finished_at"]) - ms(&attempt["started_at"]);
        match (outcome, deadline_ms) {
            ("cpu-budget" | "denied", _) => Some(attempt["cpu_ms"].as_f64().unwrap_or(0.0) as i64 - CPU_MS),
            (_, Some(deadline_ms)) => Some(took - deadline_ms),
            _ => None,
        }
    }

    /// What is kept of an attempt is bounded, clean, and without secrets.
    async fn check_kept(&self, kind: &Kind, id: &str) {
        let attempt = self.host.get(&format!("/v1/jobs/{id}/attempts/1")).await.to_string();
        let job = self.host.job(id).await["result"].to_string();
        for (kept, form) in [&attempt, &job].into_iter().flat_map(|kept| spellings().map(move |form| (kept, form))) {
            assert!(!kept.contains(&form), "{} told a secret: {kept}", kind.name);
        }
        // A result is data, and kept as it is.
        assert!(!attempt.contains("\\u001b"), "{} kept an escape sequence: {attempt}", kind.name);
        assert!(attempt.len() <= 64 << 10, "{} kept {} bytes", kind.name, attempt.len());
    }

    async fn loads(&self, kind: &Kind, component: Vec<u8>, repeats: usize) {
        let path = format!("/v1/plugins/{}", kind.name);
        for _ in 0..repeats {
            let url = format!("{}{path}", self.host.base);
            let answer = self.host.client.put(url).body(component.clone()).send().await.expect("the host answers");
            let (status, text) = (answer.status(), answer.text().await.expect("a whole answer"));
            match kind.expect {
                Expect::Refused(part) => {
                    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{}: {text}", kind.name);
                    assert!(text.contains(part), "{}: {text}", kind.name);
                }
                Expect::Undescribed => {
                    assert!(status.is_success(), "{}: {text}", kind.name);
                    let told: Value = serde_json::from_str(&text).expect("JSON");
                    assert!(
                        told["asked"].is_null() && told["description_error"].is_string(),
                        "{}: {told:#}",
                        kind.name
                    );
                }
                Expect::Bounded => {
                    assert!(status.is_success() || status == StatusCode::UNPROCESSABLE_ENTITY, "{}: {text}", kind.name);
                }
                other => panic!("{}: a component cannot be {other:?}", kind.name),
            }
            assert!(text.len() <= 64 << 10 && !text.contains("\\u001b"), "{}: {} bytes", kind.name, text.len());
            self.host.ask(Method::DELETE, &path, None).await;
        }
    }

    async fn files(&self, kind: &Kind, put: fn(&std::path::Path), repeats: usize) {
        let (folder, path) = (self.host.plugins(), format!("/v1/plugins/{}", kind.name));
        for _ in 0..repeats {
            let seen = |folder: &std::path::Path| -> Vec<_> {
                std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect()
            };
            let before = seen(&folder);
            put(&folder.join(format!("{}.wasm", kind.name)));
            match kind.expect {
                Expect::Refused(part) => {
                    let told = format!("{} is refused", kind.name);
                    let why = until(&told, || async {
                        let (_, plugin) = self.host.ask_json(Method::GET, &path, None).await;
                        plugin["load_error"]["summary"].as_str().map(str::to_owned)
                    })
                    .await;
                    assert!(why.contains(part), "{}: {why}", kind.name);
                }
                // Whatever is put after it is looked at later.
                _ => {
                    let marker = folder.join("marker.toml");
                    std::fs::write(&marker, format!("concurrency = {}", before.len())).expect("a new file");
                    until("the folder was looked through", || async {
                        let (status, _) = self.host.ask_json(Method::GET, "/v1/plugins/marker", None).await;
                        (status == StatusCode::OK).then_some(())
                    })
                    .await;
                    let (status, told) = self.host.ask_json(Method::GET, &path, None).await;
                    assert_eq!(status, StatusCode::NOT_FOUND, "{}: {told:#}", kind.name);
                }
            }
            for new in seen(&folder).into_iter().filter(|path| !before.contains(path)) {
                let is_folder = new.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
                let removed = if is_folder { std::fs::remove_dir(&new) } else { std::fs::remove_file(&new) };
                removed.expect("what was put can be removed");
            }
            for name in [kind.name, "marker"] {
                until("what was removed is gone", || async {
                    let (status, _) = self.host.ask_json(Method::GET, &format!("/v1/plugins/{name}"), None).await;
                    (status == StatusCode::NOT_FOUND).then_some(())
                })
                .await;
            }
        }
    }

    /// What the host told while all that went on: its own lines alone.
    pub fn check_log(&self) {
        let log = self.host.log();
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
            assert_ne!(line["fields"]["message"], "forged");
        }
        assert!(spellings().all(|form| !log.contains(&form)), "a secret was logged");
        assert!(!log.contains('\u{1b}'), "an escape sequence was logged");
    }

    /// Lets what was begun come to rest, so that two readings can be compared.
    pub async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The secret, and as encoders write it.
fn spellings() -> impl Iterator<Item = String> {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = SECRET.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let base64 = [STANDARD.encode(SECRET), URL_SAFE_NO_PAD.encode(SECRET)];
    [SECRET.to_owned(), hex, percent].into_iter().chain(base64)
}
