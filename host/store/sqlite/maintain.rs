//! Deleting what is past its retention, keeping the opening short, and closing in order.

use std::time::Duration;

use rusqlite::Connection;

use super::effect::Effect;
use super::fault::{Fault, Outcome};
use super::open;
use super::recover::{self, set_meta};
use super::writer::{Group, Writer};
use crate::clock::UnixMs;
use crate::job::{EndState, State};
use crate::store::{Retention, StoreError};

/// How long an idempotency key is remembered at least.
const KEY_RETENTION: Duration = Duration::from_hours(24);
/// How many attempts the opening may have to look over, about. Few in the tests, so that they come by.
const ATTEMPTS_SCAN_MAX: i64 = if cfg!(test) { 5 } else { 200_000 };
/// How many jobs are anchored at once, to move the floor.
const ANCHORS_MAX: usize = 5_000;
/// How many final jobs that came while the wall clock was ahead are passed over at once. Few in the tests.
const PASSED_OVER_MAX: usize = if cfg!(test) { 2 } else { 10_000 };
/// How many jobs in memory are looked over before others have it again.
const LOOKED_OVER_MAX: usize = 10_000;

/// A job to be deleted.
struct Past {
    place: i64,
    created_at: UnixMs,
    key: Option<String>,
    last_attempt: Option<i64>,
}

/// How far a look for jobs to be deleted came.
struct Look {
    /// The job that it did not go beyond; the largest number there is where it came to the end.
    stopped_at: i64,
    /// That job came while the wall clock was ahead.
    stopped_ahead: bool,
    /// Up to here there are only such jobs, from where it began.
    passed_to: i64,
}

