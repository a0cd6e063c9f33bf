//! Stores of earlier and of later versions: each released layout is brought to the newest with all its jobs, a newer one
//! is refused, and what breaks off leaves the older one whole.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Host, Setup, Value, json, until};
use reqwest::Method;
use rusqlite::Connection;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use windlass::job::JobId;
use windlass::store::sqlite::{examine, salvage};

/// The first bytes of the sha256 of each released migration. A released one is never edited: stores have it behind them.
const RELEASED: [(&str, &str); 5] = [
    ("0001_jobs.sql", "983ebc9e93f91b9d"),
    ("0002_downstreams.sql", "dc4c749a200b0607"),
    ("0003_limits.sql", "810b6f3175d990aa"),
    ("0004_sums.sql", "e329b97e90551c77"),
    ("0005_begun.sql", "2784a93769c7ca28"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(layout: usize) -> String {
    std::fs::read_to_string(root().join(format!("tests/fixtures/store/v{layout}.sql"))).unwrap()
}

/// The id of the job with that number in the fixtures.
fn id(n: i64) -> String {
    JobId::from_parts(((1_767_323_045_000 + n) << 15) | n, 1_000 + n).to_string()
}

/// A host that has stopped, with that file in the place of its store.
async fn host_on(sql: &str) -> (Host, PathBuf) {
    let config = "[retention]\ncompleted = \"3000d\"\ncancelled = \"3000d\"\ndiscarded = \"3000d\"";
    let setup = Setup::default().config(config).guest("echo", "").guest("misbehave", "");
    let mut host = setup.plugin("http", common::guests::shipped(), "").start().await;
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let store = host.dir().join("data/windlass.db");
    std::fs::remove_file(&store).unwrap();
    Connection::open(&store).unwrap().execute_batch(sql).unwrap();
    (host, store)
}

/// What a host says that will not start.
fn refusal(host: &Host) -> String {
    let output = host.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Before it comes what the log tells of the machine.
    let refusals: Vec<_> = said.lines().filter(|line| line.starts_with("windlass: ")).collect();
    assert!(
        output.status.code() == Some(1) && refusals.len() == 1 && said.ends_with(&format!("{}\n", refusals[0])),
        "{said}"
    );
    refusals[0].to_owned()
}

/// Read from a copy: who closes the file last would take its log away.
fn layout_of(store: &Path) -> usize {
    let scratch = tempfile::TempDir::new().unwrap();
    for name in ["windlass.db", "windlass.db-wal"] {
        _ = std::fs::copy(store.with_file_name(name), scratch.path().join(name));
    }
    let conn = Connection::open(scratch.path().join("windlass.db")).unwrap();
    let number: u32 = conn.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap();
    number as usize
}

#[test]
fn released_migrations_are_as_they_were_and_each_has_its_fixture() {
    let folder = root().join("host/store/migrations");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    let known: Vec<_> = RELEASED.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
    assert_eq!(files, known, "a new migration stands in the table above, and has a fixture");
    for (layout, (name, digest)) in RELEASED.iter().enumerate() {
        let found: String =
            Sha256::digest(std::fs::read(folder.join(name)).unwrap()).iter().map(|it| format!("{it:02x}")).collect();
        assert!(found.starts_with(digest), "{name} was edited; it has {}", &found[..16]);
        let sql = fixture(layout + 1);
        assert!(sql.contains(&format!("PRAGMA user_version = {};", layout + 1)));
    }
}

#[tokio::test]
async fn every_released_layout_is_brought_to_the_newest_with_all_that_is_in_it() {
    for layout in 1..=RELEASED.len() {
        let (mut host, store) = host_on(&fixture(layout)).await;
        host.start().await;
        all_is_there(&host, layout).await;
        what_can_run_runs(&host).await;
        host.signal(Signal::TERM);
        assert_eq!(host.exited().await, 0);
        assert_eq!(layout_of(&store), RELEASED.len());
        let report = examine(&store, host.dir()).unwrap();
        assert!(report.whole && report.jobs.whole == 10, "layout {layout}: {report:#?}");
    }
}

/// What was final or waits is as it was.
async fn all_is_there(host: &Host, layout: usize) {
    let done = host.job(&id(1)).await;
    assert_eq!((&done["state"], &done["result"]), (&json!("completed"), &json!({"done": true})), "{done:#}");
    assert_eq!((&done["payload"], &done["attempts"][0]["revision"]), (&json!({"a": 1}), &json!("ab".repeat(32))));
    let log = host.get(&format!("/v1/jobs/{}/attempts/1", id(1))).await;
    assert_eq!(log["log"][0]["message"], "hello", "{log:#}");
    let discarded = host.job(&id(2)).await;
    let outcomes: Vec<_> = discarded["attempts"].as_array().unwrap().iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!((&discarded["state"], outcomes), (&json!("discarded"), vec![json!("try-again"), json!("reject")]));
    let calls = host.get(&format!("/v1/jobs/{}/attempts/1", id(2))).await;
    assert_eq!((&calls["exchanges"][0]["status"], &calls["log_dropped_bytes"]), (&json!(503), &json!(9)));
    assert_eq!(calls["log_dropped_lines"], if layout < 3 { 0 } else { 4 });
    let retryable = host.job(&id(3)).await;
    assert_eq!((&retryable["state"], &retryable["attempt"]), (&json!("retryable"), &json!(1)), "{retryable:#}");
    let scheduled = host.job(&id(4)).await;
    assert_eq!((&scheduled["state"], &scheduled["labels"]["tenant"]), (&json!("scheduled"), &json!("acme")));
    assert_eq!(scheduled["max_attempts"], 3);
    assert_eq!(host.job(&id(7)).await["state"], "cancelled");
    host.waiting(&id(8), "grant-missing").await;
    let request = host.client.post(format!("{}/v1/jobs", host.base)).header("idempotency-key", "order-4");
    let other = request.header("content-type", "application/json").body(r#"{"plugin":"echo","payload":2}"#);
    assert_eq!(other.send().await.unwrap().status(), 422, "the key is remembered");
    if layout > 1 {
        let known = host.get("/v1/downstreams").await.to_string();
        assert!(known.contains("misbehave") && known.contains('3'), "{known}");
    }
}

/// What can run does, and behind the attempts that it has had.
async fn what_can_run_runs(host: &Host) {
    for (n, attempts, result) in
        [(5, 1, json!("run me")), (6, 2, json!("I was running")), (9, 1, Value::Null), (10, 2, json!("once more"))]
    {
        let job = host.ended(&id(n)).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(attempts)), "{n}: {job:#}");
        assert_eq!(job["result"], result, "{n}: {job:#}");
    }
    assert_eq!(host.job(&id(6)).await["attempts"][0]["outcome"], "interrupted");
    let (status, told) = host.ask_json(Method::POST, &format!("/v1/jobs/{}/retry", id(4)), None).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(host.ended(&id(4)).await["state"], "completed");
}

#[tokio::test]
async fn a_newer_layout_is_refused_and_not_touched() {
    let newer = fixture(RELEASED.len()).replacen("user_version = 5", "user_version = 6", 1);
    let (host, store) = host_on(&newer).await;
    let before = std::fs::read(&store).unwrap();
    let said = refusal(&host);
    assert!(said.contains("windlass.db") && said.contains("number 6") && said.contains("use a newer one"), "{said}");
    for args in [&["doctor"][..], &["doctor", "--salvage", "x.db"], &["backup", "x.db"]] {
        let output = host.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("use a newer one"), "{args:?}");
    }
    assert!(std::fs::read(&store).unwrap() == before && !host.dir().join("x.db").exists());
}

