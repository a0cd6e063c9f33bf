//! A disk that fails, is full, or may not be written.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::sync::Semaphore;

use crate::common::{
    Downstream, Host, Reply, Setup, Start, Trouble, Value, Wish, guests, json, number, try_start, until,
};
use crate::support::{EIO, all_complete, clear_line, crowd, lines, problem, troubled};

/// Each of the first so many syncs and writes after the start fails once; `FAULTS_N` says how many.
const FAULTS: usize = 4;

/// One clear line, no acknowledgement more, all that was acknowledged there after a restart.
async fn fails_and_comes_back(host: &mut Host, trouble: &Trouble, what: &str, clients: usize, each: usize) {
    let told = crowd(host, clients, each).await;
    assert!(!told.refused.is_empty(), "{what}: nothing failed");
    assert!(told.refused.iter().all(|kind| kind == "store-failed"), "{what}: {told:?}");
    let failed = (StatusCode::SERVICE_UNAVAILABLE, "store-failed".to_owned());
    assert_eq!(problem(host, Method::GET, "/readyz", None).await, failed, "{what}");
    let job = json!({"plugin": "misbehave", "payload": {"do": "echo"}});
    assert_eq!(problem(host, Method::POST, "/v1/jobs", Some(&job)).await, failed, "{what}");
    assert_eq!(host.ask(Method::GET, "/healthz", None).await.status(), StatusCode::OK, "{what}");
    if let Some(id) = told.accepted.first() {
        assert_eq!(problem(host, Method::GET, &format!("/v1/jobs/{id}"), None).await, failed, "{what}");
    }
    let said = lines(host, "ERROR").into_iter().filter(|line| line.contains("look into the disk")).count();
    assert_eq!(said, 1, "{what}: {}", host.log());
    for wish in [Wish::SyncFails, Wish::WriteFails, Wish::Short, Wish::ReadOnly] {
        trouble.wish(wish, 0);
    }
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 1, "{what}");
    host.start().await;
    let attempts = all_complete(host, &told.accepted).await;
    println!("{what}: {} accepted, {} refused, {attempts} attempts", told.accepted.len(), told.refused.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_grow_no_more_is_told_and_loses_nothing() {
    let (mut host, trouble) = troubled("").await;
    let most = Rlimit { current: Some(256 << 10), maximum: None };
    rustix::process::prlimit(Some(host.pid()), Resource::Fsize, most).unwrap();
    fails_and_comes_back(&mut host, &trouble, "a file of 256 KiB", 6, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_or_write_stops_the_host_at_once_and_loses_nothing() {
    let (mut host, trouble) = troubled("").await;
    let most = number("FAULTS_N").unwrap_or(FAULTS);
    // The first ones, and one in mid-load.
    for n in (1..=i64::try_from(most).unwrap()).chain([9]) {
        for (wish, short) in [(Wish::SyncFails, 0), (Wish::WriteFails, 0), (Wish::WriteFails, 1)] {
            trouble.wish(Wish::Errno, EIO);
            trouble.wish(Wish::Short, short);
            // A commit is a sync and a dozen writes or more.
            let n = if wish == Wish::WriteFails && n == 9 { 90 } else { n };
            trouble.wish(wish, n);
            let what = format!("{wish:?} {n}, short {short}");
            fails_and_comes_back(&mut host, &trouble, &what, 6, 12 + most).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_is_a_disk_that_failed() {
    let (mut host, trouble) = troubled("").await;
    let before = crowd(&host, 4, 5).await;
    trouble.wish(Wish::ReadOnly, 1);
    fails_and_comes_back(&mut host, &trouble, "read-only", 4, 5).await;
    all_complete(&host, &before.accepted).await;
}

/// A folder with the guest in `plugins`, and a command of a host with that trouble.
fn bare(trouble: &Trouble) -> (tempfile::TempDir, impl Fn() -> Command) {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    let environment = trouble.environment(false);
    let command = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.envs(environment.iter().cloned());
        command
    };
    (folder, command)
}

#[test]
fn a_fault_while_the_host_starts_is_one_clear_line_and_the_next_start_is_well() {
    let trouble = Trouble::new();
    trouble.wish(Wish::Errno, EIO);
    let (mut gone, mut ready) = (0, 0);
    for wish in [Wish::SyncFails, Wish::WriteFails] {
        for n in 1..=number("FAULTS_N").unwrap_or(6) {
            // In a new folder, and in one that was left without a goodbye.
            let (folder, command) = bare(&trouble);
            for _ in 0..2 {
                trouble.wish(wish, n);
                match try_start(command(), folder.path()) {
                    Start::Ready => ready += 1,
                    start => {
                        gone += 1;
                        assert!(
                            clear_line(&start)
                                .is_some_and(|line| line.contains("disk I/O error") || line.contains("os error 5")),
                            "{start:?}"
                        );
                    }
                }
                trouble.wish(wish, 0);
                let start = try_start(command(), folder.path());
                assert!(matches!(start, Start::Ready), "{wish:?} {n}: {start:?}");
            }
        }
    }
    assert!(gone > 0);
    println!("{gone} starts gave up, {ready} did not meet their fault");
}

/// Whether the metrics say that the store takes writes.
async fn is_writable(host: &Host) -> bool {
    let metrics = host.ask(Method::GET, "/metrics", None).await.text().await.unwrap();
    metrics.lines().any(|line| line == "windlass_store_writable 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_work_and_goes_on_when_there_is_room() {
    let (mut host, trouble) = troubled("").await;
    assert!(is_writable(&host).await);
    let mut accepted = crowd(&host, 4, 5).await.accepted;
    let steps = json!([{"do": "sleep", "ms": 300}, {"do": "echo"}]);
    let running = host.misbehave(json!({"do": "then", "steps": steps})).await;
    host.in_state(&running, "running").await;
    trouble.wish(Wish::Full, 1);
    let told = crowd(&host, 4, 5).await;
    assert!(told.accepted.is_empty() && told.refused.iter().all(|kind| kind == "store-full"), "{told:?}");
    let job = json!({"plugin": "misbehave", "payload": {"do": "echo"}});
    let answer = host.ask(Method::POST, "/v1/jobs", Some(&job)).await;
    assert_eq!(answer.headers()["retry-after"], "10");
    assert!(!is_writable(&host).await);
    // What ends meanwhile waits, and is not done again.
    until("the end of the attempt waits for room", || async {
        host.log().contains("ended attempts wait for room").then_some(())
    })
    .await;
    assert_eq!(host.job(&running).await["state"], "running");
    trouble.wish(Wish::Full, 0);
    accepted.extend(crowd(&host, 4, 5).await.accepted);
    accepted.push(running);
    assert_eq!(accepted.len(), 41);
    assert!(is_writable(&host).await);
    assert_eq!(all_complete(&host, &accepted).await, 41, "each ran once");
    assert!(lines(&host, "ERROR").is_empty(), "{}", host.log());
    assert_eq!(host.ask(Method::GET, "/readyz", None).await.status(), StatusCode::OK);
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_no_host_from_stopping_nor_lets_one_start_in_the_dark() {
    let (mut host, trouble) = troubled("").await;
    let steps = json!([{"do": "sleep", "ms": 300}, {"do": "echo"}]);
    let running = host.misbehave(json!({"do": "then", "steps": steps})).await;
    host.in_state(&running, "running").await;
    trouble.wish(Wish::Full, 1);
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let folder = host.dir().to_owned();
    let command = host.command(&[]);
    let start = tokio::task::spawn_blocking(move || try_start(command, &folder)).await.unwrap();
    assert!(clear_line(&start).is_none_or(|line| line.contains("full")), "{start:?}");
    trouble.wish(Wish::Full, 0);
    host.start().await;
    all_complete(&host, &[running]).await;
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    let trouble = Trouble::new();
    let (folder, command) = bare(&trouble);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&folder.path().join("data"), 0o555);
    mode(folder.path(), 0o755);
    // Permissions say nothing to root: let it be somebody else.
    let unprivileged = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        if rustix::process::geteuid().is_root() {
            command.uid(65_534);
        }
        command
    };
    let start = try_start(unprivileged(), folder.path());
    assert!(clear_line(&start).is_some_and(|line| line.contains("Permission denied")), "{start:?}");
    std::fs::remove_dir(folder.path().join("data")).unwrap();
    mode(folder.path(), 0o555);
    let start = try_start(unprivileged(), folder.path());
    assert!(clear_line(&start).is_some_and(|line| line.contains("Permission denied")), "{start:?}");
    mode(folder.path(), 0o755);
    // A file system that is mounted read-only.
    assert!(matches!(try_start(command(), folder.path()), Start::Ready));
    trouble.wish(Wish::ReadOnly, 1);
    let start = try_start(command(), folder.path());
    assert!(clear_line(&start).is_some_and(|line| line.contains("Read-only file system")), "{start:?}");
}

#[tokio::test]
async fn a_second_host_refuses_at_once_and_leaves_the_first_alone() {
    let mut host = Setup::default().plugin("http", guests::shipped(), "").start().await;
    let (command, folder) = (host.command(&[]), host.dir().to_owned());
    let start = tokio::task::spawn_blocking(move || try_start(command, &folder)).await.unwrap();
    assert!(clear_line(&start).is_some_and(|line| line.contains("another windlass is using it")), "{start:?}");
    assert_eq!(host.ask(Method::GET, "/readyz", None).await.status(), StatusCode::OK);
    // Whatever became of the lock file: who refuses leaves a new one, which says nothing of the first.
    std::fs::remove_file(host.dir().join("data/windlass.db.lock")).unwrap();
    for round in 0..2 {
        if round > 0 {
            let (command, folder) = (host.command(&[]), host.dir().to_owned());
            let start = tokio::task::spawn_blocking(move || try_start(command, &folder)).await.unwrap();
            assert!(clear_line(&start).is_some_and(|line| line.contains("another windlass is using it")), "{start:?}");
        }
        let backup = host.command(&["backup", &format!("{round}.db")]).output().unwrap();
        assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
        let doctor = host.command(&["doctor", "--json"]).output().unwrap();
        let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        assert_eq!((&told["report"]["in_use"], doctor.status.code()), (&json!(true), Some(0)), "{told:#}");
    }
    // The lock is the process's: one that was killed leaves none behind.
    host.kill();
    host.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_says_more_than_a_slow_disk_takes_waits_for_it_alone() {
    /// A quarter of a MiB each.
    const LOUD: usize = 300;
    /// What may wait to be recorded: 16 MiB, and what runs.
    const UNRECORDED_MAX: u64 = 64 + 12;
    let trouble = Trouble::new();
    let setup = Setup::default().config("[limits]\nconcurrency = 12").guest("misbehave", "").guest("echo", "");
    let host = trouble.around(setup, false).start().await;
    trouble.wish(Wish::SyncUs, 200_000);
    let shout = json!({"do": "log", "level": "info", "message": "x".repeat(4_000), "times": 64});
    let jobs = vec![json!({"plugin": "misbehave", "payload": shout}); LOUD];
    let ids = host.enqueue_all(&jobs).await;
    let unrecorded = async || host.get("/v1/plugins/misbehave").await["counts"]["running"].as_u64().unwrap();
    until("there is no more room for what is said", || async { (unrecorded().await >= 64).then_some(()) }).await;
    for _ in 0..10 {
        let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        assert_eq!(host.ended(&id).await["state"], "completed");
    }
    let unrecorded = unrecorded().await;
    assert!(unrecorded <= UNRECORDED_MAX, "{unrecorded} attempts of {LOUD} stand in memory");
    trouble.wish(Wish::SyncUs, 0);
    all_complete(&host, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_many_ill_downstreams_writes_of_many_at_once() {
    const DOWNSTREAMS: usize = 200;
    let let_go = Arc::new(Semaphore::new(0));
    let held = let_go.clone();
    let answer = move |_, _| {
        let held = held.clone();
        async move {
            held.acquire().await.expect("it is not closed").forget();
            Reply::status(429).header("retry-after", "600")
        }
    };
    let downstream = Downstream::start(answer).await;
    let trouble = Trouble::new();
    let file = format!("origins = [\"{}\"]\n", downstream.origin());
    let setup = Setup::default().plugin("http", guests::shipped(), &file);
    let mut host = trouble.around(setup, false).start().await;
    for n in 0..DOWNSTREAMS {
        let job = json!({"plugin": "http", "downstream": format!("d{n}"), "payload": {"url": downstream.url("/")}});
        host.enqueue(job).await;
    }
    until("all of them are asked", || async { (downstream.seen().len() == DOWNSTREAMS).then_some(()) }).await;
    trouble.wish(Wish::SyncUs, 100_000);
    let before = trouble.number(Wish::Syncs);
    let_go.add_permits(DOWNSTREAMS);
    let ended = || lines(&host, "WARN").iter().filter(|line| line.contains("asked everybody to wait")).count();
    until("all of them have answered", || async { (ended() == DOWNSTREAMS).then_some(()) }).await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let syncs = trouble.number(Wish::Syncs) - before;
    println!("{syncs} syncs for {DOWNSTREAMS} downstreams");
    assert!(syncs < 50, "{syncs} syncs: {}", host.log());
    trouble.wish(Wish::SyncUs, 0);
    host.start().await;
    let told = host.ask(Method::GET, "/v1/downstreams?limit=500", None).await.json::<Value>().await.unwrap();
    let told = told["downstreams"].as_array().unwrap();
    let held = told.iter().filter(|told| told.to_string().contains("\"retry-after\"")).count();
    assert_eq!(held, DOWNSTREAMS, "none of them is forgotten");
}