impl Writer<'_> {
    /// Puts the log away, as the last thing.
    pub(super) fn close(mut self) {
        if self.shared.health().is_err() {
            return;
        }
        self.numbers.group_attempts_from = self.numbers.attempts_next;
        // The numbers only spare the next opening some reading.
        let settled = self.write_numbers().and_then(|()| Ok(recover::mark_open(self.conn, false)?));
        match settled.map_err(|fault| StoreError::from(&fault)) {
            Ok(()) => _ = open::put_away(self.conn),
            Err(StoreError::Busy(_)) => tracing::warn!(
                file = %self.shared.readers.path().display(),
                "another program holds the store's lock as the host ends: end its transaction, and start the host before \
                 that program closes the file, or it takes the log along and the start will miss it"
            ),
            // Nothing that failed is tried again: the next opening does all of it. The file says that there is a log.
            Err(_) => {}
        }
    }

    pub(super) fn prune(
        &mut self,
        retention: Retention,
        now: UnixMs,
        most: usize,
        group: &mut Group,
    ) -> Outcome<usize> {
        let mut pruned = 0;
        for end in EndState::ALL {
            let past = self.past(end, now.before(retention.of(end)), now, most - pruned)?;
            for job in &past {
                pruned += usize::from(self.delete(job, now)?);
            }
        }
        self.forget_keys(now)?;
        self.move_floor(group)?;
        self.write_numbers()?;
        Ok(pruned)
    }

    /// Jobs that became final before the cutoff, in the order of their arrival. Those that came while the wall clock was
    /// ahead have their time to come, and do not keep what came behind them.
    fn past(&mut self, end: EndState, cutoff: UnixMs, now: UnixMs, most: usize) -> Outcome<Vec<Past>> {
        let (mut past, passed_over) = (Vec::new(), self.numbers.passed_over[end as usize]);
        let look = self.look_for_past(end, 0, (cutoff, now), most, 0, &mut past)?;
        if look.stopped_ahead || passed_over > look.stopped_at {
            let from = passed_over.max(if look.stopped_ahead { look.stopped_at } else { 0 });
            let look = self.look_for_past(end, from, (cutoff, now), most, PASSED_OVER_MAX, &mut past)?;
            self.numbers.passed_over[end as usize] = look.passed_to;
        }
        Ok(past)
    }

    /// Adds them from behind that place on, up to the first that arrived after the cutoff: it cannot have ended before it,
    /// nor can those behind it. So many that came later than now are passed over.
    fn look_for_past(
        &self,
        end: EndState,
        from: i64,
        (cutoff, now): (UnixMs, UnixMs),
        most: usize,
        passes: usize,
        past: &mut Vec<Past>,
    ) -> Outcome<Look> {
        let sql = "SELECT place, created_ms, idempotency_key, last_attempt, finished_ms FROM jobs \
                   WHERE end_state = ?1 AND place > ?2 ORDER BY place";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query((State::from(end).name(), from))?;
        let mut look = Look { stopped_at: i64::MAX, stopped_ahead: false, passed_to: from };
        let (mut passed, mut all_are_ahead) = (0, true);
        while past.len() < most
            && let Some(row) = rows.next()?
        {
            let read = || -> rusqlite::Result<_> {
                let (place, created_at, finished_at) = (row.get(0)?, UnixMs(row.get(1)?), UnixMs(row.get(4)?));
                Ok((Past { place, created_at, key: row.get(2)?, last_attempt: row.get(3)? }, finished_at))
            };
            // What cannot be read is left to `windlass doctor`, and keeps no other from being deleted.
            let Some((job, finished_at)) = unless_damaged(read())? else { continue };
            let is_ahead = job.created_at > now;
            if is_ahead && passed == passes || !is_ahead && job.created_at > cutoff {
                (look.stopped_at, look.stopped_ahead) = (job.place, is_ahead);
                break;
            }
            all_are_ahead &= is_ahead;
            if is_ahead {
                passed += 1;
                look.passed_to = if all_are_ahead { job.place } else { look.passed_to };
            } else if finished_at <= self.numbers.forward.cutoff(finished_at, cutoff) {
                past.push(job);
            }
        }
        Ok(look)
    }

    /// False where its key should outlive it and cannot: another is remembered at its place, which was not written there
    /// for it. Then it is kept, and keeps no other from being deleted.
    fn delete(&self, job: &Past, now: UnixMs) -> Outcome<bool> {
        if let Some(key) = &job.key
            && !self.let_go(key, job, now)?
        {
            return Ok(false);
        }
        let mut next = job.last_attempt;
        while let Some(seq) = next {
            let sql = "DELETE FROM attempts WHERE seq = ?1 RETURNING previous";
            let deleted = self.conn.prepare_cached(sql)?.query_row([seq], |row| row.get::<_, Option<i64>>(0));
            next = unless_damaged(deleted)?.flatten();
            self.conn.prepare_cached("DELETE FROM attempt_evidence WHERE seq = ?1")?.execute([seq])?;
        }
        for sql in [
            "DELETE FROM jobs WHERE place = ?1",
            "DELETE FROM payloads WHERE place = ?1",
            "DELETE FROM results WHERE place = ?1",
            "DELETE FROM acts WHERE place = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([job.place])?;
        }
        Ok(true)
    }

    /// Forgets the key of a job that is deleted, or has it outlive the job until its own time is over. False where it
    /// cannot: nothing was written then.
    fn let_go(&self, key: &str, job: &Past, now: UnixMs) -> Outcome<bool> {
        if job.created_at <= self.numbers.forward.cutoff(job.created_at, now.before(KEY_RETENTION)) {
            return forget_key(self.conn, key, job.place).map(|()| true);
        }
        let sql = "INSERT INTO orphan_keys (place, key, created_ms, sum) \
                   VALUES (?1, ?2, ?3, row_sum('orphan', ?1, ?2, ?3))";
        match self.conn.prepare_cached(sql)?.execute((job.place, key, job.created_at.0)).map_err(Fault::from) {
            Err(fault) if fault.is_senseless() => Ok(false),
            outlives => Ok(outlives? == 1),
        }
    }

    /// Forgets the keys that outlived their jobs, once their own time is over.
    fn forget_keys(&self, now: UnixMs) -> Outcome<()> {
        let cutoff = now.before(KEY_RETENTION);
        let sql = "SELECT place, key, created_ms FROM orphan_keys ORDER BY place";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(())?;
        let (mut past, mut passed) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let read = || Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, UnixMs(row.get(2)?)));
            let Some((place, key, created_at)) = unless_damaged(read())? else { continue };
            if created_at > now && passed < PASSED_OVER_MAX {
                passed += 1;
                continue;
            }
            if created_at > self.numbers.forward.cutoff(created_at, cutoff) {
                break;
            }
            past.push((place, key));
        }
        drop(rows);
        for (place, key) in past {
            forget_key(self.conn, &key, place)?;
            self.conn.prepare_cached("DELETE FROM orphan_keys WHERE place = ?1")?.execute([place])?;
        }
        Ok(())
    }

    /// Where a few old jobs make the opening look over many attempts, their newest attempts are written on their rows,
    /// so that the opening can begin behind them.
    fn move_floor(&self, group: &mut Group) -> Outcome<()> {
        let below = self.numbers.attempts_next - ATTEMPTS_SCAN_MAX;
        if self.numbers.attempts_floor >= below {
            return Ok(());
        }
        for (place, newest) in self.laggards(below) {
            // A job that this group has changed is left for the next time.
            if group.touched.contains(&place) {
                continue;
            }
            let sql = "UPDATE jobs SET last_attempt = ?2, \
                       end_sum = row_sum('end', place, NULL, NULL, ?2, result_sum) \
                       WHERE place = ?1 AND end_state IS NULL";
            self.conn.prepare_cached(sql)?.execute([place, newest])?;
            group.effects.push(Effect::Anchored(place, newest));
        }
        Ok(())
    }

    /// Jobs that hold the floor below `below`. Nobody waits for the memory while all of it is looked over.
    fn laggards(&self, below: i64) -> Vec<(i64, i64)> {
        let (mut laggards, mut from) = (Vec::new(), Some(0));
        let sought = self.shared.memory().live.lagging(below).min(ANCHORS_MAX);
        while laggards.len() < sought
            && let Some(place) = from
        {
            let (some, next) = self.shared.memory().live.laggards(below, place, LOOKED_OVER_MAX);
            laggards.extend(some);
            from = next;
        }
        laggards.truncate(ANCHORS_MAX);
        laggards
    }

    /// Writes down where the opening has to begin, as memory has it: what this group does counts next time. And the
    /// highest place, which no row may tell of once its job is deleted.
    pub(super) fn write_numbers(&mut self) -> Outcome<()> {
        let floor = self.shared.memory().live.attempts_floor();
        // An attempt of this group may not be in memory yet; none of them is below the first that it could append.
        let floor = floor.unwrap_or(self.numbers.group_attempts_from).min(self.numbers.group_attempts_from);
        set_meta(self.conn, "attempts_floor", floor)?;
        set_meta(self.conn, "attempts_next", self.numbers.attempts_next)?;
        set_meta(self.conn, "last_place", self.ids.last_place())?;
        self.numbers.attempts_floor = floor;
        Ok(())
    }
}

/// None where a row is gone, or holds a value of another type.
fn unless_damaged<T>(read: rusqlite::Result<T>) -> Outcome<Option<T>> {
    match read.map_err(Fault::from) {
        Ok(read) => Ok(Some(read)),
        Err(fault) if fault.is_damage() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn forget_key(conn: &Connection, key: &str, place: i64) -> Outcome<()> {
    conn.prepare_cached("DELETE FROM idempotency WHERE key = ?1 AND place = ?2")?.execute((key, place))?;
    Ok(())
}
