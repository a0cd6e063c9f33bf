//! What a store holds after a power cut, held against what a client saw before it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use rusqlite::Connection;
use windlass::clock::Chance;
use windlass::job::JobId;
use windlass::store::Store as _;
use windlass::store::sqlite::{SqliteOptions, SqliteStore};

use super::disk::Found;
use super::ledger::{Attempt, Due, Dues};
use super::load::BATCH_JOBS;

/// What must never come out of these: each is a row that points to nothing, or says two things.
const SENSELESS: [(&str, &str); 7] = [
    (
        "a job's last attempt is gone or another job's",
        "SELECT count(*) FROM jobs WHERE last_attempt IS NOT NULL AND \
      NOT EXISTS (SELECT 1 FROM attempts WHERE seq = last_attempt AND attempts.place = jobs.place)",
    ),
    (
        "an attempt's predecessor is gone or not the one before",
        "SELECT count(*) FROM attempts AS a WHERE \
      previous IS NOT NULL AND NOT EXISTS (SELECT 1 FROM attempts AS b WHERE b.seq = a.previous AND b.place = a.place \
      AND b.n < a.n)",
    ),
    ("an attempt is of no job", "SELECT count(*) FROM attempts WHERE place NOT IN (SELECT place FROM jobs)"),
    (
        "an attempt began of no job",
        "WITH RECURSIVE began(attempts, at) AS (SELECT attempts, 1 FROM begun UNION ALL \
      SELECT attempts, at + 20 FROM began WHERE at + 20 < length(attempts)) SELECT count(*) FROM began WHERE \
      hex(substr(attempts, at, 8)) NOT IN (SELECT printf('%016X', place) FROM jobs)",
    ),
    ("a job has no payload", "SELECT count(*) FROM jobs WHERE place NOT IN (SELECT place FROM payloads)"),
    (
        "a result is of a job that is not completed",
        "SELECT count(*) FROM results WHERE place NOT IN \
      (SELECT place FROM jobs WHERE end_state = 'completed')",
    ),
    (
        "a key leads to no job and is no orphan",
        "SELECT count(*) FROM idempotency WHERE place NOT IN \
      (SELECT place FROM jobs) AND key NOT IN (SELECT key FROM orphan_keys)",
    ),
];

/// A batch is accepted whole or not at all, acknowledged or not.
const IN_PART: &str = "SELECT count(*) FROM (SELECT labels FROM jobs WHERE labels IS NOT NULL GROUP BY labels \
                       HAVING count(*) <> ?1)";

/// Puts the files of an image into a folder, which is new.
pub fn put(found: &Found, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a new folder");
    for (name, content) in found.iter().flatten() {
        std::fs::write(folder.join(name), content).expect("a new file");
    }
}

/// Puts an index of the WAL beside it, now and then: nobody ever syncs it, so it may hold anything.
pub fn put_index(folder: &Path, chance: &mut SmallRng) {
    if chance.random_range(0..4) == 0 {
        let mut index = vec![0; 32 << 10];
        chance.fill(&mut index[..]);
        std::fs::write(folder.join("windlass.db-shm"), index).expect("a new file");
    }
}

/// Opens what is there and says what is wrong with it.
pub fn check(folder: &Path, dues: &Dues<'_>, samples: &[&str]) -> Vec<String> {
    let file = folder.join("windlass.db");
    let (unfinished, mut wrong) = match opened(&file, dues, samples) {
        Ok(opened) => opened,
        Err(wrong) => return vec![wrong],
    };
    let conn = Connection::open(&file).expect("it was open a moment ago");
    let verdict: String = conn.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("a verdict");
    if verdict != "ok" {
        wrong.push(format!("integrity: {verdict}"));
        return wrong;
    }
    for (what, sql) in SENSELESS {
        let count: i64 = conn.query_row(sql, (), |row| row.get(0)).expect("a number");
        if count > 0 {
            wrong.push(format!("{what}: {count} times"));
        }
    }
    let in_part: i64 = conn.query_row(IN_PART, [BATCH_JOBS], |row| row.get(0)).expect("a number");
    if in_part > 0 {
        wrong.push(format!("{in_part} batches are there in part"));
    }
    let held = Held::read(&conn);
    if held.unfinished() != unfinished {
        wrong.push(format!("{unfinished} unfinished jobs in memory, {} on disk", held.unfinished()));
    }
    wrong.extend(
        dues.jobs
            .iter()
            .filter(|(_, due)| due.accepted)
            .filter_map(|(id, due)| held.lacks(id, due).map(|what| format!("job {id}: {what}"))),
    );
    wrong.extend(
        dues.keyed
            .iter()
            .filter(|(id, key, _)| held.keys.get(*key).is_none_or(|place| *place != place_of(id)))
            .map(|(id, key, _)| format!("the key {key} of {id} is forgotten")),
    );
    wrong
}

