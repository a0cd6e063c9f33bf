//! The real binary on damaged stores, and on what was salvaged of them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use tempfile::TempDir;
use windlass::job::JobId;
use windlass::store::sqlite::{Report, salvage};

use super::base::{Base, content, copy, setup, store_in};
use super::common::{Host, Value, json, until};
use super::damage::{Damage, Dice};
use super::rows::{self, Jobs};

/// How many damaged stores are served.
const SERVED: u64 = 10;

/// A host that may refuse to start.
struct Daring {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daring {
    fn start(host: &Host) -> Self {
        let mut command: Command = host.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, stderr) = (Arc::<Mutex<Vec<String>>>::default(), child.stderr.take().unwrap());
        let lines = log.clone();
        let reader = std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line));
        });
        Self { child, log, reader: Some(reader) }
    }

    /// What it exited with, once all that it said is read.
    fn exited(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap()?;
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        Some(status.code())
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    fn address(&self) -> Option<String> {
        let log = self.log.lock().unwrap();
        log.iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.get("address").or_else(|| line.get("fields")?.get("address"))?.as_str()?.to_owned())
        })
    }
}

impl Drop for Daring {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

async fn stopped() -> Host {
    let mut host = setup().start().await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    host
}

fn put(host: &Host, folder: &Path) {
    let data = host.dir().join("data");
    for name in ["windlass.db", "windlass.db-wal", "windlass.db-shm"] {
        _ = std::fs::remove_file(data.join(name));
    }
    copy(folder, &data);
}

#[tokio::test]
async fn a_host_on_a_damaged_store_serves_truthfully_or_refuses_in_one_line() {
    let base = Base::make().await;
    let host = stopped().await;
    let (mut refused, mut served, mut compared) = (0, 0, 0);
    let drawn = (1_000..1_000 + SERVED).map(|seed| {
        let mut dice = Dice(seed);
        (Damage::draw(&mut dice), dice)
    });
    let always = [Damage::EmptiedFile, Damage::LostFile].map(|damage| (damage, Dice(1)));
    for (damage, mut dice) in drawn.chain(always) {
        let what = format!("{dice:?}, {damage:?}");
        let folder = TempDir::new().unwrap();
        copy(if damage.wants_log() { base.killed.path() } else { base.closed.path() }, folder.path());
        damage.inflict(&mut dice, &store_in(folder.path()));
        put(&host, folder.path());
        let before = content(folder.path());
        let examined = Examined::of(&store_in(folder.path()));
        let mut daring = Daring::start(&host);
        let code = until(&format!("{what}: it is ready or gone"), || {
            let gone = daring.exited();
            let address = daring.address();
            let client = host.client.clone();
            async move {
                if let Some(code) = gone {
                    return Some(code);
                }
                let answer = client.get(format!("http://{}/readyz", address?)).send().await.ok()?;
                (answer.status() == StatusCode::OK).then_some(Some(-1))
            }
        })
        .await;
        let log = daring.log();
        if code == Some(-1) {
            served += 1;
            assert!(!damage.leaves_log_alone(), "{what}: it began anew");
            compared += look(&base, &damage, &examined, &host, &daring.address().unwrap(), &what).await;
        } else {
            refused += 1;
            let line = log.lines().last().unwrap_or_default();
            assert!(
                code == Some(1) && line.contains("windlass.db") && line.contains("windlass doctor"),
                "{what}: {log}"
            );
            if damage.leaves_log_alone() {
                assert!(before[..2] == content(&host.dir().join("data"))[..2], "{what}: it was changed");
            }
        }
        assert!(!daring.log().contains("panicked"), "{what}: {}", daring.log());
    }
    println!("{refused} refused, {served} served; {compared} jobs held against what the doctor found whole");
    assert!(compared > 0);
}

/// What the doctor says of a damaged store.
struct Examined {
    report: Report,
    /// All that is whole or doubtful.
    salvaged: Jobs,
}

impl Examined {
    fn of(store: &Path) -> Self {
        let to = TempDir::new().unwrap();
        let (report, _) = salvage(store, &store_in(to.path())).unwrap();
        Self { report, salvaged: rows::jobs(&store_in(to.path())) }
    }

    /// Whether the job is not there as it was. What a damaged log held alone nobody can know.
    fn may_lack(&self, id: &str, damage: &Damage) -> bool {
        let lost = self.report.lost.iter().any(|job| id.starts_with(&job.id_begins));
        lost || self.report.incomplete.iter().any(|job| job.id == id) || damage.hits_log()
    }

