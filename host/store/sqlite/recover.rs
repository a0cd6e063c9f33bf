//! Reading what is unfinished at the opening.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::begun::{self, Begun, OnDisk};
use super::fault::Outcome;
use super::newest::Newest;
use super::prune::Sweep;
use super::reckoning::{self, Forward};
use super::rows::Retried;
use super::unfinished::{Context, Stretches};
use crate::clock::{LAST_MOMENT, Reckoning, UnixMs};
use crate::job::gates::LaneRef;
use crate::job::live::{LiveSet, Unfinished};
use crate::job::{JobId, Lane};

/// The tokens of one opening: no lease of an earlier one is mistaken for a present one.
const TOKENS_PER_BOOT: i64 = 1 << 40;

/// The writer's counters.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The highest place ever given out, or 0.
    pub(super) last_place: i64,
    /// The number of the next attempt row.
    pub(super) attempts_next: i64,
    /// Every newest attempt of an unfinished job that the job's own row does not name is at or behind this one.
    pub(super) attempts_floor: i64,
    /// The first attempt number of the group that is being written.
    pub(super) group_attempts_from: i64,
    /// Attempts that an earlier life left behind.
    pub(super) begun: OnDisk,
    /// Earlier steps of the wall clock.
    pub(super) forward: Forward,
    /// How far the prunings have come.
    pub(super) sweep: Sweep,
}

/// What the opening found.
pub(super) struct Recovered {
    pub(super) live: LiveSet,
    pub(super) numbers: Numbers,
    /// A moment that has certainly passed.
    pub(super) seen: UnixMs,
}

/// Reads everything that is unfinished, by the connection that writes to the file at that path.
pub(super) fn recover(conn: &Connection, path: &Path, kept_max: usize, here: Option<Reckoning>) -> Outcome<Recovered> {
    if let Some(here) = here {
        reckoning::settle(conn, here)?;
    }
    let boots = meta(conn, "boots")? + 1;
    set_meta(conn, "boots", boots)?;
    mark_open(conn, true)?;
    let mut live = LiveSet::new(kept_max, boots * TOKENS_PER_BOOT);
    let stretches = Stretches::cut(conn)?;
    live.reserve(stretches.jobs_max());
    // The wall clock may have been set back since.
    let seen = latest_moment(conn)?.min(here.map_or(LAST_MOMENT, |here| here.now));
    // What has been recorded since is past, and so is what began of a job that is gone.
    let begun = begun::read(conn)?;
    let mut left_behind: Vec<Begun> = Vec::new();
    let context = Context::read_on_two(conn, path, i64::MAX)?;
    live.fill(|live| {
        context.scan_all(conn, path, &stretches, |mut job, lane| {
            let interrupted = begun.get(&job.id.place()).filter(|begun| begun.n > job.attempts);
            job.interrupted = interrupted.map(|begun| begun.started_at);
            left_behind.extend(interrupted);
            live.insert(&job, lane, seen);
        })
    })?;
    for begun in begun.values() {
        if let Some((job, lane)) = cancelled(conn, begun)? {
            live.leave_ghost(&job, lane);
            left_behind.push(*begun);
        }
    }
    let last_place = last_place(conn)?;
    let last_attempt: i64 = conn.query_row("SELECT coalesce(max(seq), 0) FROM attempts", (), |row| row.get(0))?;
    let attempts_next = meta(conn, "attempts_next")?.max(last_attempt + 1);
    let numbers = Numbers {
        last_place,
        attempts_next,
        group_attempts_from: attempts_next,
        attempts_floor: meta(conn, "attempts_floor")?,
        begun: begun::write_anew(conn, left_behind)?,
        forward: reckoning::forward(conn)?,
        sweep: Sweep::default(),
    };
    Ok(Recovered { live, numbers, seen })
}

