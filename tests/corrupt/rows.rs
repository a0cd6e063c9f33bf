//! The rows of a store as SQLite reads them, job by job: what is known, and what is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::base::{copy, store_in};
use super::damage::PAGE;

type Row = Vec<Value>;

/// The rows of one job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    row: Row,
    payload: Option<Row>,
    result: Option<Row>,
    attempts: Vec<Row>,
    acts: Vec<Row>,
    evidence: Vec<Row>,
    key: Option<Row>,
}

/// Jobs by their places.
pub type Jobs = BTreeMap<i64, Job>;

/// What SQLite can still read of what is known.
pub struct Seen {
    /// Whether nothing is wrong, in any row or in the structure.
    pub is_perfect: bool,
    /// The jobs of which every row is as it was.
    pub whole: BTreeSet<i64>,
    /// Whether every attempt is as it was, and where it belongs.
    pub has_all_attempts: bool,
    /// What is not as it was.
    pub wrong: Vec<String>,
}

/// Which column says whose the row is, and in which order.
const TABLES: [(&str, &str, &str); 7] = [
    ("jobs", "place", "place"),
    ("payloads", "place", "place"),
    ("results", "place", "place"),
    ("attempts", "place", "seq"),
    ("acts", "place", "seq"),
    ("attempt_evidence", "(SELECT place FROM attempts WHERE attempts.seq = attempt_evidence.seq)", "seq"),
    ("idempotency", "place", "key"),
];

impl Job {
    pub fn tail(&self) -> i64 {
        if let Value::Integer(tail) = self.row[1] { tail } else { panic!("{:?}", self.row) }
    }

    pub fn id(&self, place: i64) -> String {
        windlass::job::JobId::from_parts(place, self.tail()).to_string()
    }

    pub fn is_final(&self) -> bool {
        self.row[15] != Value::Null
    }

    /// Of what the host shows of it: whether that is so. Whoever runs the job meanwhile adds to it.
    pub fn is_told_by(&self, told: &serde_json::Value) -> bool {
        let attempts = told["attempts"].as_array().map_or(&[][..], Vec::as_slice);
        let ended: Vec<_> = attempts.iter().filter(|attempt| !attempt["finished_at"].is_null()).collect();
        let are_told = self.attempts.iter().zip(&ended).all(|(row, told)| {
            let (Value::Integer(n), Value::Integer(finished_ms), Value::Text(kind)) = (&row[2], &row[5], &row[6])
            else {
                panic!("{row:?}")
            };
            let error = if let Value::Text(error) = &row[7] { Some(error.as_str()) } else { None };
            told["n"] == *n
                && told["outcome"] == **kind
                && told["error"].as_str() == error
                && super::common::ms(&told["finished_at"]) == *finished_ms
        });
        let end = if let Value::Text(end) = &self.row[15] { Some(end.as_str()) } else { None };
        let is_end_told = match end {
            Some(end) => told["state"] == *end && ended.len() == self.attempts.len(),
            None => told["finished_at"].is_null() || ended.len() > self.attempts.len(),
        };
        is_end_told && self.attempts.len() <= ended.len() && are_told && self.is_result_told_by(told)
    }

    fn is_result_told_by(&self, told: &serde_json::Value) -> bool {
        let Some([_, _, Value::Blob(body), ..]) = self.result.as_deref() else { return true };
        serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| told["result"] == body)
    }

    /// The payload, as the host shows it.
    pub fn payload(&self) -> serde_json::Value {
        let Some([_, Value::Blob(bytes)]) = self.payload.as_deref() else { panic!("{:?}", self.payload) };
        serde_json::from_slice(bytes).unwrap()
    }

    fn take(&mut self, table: &str, row: Row) {
        match table {
            "jobs" => self.row = row,
            "payloads" => self.payload = Some(row),
            "results" => self.result = Some(row),
            "attempts" => self.attempts.push(row),
            "acts" => self.acts.push(row),
            "attempt_evidence" => self.evidence.push(row),
            _ => self.key = Some(row),
        }
    }

    /// Whether the other one is this one. What was logged, and the memory of its key, may be missing there.
    pub fn is(&self, other: &Self) -> bool {
        let same = (&self.row, &self.payload, &self.result, &self.attempts, &self.acts)
            == (&other.row, &other.payload, &other.result, &other.attempts, &other.acts);
        same && self.has_all_lesser_of(other)
    }

    /// Whether the other one is this one but for its newest attempts.
    pub fn is_but_for_newest_attempts(&self, other: &Self) -> bool {
        let attempts = self.attempts.get(..other.attempts.len()).unwrap_or_default().to_vec();
        attempts == other.attempts && Self { attempts, ..self.clone() }.is(other)
    }

    /// Whether this one was the other one once: it was asked for the same, and had fewer attempts behind it.
    pub fn was_once(&self, other: &Self) -> bool {
        // The person's retry, the ends and the sums may have changed since.
        let fixed = |job: &Self| [&job.row[..8], &job.row[9..13], &job.row[18..20]].concat();
        fixed(self) == fixed(other)
            && self.payload == other.payload
            && self.attempts.starts_with(&other.attempts)
            && self.acts.starts_with(&other.acts)
            && other.result.as_ref().is_none_or(|result| self.result.as_ref() == Some(result))
            && self.has_all_lesser_of(other)
    }

    fn has_all_lesser_of(&self, other: &Self) -> bool {
        other.evidence.iter().all(|row| self.evidence.contains(row)) && (other.key.is_none() || self.key == other.key)
    }
}

