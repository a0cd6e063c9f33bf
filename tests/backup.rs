//! `windlass backup`: consistent beside a host under load, checked before it has its name, and a store like any other.
//! What is salvaged is made in the same way.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Host, Setup, Trouble, Value, Wish, json};
use reqwest::Method;
use rustix::process::Signal;

fn backup(host: &Host, file: &str) -> Value {
    let output = host.command(&["backup", file, "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(host: &Host, args: &[&str]) -> String {
    let output = host.command(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.trim().lines().count() == 1, "{said}");
    said
}

/// Everything that lies in the folder of the store.
fn listed(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.dir()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn restore(host: &mut Host, file: &Path) {
    let data = host.dir().join("data");
    for name in ["windlass.db", "windlass.db-wal", "windlass.db-shm"] {
        _ = std::fs::remove_file(data.join(name));
    }
    std::fs::copy(file, data.join("windlass.db")).unwrap();
    host.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_every_job_acknowledged_before_it_began() {
    let mut host = Setup::default().guest("echo", "").guest("misbehave", "").start().await;
    let (acknowledged, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, base) = (host.client.clone(), host.base.clone());
        let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
        load.spawn(async move {
            let body = json!({"plugin": "echo", "payload": "x".repeat(2_000)}).to_string();
            while !stop.load(Ordering::Relaxed) {
                let request = client.post(format!("{base}/v1/jobs")).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await.unwrap();
                let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                acknowledged.lock().unwrap().push(answer["id"].as_str().unwrap().to_owned());
            }
        });
    }
    let with = json!({"do": "retry", "message": "later"});
    let retryable = host
        .enqueue(json!({"plugin": "misbehave", "retry": {"base": "1h", "cap": "24h"},
            "payload": {"do": "fail-until", "attempt": 2, "with": with}}))
        .await;
    host.in_state(&retryable, "retryable").await;
    let mut before = Vec::new();
    for n in 0..3 {
        common::until("there are more", || async {
            (acknowledged.lock().unwrap().len() > 100 * (n + 1)).then_some(())
        })
        .await;
        before = acknowledged.lock().unwrap().clone();
        let made = backup(&host, &format!("backup-{n}.db"));
        assert!(made["jobs"].as_u64().unwrap() > before.len() as u64, "{made} beside {}", before.len());
        assert_eq!(made["bytes"], host.dir().join(format!("backup-{n}.db")).metadata().unwrap().len());
    }
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    let file = host.dir().join("backup-2.db");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(listed(&host).iter().filter(|name| name.contains("backup")).count(), 3, "{:?}", listed(&host));
    let report = windlass::store::sqlite::examine(&file, host.dir()).unwrap();
    assert!(report.whole, "{report:#?}");
    host.kill();
    restore(&mut host, &file).await;
    for id in &before {
        assert_eq!(host.ended(id).await["state"], "completed");
    }
    let (status, told) = host.ask_json(Method::POST, &format!("/v1/jobs/{retryable}/retry"), None).await;
    assert_eq!(status, 200, "{told}");
    let job = host.ended(&retryable).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)), "{job:#}");
}

#[tokio::test]
async fn a_stopped_store_is_copied_too_and_nothing_is_written_over() {
    let mut host = Setup::default().guest("echo", "").start().await;
    let done = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&done).await;
    let later = host.enqueue(json!({"plugin": "echo", "payload": 2, "delay": "1h"})).await;
    // Killed: the jobs are in the log only.
    host.kill();
    let content = |name: &str| std::fs::read(host.dir().join("data").join(name)).ok();
    let files = ["windlass.db", "windlass.db-wal", "windlass.db-shm"];
    let before = files.map(content);
    let made = backup(&host, "one.db");
    assert_eq!((&made["jobs"], &made["unfinished"]), (&json!(2), &json!(1)));
    assert!(files.map(content) == before, "the store was changed");
    let output = host.command(&["backup", "two.db"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("two.db holds 2 jobs, 1 of them unfinished, in ") && said.contains("bytes"), "{said}");
    assert!(refusal(&host, &["backup", "three.db", "--data", "nowhere"]).contains("nowhere"));
    for (file, told) in [
        ("one.db", "it is there already, and is not written over; name another file"),
        ("no/such/folder.db", "there is no folder no/such; make it first, or name another"),
        ("one.db/copy.db", "one.db is no folder"),
        ("data/new/", "it names a folder; name a file in it"),
        ("data", "it names a folder; name a file in it"),
        ("/proc/copy.db", "no file can be made in /proc: "),
    ] {
        for args in [&["backup", file][..], &["doctor", "--salvage", file]] {
            let said = refusal(&host, args);
            assert!(said.starts_with(&format!("windlass: cannot write {file}: {told}")), "{args:?}: {said}");
        }
    }
    let output = host.command(&["backup"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));

    let file = host.dir().join("one.db");
    restore(&mut host, &file).await;
    assert_eq!(host.job(&done).await["state"], "completed");
    assert_eq!(host.job(&later).await["state"], "scheduled");
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);

    // A damaged store has no backup, and says where to turn.
    let store = host.dir().join("data/windlass.db");
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[3 * 4_096..4 * 4_096].fill(0);
    std::fs::write(&store, bytes).unwrap();
    assert!(refusal(&host, &["backup", "four.db"]).contains("windlass doctor"));
    assert!(!listed(&host).iter().any(|name| name.contains("four")), "{:?}", listed(&host));
}