/// The job, where it was cancelled and its attempt was not recorded before the host died.
fn cancelled(conn: &Connection, begun: &Begun) -> Outcome<Option<(Unfinished, Lane)>> {
    let sql = "SELECT tail, plugin, downstream, limit_key, coalesce(n, 0), coalesce(failed, 0) \
               FROM jobs LEFT JOIN attempts ON seq = last_attempt \
               WHERE jobs.place = ?1 AND end_state = 'cancelled' AND coalesce(n, 0) < ?2";
    let read = |row: &Row<'_>| {
        let (id, interrupted) = (JobId::from_parts(begun.place, row.get(0)?), Some(begun.started_at));
        let text = |column| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
        let (plugin, downstream) = (text(1)?.unwrap_or_default(), text(2)?.unwrap_or_default());
        let lane = LaneRef { plugin, downstream, limit_key: text(3)? };
        let (attempts, failed) = (row.get(4)?, row.get(5)?);
        Ok((Unfinished { attempts, failed, interrupted, ..Unfinished::new(id) }, lane.to_lane()))
    };
    Ok(conn.prepare_cached(sql)?.query_row((begun.place, begun.n), read).optional()?)
}

/// What decides when an unfinished job is due.
pub(super) struct Waiting {
    pub(super) id: JobId,
    pub(super) priority: i16,
    pub(super) run_at: UnixMs,
    pub(super) retried: Option<Retried>,
    /// See [`Unfinished::owed`].
    pub(super) owed: bool,
    /// Attempts up to this one hold no job of its plugin.
    pub(super) unheld_to: i64,
}

impl Waiting {
    /// The job as it waits after its newest attempt. A person's retry after it counts for more than what it said.
    pub(super) fn after(self, newest: Option<Newest>) -> Unfinished {
        let blank = Unfinished { priority: self.priority, owed: self.owed, ..Unfinished::new(self.id) };
        let retried_at = self.retried.map(|retried| retried.at);
        let Some(newest) = newest else {
            return Unfinished { due: retried_at.unwrap_or(self.run_at), ..blank };
        };
        let overruled = self.retried.is_some_and(|retried| retried.after >= newest.n);
        let said = newest.due.filter(|_| !overruled);
        Unfinished {
            due: said.or(retried_at).unwrap_or(self.run_at),
            attempts: newest.n,
            failed: newest.failed,
            newest: newest.seq,
            held: newest.held && !overruled && newest.seq > self.unheld_to,
            ..blank
        }
    }
}

/// Up to which attempt a plugin's jobs are no longer held.
pub(super) fn unheld_to(conn: &Connection, plugin: &str) -> Outcome<i64> {
    let mut statement = conn.prepare_cached("SELECT seq FROM unholds WHERE plugin = ?1")?;
    Ok(statement.query_row([plugin], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The highest place ever given out, or 0. Its job may have been deleted since: then the number tells of it that every
/// pruning writes, or its key, in a store that was not pruned since that number is written.
fn last_place(conn: &Connection) -> Outcome<i64> {
    let sql = "SELECT max(coalesce((SELECT max(place) FROM jobs), 0), \
               coalesce((SELECT max(place) FROM orphan_keys), 0))";
    let there: i64 = conn.query_row(sql, (), |row| row.get(0))?;
    Ok(there.max(meta(conn, "last_place")?))
}

/// When the newest thing on disk happened.
fn latest_moment(conn: &Connection) -> Outcome<UnixMs> {
    let sql = "SELECT max( \
               coalesce((SELECT created_ms FROM jobs ORDER BY place DESC LIMIT 1), 0), \
               coalesce((SELECT finished_ms FROM attempts ORDER BY seq DESC LIMIT 1), 0))";
    Ok(UnixMs(conn.query_row(sql, (), |row| row.get(0))?))
}

/// Says in the file that a host has it open, so that there must be a log beside it.
pub(super) fn mark_open(conn: &Connection, is_open: bool) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ('open', ?1) ON CONFLICT DO UPDATE SET value = excluded.value";
    conn.execute(sql, [is_open]).map(drop)
}

/// Whether the file says so.
pub(super) fn is_marked_open(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM meta WHERE name = 'open' AND value = 1";
    conn.query_row(sql, (), |row| row.get(0))
}

pub(super) fn meta(conn: &Connection, name: &str) -> Outcome<i64> {
    let mut statement = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?.unwrap_or(0))
}

pub(super) fn set_meta(conn: &Connection, name: &str, value: i64) -> Outcome<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    conn.prepare_cached(sql)?.execute((name, value))?;
    Ok(())
}