/// Opens the store as the host does, and looks at a few jobs. Answers how many are unfinished, and what is wrong.
fn opened(file: &Path, dues: &Dues<'_>, samples: &[&str]) -> Result<(u64, Vec<String>), String> {
    let chance = Arc::new(Chance::seeded(1));
    let store = SqliteStore::open(file, SqliteOptions::default(), chance);
    let store = store.map_err(|error| format!("does not open: {error}"))?;
    let unfinished = store.counts().unfinished;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let looks = async {
        let mut wrong = Vec::new();
        let standings = store.standings().await;
        match &standings {
            Err(error) => wrong.push(format!("its standings cannot be read: {error}")),
            Ok(it) if dues.paused.is_some_and(|paused| it.paused_plugins.contains(&"echo".to_owned()) != paused) => {
                wrong.push(format!("the pause should be {:?}", dues.paused));
            }
            Ok(_) => {}
        }
        for id in samples {
            let seen = store.job(id.parse().expect("an id"), windlass::clock::UnixMs(0)).await;
            match (seen, &dues.jobs[id]) {
                (Err(error), _) => wrong.push(format!("{id} cannot be read: {error}")),
                (Ok(Some(view)), due) if due.state.is_some_and(|state| view.state.name() != state) => {
                    wrong.push(format!("{id} is {:?}, and was shown as {:?}", view.state, due.state));
                }
                (Ok(Some(view)), due) if view.attempts.len() < due.attempts.len() => {
                    wrong.push(format!("{id} has {} attempts of {}", view.attempts.len(), due.attempts.len()));
                }
                (Ok(_), _) => {}
            }
        }
        wrong
    };
    Ok((unfinished, runtime.block_on(looks)))
}

fn place_of(id: &str) -> i64 {
    id.parse::<JobId>().expect("an id").place()
}

/// A job as it is on disk.
#[derive(Default)]
struct Row {
    tail: i64,
    end_state: Option<String>,
    attempts: Vec<Attempt>,
    /// The logs of its attempts, with their numbers.
    logs: Vec<(i64, String)>,
    cancels: usize,
    retries: usize,
    result: Option<serde_json::Value>,
}

/// What is on disk.
struct Held {
    jobs: HashMap<i64, Row>,
    keys: HashMap<String, i64>,
}

impl Held {
    fn read(conn: &Connection) -> Self {
        let mut jobs: HashMap<i64, Row> = HashMap::new();
        each(conn, "SELECT place, tail, end_state FROM jobs", |row| {
            let job = Row { tail: row.get(1)?, end_state: row.get(2)?, ..Row::default() };
            jobs.insert(row.get(0)?, job);
            Ok(())
        });
        each(conn, "SELECT place, n, kind, finished_ms, error FROM attempts ORDER BY seq", |row| {
            let attempt =
                Attempt { n: row.get(1)?, outcome: row.get(2)?, finished_ms: row.get(3)?, error: row.get(4)? };
            jobs.entry(row.get(0)?).or_default().attempts.push(attempt);
            Ok(())
        });
        let logs = "SELECT place, n, log FROM attempts JOIN attempt_evidence USING (seq) WHERE log IS NOT NULL";
        each(conn, logs, |row| {
            jobs.entry(row.get(0)?).or_default().logs.push((row.get(1)?, row.get(2)?));
            Ok(())
        });
        each(conn, "SELECT place, what FROM acts", |row| {
            let job = jobs.entry(row.get(0)?).or_default();
            *(if row.get_ref(1)?.as_str()? == "cancel" { &mut job.cancels } else { &mut job.retries }) += 1;
            Ok(())
        });
        each(conn, "SELECT place, body FROM results", |row| {
            let result = serde_json::from_slice(row.get_ref(1)?.as_blob()?).unwrap_or_default();
            jobs.entry(row.get(0)?).or_default().result = Some(result);
            Ok(())
        });
        let mut keys = HashMap::new();
        each(conn, "SELECT key, place FROM idempotency", |row| {
            keys.insert(row.get(0)?, row.get(1)?);
            Ok(())
        });
        Self { jobs, keys }
    }

    fn unfinished(&self) -> u64 {
        self.jobs.values().filter(|job| job.end_state.is_none()).count() as u64
    }

    /// What is missing of what a client was told.
    fn lacks(&self, id: &str, due: &Due<'_>) -> Option<String> {
        let parsed: JobId = id.parse().expect("an id");
        let Some(row) = self.jobs.get(&parsed.place()).filter(|row| row.tail == parsed.tail()) else {
            return (!due.may_be_gone).then(|| "was acknowledged, and is lost".to_owned());
        };
        if let Some(attempt) = due.attempts.iter().find(|attempt| !row.attempts.contains(attempt)) {
            return Some(format!("attempt {} was shown, and is lost: {attempt:?}", attempt.n));
        }
        let has_said = |(n, said): &&(i64, &str)| row.logs.iter().any(|(of, log)| of == n && log.contains(said));
        if let Some((n, said)) = due.said.iter().find(|said| !has_said(said)) {
            return Some(format!("what attempt {n} said was shown, and is lost: {said}"));
        }
        if row.cancels < due.cancels || row.retries < due.retries {
            return Some(format!("{} cancels and {} retries of {due:?}", row.cancels, row.retries));
        }
        match due.state {
            Some(state) if row.end_state.as_deref() != Some(state) => {
                Some(format!("is {:?}, and was shown as {state}", row.end_state))
            }
            Some("completed") if row.result.as_ref() != due.result.filter(|result| !result.is_null()) => {
                Some(format!("its result is {:?}, and was shown as {:?}", row.result, due.result))
            }
            _ => None,
        }
    }
}

fn each(conn: &Connection, sql: &str, mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>) {
    let mut statement = conn.prepare(sql).expect("the layout is known");
    let mut rows = statement.query(()).expect("a table");
    while let Some(row) = rows.next().expect("a sound table") {
        take(row).expect("the columns are known");
    }
}