#[tokio::test]
async fn the_file_of_a_running_host_alone_is_refused_and_can_be_salvaged() {
    let mut host = Setup::default().guest("echo", "").start().await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&id).await;
    let alone = host.dir().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(host.dir().join("data/windlass.db"), alone.join("windlass.db")).unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let mut serve: tokio::process::Command =
        host.command(&["serve", "--listen", "127.0.0.1:0", "--data", "alone"]).into();
    let served = tokio::time::timeout(Duration::from_secs(30), serve.kill_on_drop(true).output()).await;
    let served = served.expect("it refuses").unwrap();
    assert_eq!(served.status.code(), Some(1));
    for said in [String::from_utf8(served.stderr).unwrap(), refusal(&host, &["backup", "b.db", "--data", "alone"])] {
        assert!(said.contains("-wal) is missing") && said.contains("windlass doctor"), "{said}");
    }
    let output = host.command(&["doctor", "--data", "alone", "--salvage", "new.db", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && told["report"]["log"].as_str().unwrap().contains("is missing"), "{told:#}");
    assert!(!listed(&host).iter().any(|name| name == "b.db"), "{:?}", listed(&host));
    let file = host.dir().join("new.db");
    restore(&mut host, &file).await;
    // The job was in the log alone.
    assert_eq!(host.ask(Method::GET, &format!("/v1/jobs/{id}"), None).await.status(), 404);
}

/// The ways to make a new file of a store.
const MADE: [&[&str]; 2] = [&["backup", "copies/new.db"], &["doctor", "--salvage", "copies/new.db"]];

/// A store that nobody uses, and a folder for copies.
async fn stopped() -> Host {
    let mut host = Setup::default().guest("echo", "").start().await;
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    host.ended(&id).await;
    host.kill();
    std::fs::create_dir(host.dir().join("copies")).unwrap();
    host
}

/// The command, with trouble in the folder of the copies.
fn troubled(host: &Host, args: &[&str], trouble: &Trouble) -> std::process::Command {
    let mut command = host.command(args);
    command.envs(trouble.environment(false)).env("TROUBLE_FOLDER", "copies");
    command
}

fn copies(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.dir().join("copies")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_is_interrupted_leaves_nothing_behind() {
    let host = stopped().await;
    for args in MADE {
        for (signal, is_named) in
            [(Signal::INT, false), (Signal::TERM, false), (Signal::HUP, false), (Signal::TERM, true)]
        {
            let trouble = Trouble::new();
            // Once it is on the disk it has its name, which is brought there too.
            trouble.wish(Wish::SyncUs, if is_named { 2_000_000 } else { 600_000_000 });
            let mut child = troubled(&host, args, &trouble).spawn().unwrap();
            common::until("it is being synced", || async {
                let has_name = copies(&host).iter().any(|name| !name.starts_with('.'));
                (trouble.number(Wish::Syncs) > 0 && has_name == is_named).then_some(())
            })
            .await;
            assert_ne!(copies(&host), [""; 0]);
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()), "{args:?} {signal:?}");
            assert_eq!(copies(&host), [""; 0], "{args:?} {signal:?}");
        }
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_was_killed_is_cleared_away_by_the_next() {
    let host = stopped().await;
    let trouble = Trouble::new();
    trouble.wish(Wish::SyncUs, 600_000_000);
    let mut killed = troubled(&host, MADE[0], &trouble).spawn().unwrap();
    common::until("it is being synced", || async { (trouble.number(Wish::Syncs) > 0).then_some(()) }).await;
    // Whoever is at work yet is left alone.
    backup(&host, "copies/other.db");
    assert_eq!(copies(&host).len(), 2, "{:?}", copies(&host));
    killed.kill().unwrap();
    killed.wait().unwrap();
    backup(&host, "copies/third.db");
    let mut left = copies(&host);
    left.sort();
    assert_eq!(left, ["other.db", "third.db"]);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_cannot_be_brought_to_the_disk_is_not_called_made() {
    let host = stopped().await;
    // The file, and its name. What is salvaged is finished in the same way.
    for (of, what) in [(7, "the file"), (3, "the folder")] {
        let trouble = Trouble::new();
        trouble.wish(Wish::Errno, 5);
        trouble.wish(Wish::SyncOf, of);
        trouble.wish(Wish::SyncFails, 1);
        let output = troubled(&host, MADE[0], &trouble).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(trouble.number(Wish::SyncFails), 0, "{what} is not synced");
        assert!(output.status.code() == Some(1) && said.contains("cannot write copies/new.db"), "{what}: {said}");
        assert_eq!(copies(&host), [""; 0], "{what}");
    }
}