#[tokio::test]
async fn a_step_that_fails_leaves_the_older_layout_whole() {
    // The last statement of the third step meets a column that is there already; all before it has been done by then.
    let column = "ALTER TABLE attempt_evidence ADD COLUMN dropped_exchanges INTEGER;";
    let (host, store) = host_on(&format!("{}{column}", fixture(2))).await;
    let content = |store: &Path| {
        let conn = Connection::open(store).unwrap();
        let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<Vec<(String, Option<String>)>>>().unwrap()
    };
    let before = content(&store);
    let said = refusal(&host);
    assert!(said.contains("dropped_exchanges") && said.contains("windlass.db"), "{said}");
    assert_eq!((layout_of(&store), content(&store)), (2, before));
    let jobs: u32 =
        Connection::open(&store).unwrap().query_row("SELECT count(*) FROM attempts", (), |row| row.get(0)).unwrap();
    assert_eq!(jobs, 6);
}

#[tokio::test]
async fn a_host_killed_while_it_upgrades_leaves_one_layout_or_the_other() {
    let (mut host, store) = host_on(&fixture(1)).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 7 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) \
                INSERT INTO jobs (place, tail, plugin, downstream, priority, run_at_ms, created_ms) \
                SELECT i, i, 'nobody', 'nobody', 0, 4102444800000, 1 FROM n; PRAGMA journal_mode = WAL;";
    Connection::open(&store).unwrap().execute_batch(many).unwrap();
    let mut command = host.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = store.with_extension("db-wal");
    until("the step is under way", || async { log.metadata().is_ok_and(|it| it.len() > 1_000_000).then_some(()) })
        .await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((1..=RELEASED.len()).contains(&layout_of(&store)));
    host.start().await;
    assert_eq!(host.job(&id(1)).await["state"], "completed");
    host.signal(Signal::TERM);
    assert_eq!(host.exited().await, 0);
    let jobs: u32 =
        Connection::open(&store).unwrap().query_row("SELECT count(*) FROM jobs", (), |row| row.get(0)).unwrap();
    assert_eq!((layout_of(&store), jobs), (RELEASED.len(), 10 + 59_994));
}

#[tokio::test]
async fn a_damaged_store_of_an_older_layout_is_salvaged_too() {
    for layout in 1..RELEASED.len() {
        let has_sums = layout >= 4;
        let (mut host, store) = host_on(&fixture(layout)).await;
        let gone = "DELETE FROM payloads WHERE CAST(body AS TEXT) = '\"run me\"'";
        Connection::open(&store).unwrap().execute_batch(gone).unwrap();
        let to = host.dir().join("new.db");
        let (report, made) = salvage(&store, &to).unwrap();
        // Before sums a payload that is gone looks like one that was empty: neither job is taken for one to be run.
        let named: Vec<_> = report.incomplete.iter().map(|job| job.id.clone()).collect();
        let (missing, kept) = if has_sums { (vec![id(5)], 9) } else { (vec![id(5), id(9)], 8) };
        assert_eq!((named, made.jobs), (missing, kept), "{report:#?}");
        std::fs::rename(&to, &store).unwrap();
        host.start().await;
        all_is_there(&host, layout).await;
        assert_eq!(host.ended(&id(10)).await["result"], "once more");
        assert_eq!(host.ended(&id(6)).await["attempts"][0]["outcome"], "interrupted");
        assert_eq!(host.ask(Method::GET, &format!("/v1/jobs/{}", id(5)), None).await.status(), 404);
    }
}

#[tokio::test]
async fn a_beginning_that_was_damaged_before_the_step_is_damaged_behind_it() {
    let (host, store) = host_on(&fixture(4)).await;
    Connection::open(&store).unwrap().execute_batch("UPDATE starts SET n = 2").unwrap();
    let said = refusal(&host);
    assert!(said.contains("beginnings of attempts") && said.contains("doctor"), "{said}");
}
