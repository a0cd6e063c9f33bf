//! What people do to jobs: cancel and retry.

use rusqlite::params;

use super::effect::Effect;
use super::fault::Outcome;
use super::newest::{is_owed, newest_at, newest_of};
use super::recover::{self, Waiting};
use super::rows::{self, JobRow};
use super::writer::{Group, Writer};
use crate::clock::UnixMs;
use crate::job::live::{Entry, Unfinished, waiting_state};
use crate::job::{JobId, State};
use crate::store::{ActKind, Acted};

/// A job as an act finds it.
struct Found {
    row: JobRow,
    /// None: it is final, or on disk only.
    entry: Option<Entry>,
    /// As it waits, or would wait where it is final.
    waiting: Unfinished,
}

impl Writer<'_> {
    pub(super) fn cancel(&self, id: JobId, now: UnixMs, group: &mut Group) -> Outcome<Acted> {
        let Some(found) = self.find(id)? else { return Ok(Acted::Unknown) };
        if let Some((end, _)) = found.row.end {
            return Ok(Acted::NotIn(end.into()));
        }
        let place = id.place();
        let newest = Some(found.waiting.newest).filter(|newest| *newest > 0);
        let sql = "UPDATE jobs SET end_state = 'cancelled', finished_ms = ?2, last_attempt = ?3, result_sum = NULL, \
                   end_sum = row_sum('end', place, 'cancelled', ?2, ?3, NULL) WHERE place = ?1";
        self.conn.prepare_cached(sql)?.execute(params![place, now.0, newest])?;
        self.write_act(place, now, ActKind::Cancel)?;
        group.touched.insert(place);
        group.effects.push(Effect::Cancelled(place, found.row.plugin));
        Ok(Acted::Done)
    }

    pub(super) fn retry(&self, id: JobId, now: UnixMs, group: &mut Group) -> Outcome<Acted> {
        let Some(found) = self.find(id)? else { return Ok(Acted::Unknown) };
        let state = found.state(now);
        let held = found.waiting.held;
        match state {
            State::Scheduled | State::Retryable | State::Discarded | State::Cancelled => {}
            // A held job is available in name only: a person may send it on without an edit of the grants.
            State::Available if held => {}
            State::Available | State::Running | State::Completed => return Ok(Acted::NotIn(state)),
        }
        let place = id.place();
        let after = found.waiting.attempts;
        // Its sum was looked at when it was found, so that no damage is given a sum that fits.
        let sql = "UPDATE jobs SET end_state = NULL, finished_ms = NULL, retried_ms = ?2, retried_after = ?3, \
                   sum = row_sum('job', place, tail, plugin, downstream, content_type, priority, run_at_ms, \
                   created_ms, retry, deadline_ms, labels, traceparent, idempotency_key, ?2, ?3, limit_key, \
                   payload_sum), end_sum = CASE WHEN last_attempt IS NOT NULL \
                   THEN row_sum('end', place, NULL, NULL, last_attempt, result_sum) END WHERE place = ?1";
        self.conn.prepare_cached(sql)?.execute((place, now.0, after))?;
        self.write_act(place, now, ActKind::Retry)?;
        group.touched.insert(place);
        group.effects.push(found.retried(now));
        Ok(Acted::Done)
    }

    fn find(&self, id: JobId) -> Outcome<Option<Found>> {
        let Some(row) = rows::job(self.conn, id.place())?.filter(|row| row.id == id) else { return Ok(None) };
        let entry = self.shared.memory().live.get(id).copied();
        let waiting = match &entry {
            Some(entry) => entry.waiting(id),
            None => self.waiting_on_disk(&row)?,
        };
        Ok(Some(Found { row, entry, waiting }))
    }

    fn waiting_on_disk(&self, row: &JobRow) -> Outcome<Unfinished> {
        let newest = match row.end {
            Some(_) => row.last_attempt.map(|seq| newest_at(self.conn, seq)).transpose()?,
            None => newest_of(self.conn, row.id.place(), row.last_attempt)?,
        };
        let anchored = newest.map(|newest| newest.seq) == row.last_attempt;
        let unheld_to = recover::unheld_to(self.conn, &row.plugin)?;
        let (id, priority, run_at) = (row.id, row.priority, UnixMs(row.run_at_ms));
        let owed = is_owed(self.conn, row.retried, newest.as_ref())?;
        let waiting = Waiting { id, priority, run_at, retried: row.retried, owed, unheld_to };
        Ok(Unfinished { anchored, ..waiting.after(newest) })
    }

    fn write_act(&self, place: i64, now: UnixMs, what: ActKind) -> Outcome<()> {
        let what = match what {
            ActKind::Cancel => "cancel",
            ActKind::Retry => "retry",
        };
        let sql = "INSERT INTO acts (place, seq, at_ms, what, sum) \
                   SELECT ?1, next, ?2, ?3, row_sum('act', ?1, next, ?2, ?3) \
                   FROM (SELECT coalesce(max(seq), 0) + 1 AS next FROM acts WHERE place = ?1)";
        self.conn.prepare_cached(sql)?.execute(params![place, now.0, what])?;
        Ok(())
    }
}

impl Found {
    fn state(&self, now: UnixMs) -> State {
        match (self.row.end, &self.entry) {
            (Some((end, _)), _) => end.into(),
            (None, Some(entry)) => entry.state(now),
            (None, None) if self.waiting.held => State::Available,
            (None, None) => waiting_state(self.waiting.due, self.waiting.attempts, now),
        }
    }

    fn retried(self, now: UnixMs) -> Effect {
        let job = Unfinished { due: now, held: false, owed: true, ..self.waiting };
        let lane = self.row.lane().to_lane();
        if self.row.end.is_some() { Effect::Revived { job, lane } } else { Effect::Sooner { job, lane } }
    }
}
