//! The newest attempts of the unfinished jobs: they say when these are due, and how often they were tried.

use std::path::Path;
use std::{iter, slice};

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::fault::Outcome;
use super::open;
use super::recover::meta;
use super::rows::Retried;
use crate::clock::UnixMs;

/// From how many numbers of attempts on two threads read them. Few in the tests, so that it comes by.
const MANY: i64 = if cfg!(test) { 4 } else { 8_192 };

/// What the newest attempt says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) seq: i64,
    pub(super) n: u32,
    pub(super) failed: u32,
    /// When the next one is due; of a held job: when it was held.
    pub(super) due: Option<UnixMs>,
    pub(super) held: bool,
}

const COLUMNS: &str = "seq, n, failed, next_run_ms, held, finished_ms";

impl Newest {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let held = row.get(4)?;
        let due: Option<i64> = row.get(if held { 5 } else { 3 })?;
        Ok(Self { seq: row.get(0)?, n: row.get(1)?, failed: row.get(2)?, due: due.map(UnixMs), held })
    }
}

/// The attempt of that number, which must exist.
pub(super) fn newest_at(conn: &Connection, seq: i64) -> Outcome<Newest> {
    let sql = format!("SELECT {COLUMNS} FROM attempts WHERE seq = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([seq], Newest::read)?)
}

/// The newest attempt of an unfinished job that is not in memory: from its row, or by looking over the newest attempts.
pub(super) fn newest_of(conn: &Connection, place: i64, on_row: Option<i64>) -> Outcome<Option<Newest>> {
    let sql = "SELECT max(seq) FROM attempts WHERE seq >= ?1 AND place = ?2";
    let floor = meta(conn, "attempts_floor")?;
    let seen: Option<i64> = conn.prepare_cached(sql)?.query_row([floor, place], |row| row.get(0))?;
    seen.max(on_row).map(|seq| newest_at(conn, seq)).transpose()
}

/// Whether a person's retry is owed an attempt: none has counted since. Reads back to the last one that did, or that was
/// before the retry.
pub(super) fn is_owed(conn: &Connection, retried: Option<Retried>, newest: Option<&Newest>) -> Outcome<bool> {
    let (Some(retried), Some(newest)) = (retried, newest) else { return Ok(retried.is_some()) };
    let sql = "SELECT before.seq, before.n, before.failed FROM attempts AS this \
               JOIN attempts AS before ON before.seq = this.previous AND before.seq < this.seq WHERE this.seq = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let (mut seq, mut n) = (newest.seq, newest.n);
    while n > retried.after {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let before: Option<(i64, u32, u32)> = statement.query_row([seq], read).optional()?;
        let Some(before) = before else { return Ok(newest.failed == 0) };
        if before.2 != newest.failed {
            return Ok(false);
        }
        (seq, n) = (before.0, before.1);
    }
    Ok(true)
}

/// The newest attempts, from the floor on, of the jobs that go on after them: each with its job's place, in that order.
#[derive(Debug)]
pub(super) struct NewestAttempts {
    by_place: Vec<(i64, Newest)>,
    /// From this number on nothing was read.
    next: i64,
}

impl NewestAttempts {
    /// Reads them on this thread.
    pub(super) fn read(conn: &Connection) -> Outcome<Self> {
        let floor = meta(conn, "attempts_floor")?;
        Ok(Self::of(between(conn, floor, i64::MAX)?, floor))
    }

    /// Reads those of the store at that path, where they are many on one more thread.
    pub(super) fn read_on_two(conn: &Connection, path: &Path) -> Outcome<Self> {
        let floor = meta(conn, "attempts_floor")?;
        let last: i64 = conn.query_row("SELECT coalesce(max(seq), 0) FROM attempts", (), |row| row.get(0))?;
        let first_of_other = floor.midpoint(last);
        if last - floor < MANY {
            return Self::read(conn);
        }
        std::thread::scope(|scope| {
            let read = move || between(&open::reader(path)?, first_of_other, i64::MAX);
            let thread = std::thread::Builder::new().name("windlass-opening".to_owned());
            let other = thread.spawn_scoped(scope, read);
            let mut attempts = between(conn, floor, first_of_other - 1)?;
            attempts.append(&mut match other {
                Ok(other) => other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                // Where there can be no more threads, this one reads them all.
                Err(_) => between(conn, first_of_other, i64::MAX)?,
            });
            Ok(Self::of(attempts, floor))
        })
    }

    /// Takes in those that were recorded since, as far as this reader sees them.
    pub(super) fn go_on(&mut self, conn: &Connection) -> Outcome<()> {
        let since = between(conn, self.next, i64::MAX)?;
        if !since.is_empty() {
            let mut attempts = std::mem::take(&mut self.by_place);
            attempts.extend(since);
            *self = Self::of(attempts, self.next);
        }
        Ok(())
    }

    /// All of them from that number on, and the newest from before.
    fn of(mut attempts: Vec<(i64, Newest)>, from: i64) -> Self {
        let next = attempts.iter().map(|(_, attempt)| attempt.seq + 1).max().unwrap_or(0).max(from);
        attempts.sort_unstable_by_key(|(place, attempt)| (*place, attempt.seq));
        attempts.dedup_by(|newer, kept| {
            let is_of_same = newer.0 == kept.0;
            if is_of_same {
                *kept = *newer;
            }
            is_of_same
        });
        // What says of no next one ended its job, or was void. Where the job goes on all the same, its row names the attempt.
        attempts.retain(|(_, attempt)| attempt.due.is_some());
        Self { by_place: attempts, next }
    }

    /// The one of the job at that place.
    pub(super) fn get(&self, place: i64) -> Option<Newest> {
        self.by_place.binary_search_by_key(&place, |(place, _)| *place).ok().map(|at| self.by_place[at].1)
    }

    /// To go over them from that place on.
    pub(super) fn ahead(&self, from: i64) -> Ahead<'_> {
        let at = self.by_place.partition_point(|(place, _)| *place < from);
        Ahead(self.by_place[at..].iter().peekable())
    }
}