    fn is_doubtful(&self, id: &str) -> bool {
        self.report.doubtful.iter().any(|job| job.id == id)
    }
}

/// Whatever it says of a job must be so.
async fn look(base: &Base, damage: &Damage, examined: &Examined, host: &Host, address: &str, what: &str) -> usize {
    let mut compared = 0;
    for (place, job) in base.truth(damage) {
        let id = JobId::from_parts(*place, job.tail());
        let answer = host.client.get(format!("http://{address}/v1/jobs/{id}")).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let told: Value = serde_json::from_str(&text).unwrap();
        let whole = examined.salvaged.get(place);
        match status {
            200 => {
                assert_eq!(told["payload"], job.payload(), "{what}: {told:#}");
                if let Some(whole) = whole.filter(|_| !examined.is_doubtful(&id.to_string())) {
                    assert!(whole.is_told_by(&told), "{what}: {told:#}\nis not\n{whole:#?}");
                    compared += 1;
                }
            }
            500 | 503 => assert!(told["type"].as_str().unwrap().contains(":store-"), "{what}: {told}"),
            404 => {
                let may_lack = whole.is_none() && examined.may_lack(&id.to_string(), damage);
                assert!(may_lack, "{what}: {id} is not known: {:#?}", examined.report);
            }
            other => panic!("{what}: {other} {told}"),
        }
    }
    compared
}

#[tokio::test]
async fn what_was_salvaged_is_served_and_runs_to_its_end() {
    let base = Base::make().await;
    let mut host = stopped().await;
    let folder = TempDir::new().unwrap();
    copy(base.killed.path(), folder.path());
    let mut dice = Dice(7);
    Damage::FlippedBurst.inflict(&mut dice, &store_in(folder.path()));
    Damage::ZeroedPage.inflict(&mut dice, &store_in(folder.path()));
    let salvaged = TempDir::new().unwrap();
    salvage(&store_in(folder.path()), &store_in(salvaged.path())).unwrap();
    let known = rows::jobs(&store_in(salvaged.path()));
    put(&host, salvaged.path());
    host.start().await;
    let mut ran = 0;
    for (place, job) in &known {
        let id = JobId::from_parts(*place, job.tail()).to_string();
        let before = host.job(&id).await;
        assert_eq!(before["payload"], job.payload());
        // Those of whom the time is far are sent on by hand; those that lack a grant still wait for it.
        if ["scheduled", "retryable"].contains(&before["state"].as_str().unwrap()) {
            let (status, told) = host.ask_json(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
            assert_eq!(status, StatusCode::OK, "{told}");
        }
        if before["plugin"] == json!("http") {
            continue;
        }
        let after = host.ended(&id).await;
        ran += u32::from(before["finished_at"].is_null());
        let attempts = before["attempts"].as_array().unwrap();
        assert_eq!(&after["attempts"].as_array().unwrap()[..attempts.len()], &attempts[..]);
    }
    assert!(ran > 5, "{ran} jobs were run");
}

#[tokio::test]
async fn a_damaged_job_fails_its_own_calls_and_no_others() {
    let mut host = setup().start().await;
    host.ask(Method::POST, "/v1/plugins/echo/pause", None).await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": "find me"})).await;
    let other = host.enqueue(json!({"plugin": "echo", "payload": "leave me"})).await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let store = host.dir().join("data/windlass.db");
    let mut bytes = std::fs::read(&store).unwrap();
    let at = bytes.windows(7).position(|seven| seven == b"find me").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&store, bytes).unwrap();
    host.start().await;
    let (status, problem) = host.ask_json(Method::GET, &format!("/v1/jobs/{id}"), None).await;
    assert_eq!((status.as_u16(), &problem["type"]), (500, &json!("urn:windlass:problem:store-damaged")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("windlass doctor"), "{problem}");
    // It is not run with what it was not given; others are.
    host.ask(Method::POST, "/v1/plugins/echo/resume", None).await;
    assert_eq!(host.ended(&other).await["result"], "leave me");
    let fresh = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    assert_eq!(host.ended(&fresh).await["state"], "completed");
    until("the log names the doctor", || async { host.log().contains("windlass doctor").then_some(()) }).await;
    assert!(host.log().contains(&id), "{}", host.log());
    let looked = host.command(&["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&looked.stdout).unwrap();
    assert_eq!((looked.status.code(), &report["report"]["incomplete"][0]["id"]), (Some(1), &json!(id)), "{report:#}");
    let refused = host.command(&["doctor", "--salvage", "new.db"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("is using it"), "{said}");
    assert!(!host.dir().join("new.db").exists());
}
