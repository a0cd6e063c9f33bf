//! Deleting what is past its retention, a part at a time: everybody waits for the writer meanwhile.

use std::time::Duration;

use rusqlite::Connection;

use super::fault::{Fault, Outcome};
use super::writer::{Group, Writer};
use crate::clock::UnixMs;
use crate::job::{EndState, State};
use crate::store::{Pruned, Retention};

/// How long an idempotency key is remembered at least.
const KEY_RETENTION: Duration = Duration::from_hours(24);
/// How many final jobs are looked at in one go. Few in the tests.
const LOOKED_AT_MAX: usize = if cfg!(test) { 5 } else { 10_000 };
/// How many keys are forgotten in one go. Few in the tests.
const FORGOTTEN_MAX: usize = if cfg!(test) { 3 } else { 1_000 };
/// How many keys that came while the wall clock was ahead are passed over. Few in the tests.
const PASSED_OVER_MAX: usize = if cfg!(test) { 2 } else { 10_000 };

/// How far the prunings have come among the final jobs. They go over all of them that can be past, and then begin anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    at: At,
    /// Of each end state the last job that came while the wall clock was ahead, of those that were met.
    ahead: [i64; EndState::ALL.len()],
}

/// Behind that place, among the jobs of that end state, by its number.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    end: usize,
    place: i64,
}

/// A job to be deleted.
struct Past {
    place: i64,
    created_at: UnixMs,
    key: Option<String>,
    last_attempt: Option<i64>,
}

/// A look for jobs to be deleted.
struct Look {
    past: Vec<Past>,
    most: usize,
    /// How many jobs may still be looked at.
    left: usize,
    at: At,
}

/// What ended a look among the jobs of one end state.
enum Stop {
    /// It has found as many as were asked for, or has looked at as many as may be.
    Enough,
    /// No job behind this place can be past; the largest number there is where there is none.
    Behind(i64),
}

impl Writer<'_> {
    pub(super) fn prune(
        &mut self,
        retention: Retention,
        now: UnixMs,
        most: usize,
        group: &mut Group,
    ) -> Outcome<Pruned> {
        let (look, is_over) = self.look_for_past(retention, now, most)?;
        let mut jobs = 0;
        for job in &look.past {
            jobs += usize::from(self.delete(job, now)?);
        }
        // Otherwise what is in front of those that went was looked at quickly, and some of it may be past the next time.
        if is_over || look.left == 0 || jobs == 0 {
            self.numbers.sweep.at = look.at;
        }
        let has_more_keys = self.forget_keys(now)?;
        self.move_floor(group)?;
        self.write_numbers()?;
        Ok(Pruned { jobs, more: !is_over || has_more_keys })
    }

    /// Jobs that became final before their cutoff, in the order of their arrival, from where the sweep has come to. Answers
    /// also whether it came to its end.
    fn look_for_past(&mut self, retention: Retention, now: UnixMs, most: usize) -> Outcome<(Look, bool)> {
        let mut look = Look { past: Vec::new(), most, left: LOOKED_AT_MAX, at: self.numbers.sweep.at };
        while let Some(end) = EndState::ALL.get(look.at.end) {
            let ahead = self.numbers.sweep.ahead[look.at.end];
            match self.look_among(*end, (now.before(retention.of(*end)), now), &mut look)? {
                Stop::Enough => return Ok((look, false)),
                // What came while the clock was ahead may look young for long: it keeps none behind it.
                Stop::Behind(place) if place < ahead => look.at.place = ahead,
                Stop::Behind(_) => look.at = At { end: look.at.end + 1, place: 0 },
            }
        }
        look.at = At::default();
        Ok((look, true))
    }

    /// Up to the first job that arrived after the cutoff: it cannot have ended before it, nor can those behind it. Those
    /// that came while the wall clock was ahead have their time to come, and are passed over.
    fn look_among(&mut self, end: EndState, (cutoff, now): (UnixMs, UnixMs), look: &mut Look) -> Outcome<Stop> {
        let sql = "SELECT place, created_ms, idempotency_key, last_attempt, finished_ms FROM jobs \
                   WHERE end_state = ?1 AND place > ?2 ORDER BY place";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query((State::from(end).name(), look.at.place))?;
        while let Some(row) = rows.next()? {
            if look.past.len() == look.most || look.left == 0 {
                return Ok(Stop::Enough);
            }
            look.left -= 1;
            let place = row.get(0)?;
            let read = || -> rusqlite::Result<_> {
                let (created_at, finished_at) = (UnixMs(row.get(1)?), UnixMs(row.get(4)?));
                Ok((Past { place, created_at, key: row.get(2)?, last_attempt: row.get(3)? }, finished_at))
            };
            // What cannot be read is left to `windlass doctor`, and keeps no other from being deleted.
            if let Some((job, finished_at)) = unless_damaged(read())? {
                if job.created_at > now {
                    let ahead = &mut self.numbers.sweep.ahead[look.at.end];
                    *ahead = place.max(*ahead);
                } else if job.created_at > cutoff {
                    return Ok(Stop::Behind(place));
                } else if finished_at <= self.numbers.forward.cutoff(finished_at, cutoff) {
                    look.past.push(job);
                }
            }
            look.at.place = place;
        }
        Ok(Stop::Behind(i64::MAX))
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

    /// Forgets the keys that outlived their jobs, once their own time is over. Answers whether there may be more of them.
    fn forget_keys(&self, now: UnixMs) -> Outcome<bool> {
        let cutoff = now.before(KEY_RETENTION);
        let sql = "SELECT place, key, created_ms FROM orphan_keys ORDER BY place";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(())?;
        let (mut past, mut passed) = (Vec::new(), 0);
        while past.len() < FORGOTTEN_MAX
            && let Some(row) = rows.next()?
        {
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
        for (place, key) in &past {
            forget_key(self.conn, key, *place)?;
            self.conn.prepare_cached("DELETE FROM orphan_keys WHERE place = ?1")?.execute([place])?;
        }
        Ok(past.len() == FORGOTTEN_MAX)
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