/// Every job of a store that is whole.
pub fn jobs(store: &Path) -> Jobs {
    let conn = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let mut jobs = Jobs::new();
    for (table, place, order) in TABLES {
        let mut statement = conn.prepare(&format!("SELECT *, {place} FROM {table} ORDER BY {order}")).unwrap();
        let mut rows = statement.query(()).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (values, place) = read(row);
            if let Some(place) = place {
                jobs.entry(place).or_default().take(table, values);
            }
        }
    }
    // The keys of jobs that are gone already have no row.
    jobs.retain(|_, job| !job.row.is_empty());
    jobs
}

fn read(row: &rusqlite::Row<'_>) -> (Row, Option<i64>) {
    let columns = row.as_ref().column_count();
    let values = (0..columns - 1).map(|at| row.get(at).unwrap()).collect();
    (values, row.get(columns - 1).unwrap())
}

/// Looks for each known row in a copy of a damaged store, as SQLite reads it.
pub fn seen_by_sqlite(folder: &Path, truth: &Jobs) -> Seen {
    let scratch = tempfile::TempDir::new().unwrap();
    copy(folder, scratch.path());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = Connection::open_with_flags(store_in(scratch.path()), flags).unwrap();
    let mut seen = Seen { is_perfect: true, whole: BTreeSet::new(), has_all_attempts: true, wrong: Vec::new() };
    for (place, job) in truth {
        let wrong = differs(&conn, job);
        seen.has_all_attempts &= attempts_differ(&conn, job).is_none();
        match wrong {
            None => _ = seen.whole.insert(*place),
            Some(wrong) => seen.wrong.push(format!("{place}: {wrong}")),
        }
    }
    let sound: rusqlite::Result<String> = conn.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0));
    seen.is_perfect = seen.wrong.is_empty() && sound.is_ok_and(|told| told == "ok");
    let sound: rusqlite::Result<String> = conn.query_row("PRAGMA integrity_check(attempts)", (), |row| row.get(0));
    seen.has_all_attempts &= sound.is_ok_and(|told| told == "ok");
    seen
}

/// The first thing of a job that is not as it is known.
fn differs(conn: &Connection, job: &Job) -> Option<String> {
    let bodies = [("payloads", &job.payload), ("results", &job.result)];
    let bodies = bodies.into_iter().filter_map(|(table, row)| Some((table, row.as_ref()?)));
    row_differs(conn, "jobs", "place", &job.row)
        .or_else(|| bodies.into_iter().find_map(|(table, row)| row_differs(conn, table, "place", row)))
        .or_else(|| attempts_differ(conn, job))
        .or_else(|| acts_differ(conn, job))
}

fn attempts_differ(conn: &Connection, job: &Job) -> Option<String> {
    job.attempts.iter().find_map(|row| row_differs(conn, "attempts", "seq", row))
}

/// The row is looked for by its first column.
fn row_differs(conn: &Connection, table: &str, column: &str, row: &Row) -> Option<String> {
    let sql = format!("SELECT *, 0 FROM {table} WHERE {column} = ?1");
    let found = conn.prepare_cached(&sql).and_then(|mut it| it.query_row([&row[0]], |row| Ok(read_leniently(row))));
    (found.as_ref().ok() != Some(&Some(row.clone()))).then(|| format!("{table} {:?}: {found:?}", row[0]))
}

fn acts_differ(conn: &Connection, job: &Job) -> Option<String> {
    let sql = "SELECT *, 0 FROM acts WHERE place = ?1 ORDER BY seq";
    let found = conn.prepare_cached(sql).and_then(|mut statement| {
        let rows = statement.query_map([&job.row[0]], |row| Ok(read_leniently(row)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    let wanted: Vec<_> = job.acts.iter().cloned().map(Some).collect();
    (found.as_ref().ok() != Some(&wanted)).then(|| format!("acts: {found:?}"))
}

/// None where a column is no value.
fn read_leniently(row: &rusqlite::Row<'_>) -> Option<Row> {
    let columns = row.as_ref().column_count();
    (0..columns - 1).map(|at| row.get(at).ok()).collect()
}

/// Where the first page of each table begins.
pub fn first_pages(store: &Path) -> BTreeMap<String, u64> {
    let conn = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = conn.prepare("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").unwrap();
    let first = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, u64::from(row.get::<_, u32>(1)? - 1) * PAGE));
    tables.query_map([], first).unwrap().map(Result::unwrap).collect()
}