/// The newest attempts of jobs that are gone over in the order of their arrival: nothing is searched for.
pub(super) struct Ahead<'a>(iter::Peekable<slice::Iter<'a, (i64, Newest)>>);

impl Ahead<'_> {
    /// The one of the job at that place, which lies behind those that were asked for before.
    pub(super) fn of(&mut self, place: i64) -> Option<Newest> {
        while self.0.next_if(|(passed, _)| *passed < place).is_some() {}
        self.0.next_if(|(this, _)| *this == place).map(|(_, newest)| *newest)
    }
}

/// The attempts of these numbers, in their order, each with its job's place.
fn between(conn: &Connection, first: i64, last: i64) -> Outcome<Vec<(i64, Newest)>> {
    let sql = format!("SELECT {COLUMNS}, place FROM attempts WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query((first, last))?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push((row.get(6)?, Newest::read(row)?));
    }
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of each job the last attempt counts, whoever reads it, and only where it says of a next one.
        #[test]
        fn the_last_attempt_of_each_job_is_found(
            floor in 0..20_i64,
            attempts in prop::collection::vec((1..3_i64, 1..12_i64, 0..3_u8), 0..60),
            begun_at in 0..60_usize,
        ) {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("x.db");
            std::fs::File::create(&path).unwrap();
            let conn = open::writer(&path).unwrap();
            let (mut seq, mut last) = (0, BTreeMap::new());
            conn.execute_batch("BEGIN").unwrap();
            conn.execute("INSERT INTO meta VALUES ('attempts_floor', ?1)", [floor]).unwrap();
            let mut in_parts = NewestAttempts::read(&conn).unwrap();
            for (index, (step, place, what)) in attempts.into_iter().enumerate() {
                if index == begun_at {
                    in_parts.go_on(&conn).unwrap();
                }
                seq += step;
                let (next_run, held) = ((what == 0).then_some(seq + 100), what == 1);
                let sql = "INSERT INTO attempts (seq, place, n, started_ms, finished_ms, kind, next_run_ms, cpu_us, \
                           memory_peak_bytes, failed, held) VALUES (?1, ?2, 1, 0, ?1, 'try-again', ?3, 0, 0, 0, ?4)";
                conn.execute(sql, (seq, place, next_run, held)).unwrap();
                if seq >= floor {
                    last.insert(place, (seq, next_run.or(held.then_some(seq)), held));
                }
            }
            conn.execute_batch("COMMIT").unwrap();
            in_parts.go_on(&conn).unwrap();
            last.retain(|_, (_, due, _)| due.is_some());
            let found = |newest: Option<Newest>| newest.map(|it| (it.seq, it.due.map(|due| due.0), it.held));
            for read in [NewestAttempts::read(&conn), NewestAttempts::read_on_two(&conn, &path), Ok(in_parts)] {
                let newest = read.unwrap();
                let mut ahead = newest.ahead(3);
                for place in 0..14 {
                    prop_assert_eq!(found(newest.get(place)), last.get(&place).copied());
                    if place >= 3 {
                        prop_assert_eq!(found(ahead.of(place)), last.get(&place).copied());
                    }
                }
            }
        }
    }
}
