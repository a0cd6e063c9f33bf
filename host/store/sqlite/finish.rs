//! Recording the ends of attempts.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, params};

use super::effect::Effect;
use super::end::{End, KeptEvidence, KeptResult, whole};
use super::fault::Outcome;
use super::rows;
use super::statements::{maybe, text};
use super::sums;
use super::writer::{Group, Writer};
use crate::job::live::{Again, Entry, Standing};
use crate::job::{Disposition, EndState};
use crate::store::Finished;

/// What an attempt's row says of the job.
struct Verdict {
    /// The attempt of the same job before.
    previous: Option<i64>,
    next_run_ms: Option<i64>,
    failed: u32,
    held: bool,
}

/// What is to be written of an end.
enum Step<'a> {
    Record(&'a Entry, Disposition),
    RecordGhost(Option<Verdict>),
    /// It has no right any more.
    Nothing,
}

impl Writer<'_> {
    pub(super) fn finish(&mut self, ends: Vec<End>, group: &mut Group) -> Outcome<Vec<Finished>> {
        let standings: Vec<(Standing, Option<Entry>)> = {
            let memory = self.shared.memory();
            let look = |end: &End| {
                let (id, token) = (end.lease.job, end.lease.token);
                (memory.live.standing(id.place(), token), memory.live.get(id).copied())
            };
            ends.iter().map(look).collect()
        };
        // Whatever is read is read first: who meets a damaged row has written nothing.
        let mut steps = Vec::with_capacity(ends.len());
        for (end, standing) in ends.iter().zip(&standings) {
            let first = group.touched.insert(end.place());
            steps.push(match standing {
                (Standing::Holds, Some(entry)) if first => Step::Record(entry, self.unless_edited(end)?),
                (Standing::Ghost, entry) if first => Step::RecordGhost(self.before_ghost(end, entry.as_ref())?),
                _ => Step::Nothing,
            });
            if let Some(digest) = &end.revision {
                self.revision(digest)?;
            }
        }
        let mut answers = Vec::with_capacity(ends.len());
        for (end, step) in ends.iter().zip(steps) {
            answers.push(match step {
                Step::Record(entry, disposition) => {
                    self.record(end, entry, disposition, group)?;
                    Finished::Recorded
                }
                Step::RecordGhost(before) => {
                    self.record_ghost(end, before, group)?;
                    Finished::Fenced
                }
                Step::Nothing => Finished::Fenced,
            });
        }
        Ok(answers)
    }

    fn record(&mut self, end: &End, entry: &Entry, disposition: Disposition, group: &mut Group) -> Outcome<()> {
        let place = end.place();
        let verdict = Verdict::of(disposition, entry);
        let newest = self.append(end, &verdict)?;
        self.begun.end(place, &mut group.begun);
        let state = match disposition {
            Disposition::Complete => EndState::Completed,
            Disposition::Discard => EndState::Discarded,
            Disposition::Cancel => EndState::Cancelled,
            Disposition::Retry { .. } | Disposition::Hold => {
                let due = if let Disposition::Retry { at, .. } = disposition { at } else { end.finished_at };
                let (held, attempts, failed) = (verdict.held, end.attempt, verdict.failed);
                let (is_spared, steps_back) = (end.is_spared, end.steps_back);
                let again = Again { due, held, attempts, failed, is_spared, steps_back, newest };
                group.effects.push(Effect::GoesOn(place, again));
                return Ok(());
            }
        };
        let result = end.result.as_ref().filter(|_| state == EndState::Completed);
        result.map(|result| self.keep_result(place, result)).transpose()?;
        let result_sum = result.map(|result| result.sum);
        let (name, finished_ms) = (crate::job::State::from(state).name(), end.finished_at.0);
        let end_sum = sums::of_end(place, name, finished_ms, newest, result_sum);
        let sql = "UPDATE jobs SET end_state = ?2, finished_ms = ?3, last_attempt = ?4, result_sum = ?5, end_sum = ?6 \
                   WHERE place = ?1";
        self.statements.get(sql)?.execute((place, name, finished_ms, newest, result_sum, end_sum))?;
        group.effects.push(Effect::Ended(place, state));
        Ok(())
    }

    /// What becomes of the job: it is not held where the grants were edited while its attempt ran.
    fn unless_edited(&self, end: &End) -> Outcome<Disposition> {
        if end.disposition != Disposition::Hold || self.edited.is_empty() {
            return Ok(end.disposition);
        }
        let sql = "SELECT plugin FROM jobs WHERE place = ?1";
        let plugin: String = self.conn.prepare_cached(sql)?.query_row([end.lease.job.place()], |row| row.get(0))?;
        let is_older = self.edited.get(&plugin).is_some_and(|first| end.lease.token < *first);
        Ok(if is_older { Disposition::Retry { at: end.finished_at, counted: false } } else { Disposition::Hold })
    }

    /// What the attempt of a cancelled job follows; none where the job is gone.
    fn before_ghost(&self, end: &End, entry: Option<&Entry>) -> Outcome<Option<Verdict>> {
        let Some(row) = rows::job(self.conn, end.place())? else { return Ok(None) };
        let previous = row.last_attempt.max(entry.map(|entry| entry.newest)).filter(|seq| *seq > 0);
        let failed = previous.map(|seq| rows::attempt(self.conn, seq)).transpose()?.map_or(0, |attempt| attempt.failed);
        Ok(Some(Verdict { previous, next_run_ms: None, failed, held: false }))
    }

    /// The attempt of a cancelled job: kept as long as the job is, and without any effect on it.
    fn record_ghost(&mut self, end: &End, before: Option<Verdict>, group: &mut Group) -> Outcome<()> {
        let place = end.place();
        self.begun.end(place, &mut group.begun);
        let Some(verdict) = before else {
            group.effects.push(Effect::GhostLaid(place, None));
            return Ok(());
        };
        let newest = self.append(end, &verdict)?;
        let sql = "UPDATE jobs SET last_attempt = ?2, \
                   end_sum = row_sum('end', place, end_state, finished_ms, ?2, result_sum) WHERE place = ?1";
        self.conn.prepare_cached(sql)?.execute([place, newest])?;
        group.effects.push(Effect::GhostLaid(place, Some(newest)));
        Ok(())
    }

    /// Appends the attempt's row, and its evidence where there is any. Answers its number.
    fn append(&mut self, end: &End, verdict: &Verdict) -> Outcome<i64> {
        let seq = self.numbers.attempts_next;
        let revision = end.revision.as_deref().map(|digest| self.revision(digest)).transpose()?;
        let evidence = end.evidence.as_ref();
        evidence.map(|evidence| self.keep_evidence(seq, evidence)).transpose()?;
        let number = ValueRef::Integer;
        let facts = [
            number(seq),
            number(end.lease.job.place()),
            number(end.attempt.into()),
            maybe(verdict.previous, number),
            number(end.started_at.0),
            number(end.finished_at.0),
            text(end.kind.name()),
            maybe(end.error.as_deref(), text),
            maybe(end.code.as_deref(), text),
            maybe(end.delay_ms, |ms| number(ms.into())),
            maybe(verdict.next_run_ms, number),
            maybe(revision, number),
            number(whole(end.cpu_us)),
            number(whole(end.memory_peak_bytes)),
            number(verdict.failed.into()),
            number(verdict.held.into()),
            maybe(evidence.map(|evidence| evidence.sum), number),
        ];
        self.statements.insert(&sums::ATTEMPT, &facts)?;
        self.numbers.attempts_next = seq + 1;
        Ok(seq)
    }

    /// The number of a revision. Few are ever seen.
    fn revision(&mut self, digest: &str) -> Outcome<i64> {
        if let Some(id) = self.revisions.get(digest) {
            return Ok(*id);
        }
        let sql = "SELECT id FROM revisions WHERE digest = ?1";
        let known = self.conn.prepare_cached(sql)?.query_row([digest], |row| row.get(0)).optional()?;
        let id = known.map_or_else(|| self.new_revision(digest), Ok)?;
        self.revisions.insert(digest.to_owned(), id);
        Ok(id)
    }

    fn new_revision(&self, digest: &str) -> Outcome<i64> {
        let sql = "INSERT INTO revisions (id, digest, sum) SELECT next, ?1, row_sum('revision', next, ?1) \
                   FROM (SELECT coalesce(max(id), 0) + 1 AS next FROM revisions) RETURNING id";
        Ok(self.conn.prepare_cached(sql)?.query_row([digest], |row| row.get(0))?)
    }

    fn keep_evidence(&mut self, seq: i64, evidence: &KeptEvidence) -> Outcome<()> {
        let KeptEvidence { log, exchanges, dropped: [bytes, lines, calls], .. } = evidence;
        let sql = "INSERT INTO attempt_evidence (seq, log, dropped_bytes, dropped_lines, exchanges, dropped_exchanges) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.statements.get(sql)?.execute(params![seq, log, bytes, lines, exchanges, calls])?;
        Ok(())
    }

    fn keep_result(&mut self, place: i64, result: &KeptResult) -> Outcome<()> {
        let KeptResult { content_type, body, attributes, .. } = result;
        let sql = "INSERT INTO results (place, content_type, body, attributes) VALUES (?1, ?2, ?3, ?4)";
        self.statements.get(sql)?.execute(params![place, content_type, &body[..], attributes])?;
        Ok(())
    }
}

impl Verdict {
    fn of(disposition: Disposition, entry: &Entry) -> Self {
        let (next_run_ms, counted, held) = match disposition {
            Disposition::Retry { at, counted } => (Some(at.0), counted, false),
            Disposition::Discard => (None, true, false),
            Disposition::Hold => (None, false, true),
            Disposition::Complete | Disposition::Cancel => (None, false, false),
        };
        let previous = Some(entry.newest).filter(|newest| *newest > 0);
        Self { previous, next_run_ms, failed: entry.failed + u32::from(counted), held }
    }
}
