//! Recording the ends of attempts.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, params};

use super::effect::Effect;
use super::fault::Outcome;
use super::statements::{maybe, text};
use super::sums;
use super::writer::{Group, Writer};
use crate::job::live::{Again, Entry, Standing};
use crate::job::{Completion, Disposition, EndState, Evidence};
use crate::store::{Finish, Finished};

/// What an attempt's row says of the job.
struct Verdict {
    /// The attempt of the same job before.
    previous: Option<i64>,
    next_run_ms: Option<i64>,
    failed: u32,
    held: bool,
}

impl Writer<'_> {
    pub(super) fn finish(&mut self, finishes: Vec<Finish>, group: &mut Group) -> Outcome<Vec<Finished>> {
        let standings: Vec<(Standing, Option<Entry>)> = {
            let memory = self.shared.memory();
            let look = |finish: &Finish| {
                let (id, token) = (finish.lease.job, finish.lease.token);
                (memory.live.standing(id.place(), token), memory.live.get(id).copied())
            };
            finishes.iter().map(look).collect()
        };
        let mut answers = Vec::with_capacity(finishes.len());
        for (finish, standing) in finishes.into_iter().zip(standings) {
            let first = group.touched.insert(finish.lease.job.place());
            answers.push(match standing {
                (Standing::Holds, Some(entry)) if first => {
                    self.record(&finish, &entry, group)?;
                    Finished::Recorded
                }
                (Standing::Ghost, entry) if first => {
                    self.record_ghost(&finish, entry.as_ref(), group)?;
                    Finished::Fenced
                }
                _ => Finished::Fenced,
            });
        }
        Ok(answers)
    }

    fn record(&mut self, finish: &Finish, entry: &Entry, group: &mut Group) -> Outcome<()> {
        let place = finish.lease.job.place();
        let disposition = self.unless_edited(finish)?;
        let verdict = Verdict::of(disposition, entry);
        let newest = self.append(finish, &verdict)?;
        self.begun.end(place, &mut group.begun);
        let end = match disposition {
            Disposition::Complete => EndState::Completed,
            Disposition::Discard => EndState::Discarded,
            Disposition::Cancel => EndState::Cancelled,
            Disposition::Retry { .. } | Disposition::Hold => {
                let due = if let Disposition::Retry { at, .. } = disposition { at } else { finish.finished_at };
                let (held, attempts, failed) = (verdict.held, finish.attempt, verdict.failed);
                group.effects.push(Effect::GoesOn(place, Again { due, held, attempts, failed, newest }));
                return Ok(());
            }
        };
        let result = finish.result.as_ref().filter(|_| end == EndState::Completed);
        let result_sum = result.map(|result| self.keep_result(place, result)).transpose()?;
        let (state, finished_ms) = (crate::job::State::from(end).name(), finish.finished_at.0);
        let end_sum = sums::of_end(place, state, finished_ms, newest, result_sum);
        let sql = "UPDATE jobs SET end_state = ?2, finished_ms = ?3, last_attempt = ?4, result_sum = ?5, end_sum = ?6 \
                   WHERE place = ?1";
        self.statements.get(sql)?.execute((place, state, finished_ms, newest, result_sum, end_sum))?;
        group.effects.push(Effect::Ended { place, by_attempt: true, end });
        Ok(())
    }

    /// What becomes of the job: it is not held where the grants were edited while its attempt ran.
    fn unless_edited(&self, finish: &Finish) -> Outcome<Disposition> {
        if finish.disposition != Disposition::Hold || self.edited.is_empty() {
            return Ok(finish.disposition);
        }
        let sql = "SELECT plugin FROM jobs WHERE place = ?1";
        let plugin: String = self.conn.prepare_cached(sql)?.query_row([finish.lease.job.place()], |row| row.get(0))?;
        let is_older = self.edited.get(&plugin).is_some_and(|first| finish.lease.token < *first);
        Ok(if is_older { Disposition::Retry { at: finish.finished_at, counted: false } } else { Disposition::Hold })
    }

    /// The attempt of a cancelled job: kept as long as the job is, and without any effect on it.
    fn record_ghost(&mut self, finish: &Finish, entry: Option<&Entry>, group: &mut Group) -> Outcome<()> {
        let place = finish.lease.job.place();
        let sql = "SELECT coalesce(last_attempt, 0) FROM jobs WHERE place = ?1";
        let on_row: Option<i64> = self.conn.prepare_cached(sql)?.query_row([place], |row| row.get(0)).optional()?;
        self.begun.end(place, &mut group.begun);
        let Some(on_row) = on_row else {
            group.effects.push(Effect::GhostLaid(place, None));
            return Ok(());
        };
        let previous = Some(on_row.max(entry.map_or(0, |entry| entry.newest))).filter(|seq| *seq > 0);
        let sql = "SELECT failed FROM attempts WHERE seq = ?1";
        let failed = self.conn.prepare_cached(sql)?.query_row([previous], |row| row.get(0)).optional()?.unwrap_or(0);
        let newest = self.append(finish, &Verdict { previous, next_run_ms: None, failed, held: false })?;
        let sql = "UPDATE jobs SET last_attempt = ?2, \
                   end_sum = row_sum('end', place, end_state, finished_ms, ?2, result_sum) WHERE place = ?1";
        self.conn.prepare_cached(sql)?.execute([place, newest])?;
        group.effects.push(Effect::GhostLaid(place, Some(newest)));
        Ok(())
    }

    /// Appends the attempt's row, and its evidence where there is any. Answers its number.
    fn append(&mut self, finish: &Finish, verdict: &Verdict) -> Outcome<i64> {
        let seq = self.numbers.attempts_next;
        let revision = finish.evidence.revision.as_deref().map(|digest| self.revision(digest)).transpose()?;
        let evidence_sum = self.keep_evidence(seq, &finish.evidence)?;
        let number = ValueRef::Integer;
        let facts = [
            number(seq),
            number(finish.lease.job.place()),
            number(finish.attempt.into()),
            maybe(verdict.previous, number),
            number(finish.started_at.0),
            number(finish.finished_at.0),
            text(finish.kind.name()),
            maybe(finish.error.as_deref(), text),
            maybe(finish.code.as_deref(), text),
            maybe(finish.delay_ms, |ms| number(ms.into())),
            maybe(verdict.next_run_ms, number),
            maybe(revision, number),
            number(whole(finish.evidence.cpu_us)),
            number(whole(finish.evidence.memory_peak_bytes)),
            number(verdict.failed.into()),
            number(verdict.held.into()),
            maybe(evidence_sum, number),
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

    /// Answers the sum of what it keeps.
    fn keep_evidence(&mut self, seq: i64, evidence: &Evidence) -> Outcome<Option<i64>> {
        let dropped = [evidence.log_dropped_bytes, evidence.log_dropped_lines, evidence.exchanges_dropped];
        if evidence.log.is_empty() && evidence.exchanges.is_empty() && dropped == [0; 3] {
            return Ok(None);
        }
        let json = "plain members always make JSON";
        let log = (!evidence.log.is_empty()).then(|| serde_json::to_string(&evidence.log).expect(json));
        let exchanges =
            (!evidence.exchanges.is_empty()).then(|| serde_json::to_string(&evidence.exchanges).expect(json));
        let sql = "INSERT INTO attempt_evidence (seq, log, dropped_bytes, dropped_lines, exchanges, dropped_exchanges) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let [bytes, lines, calls] = dropped.map(whole);
        self.statements.get(sql)?.execute(params![seq, log, bytes, lines, exchanges, calls])?;
        let [bytes, lines, calls] = [bytes, lines, calls].map(ValueRef::Integer);
        let values = [maybe(log.as_deref(), text), bytes, maybe(exchanges.as_deref(), text), lines, calls];
        Ok(Some(sums::of("evidence", values)))
    }

    /// Answers the sum of what it keeps.
    fn keep_result(&mut self, place: i64, result: &Completion) -> Outcome<i64> {
        let json = "pairs of text always make JSON";
        let attributes =
            (!result.attributes.is_empty()).then(|| serde_json::to_string(&result.attributes).expect(json));
        let sql = "INSERT INTO results (place, content_type, body, attributes) VALUES (?1, ?2, ?3, ?4)";
        let row = params![place, result.content_type, &result.body[..], attributes];
        self.statements.get(sql)?.execute(row)?;
        let values = [text(&result.content_type), ValueRef::Blob(&result.body), maybe(attributes.as_deref(), text)];
        Ok(sums::of("result", values))
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

/// A number that SQLite can hold.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
