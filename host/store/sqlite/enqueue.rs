//! Accepting jobs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::Shared;
use super::cache::Known;
use super::effect::Effect;
use super::fault::Outcome;
use super::intake;
use super::query::keyed::{OF_KEY, keyed};
use super::statements::{maybe, text};
use super::sums;
use super::writer::{Group, Writer};
use crate::clock::UnixMs;
use crate::job::live::Unfinished;
use crate::job::spec::JSON;
use crate::job::{JobId, JobSpec};
use crate::store::{Enqueued, Keyed, NewJob, StoreError};

/// The part of the writer's queue that large batches leave to small calls.
const KEPT_FOR_SMALL: usize = 11;

/// A place in the writer's queue for so many jobs; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    jobs: usize,
}

impl Ticket {
    /// Refused where more jobs wait than `most`, for large batches less, so that they leave room for small calls; what
    /// comes first is taken however large it is.
    pub(super) fn draw(shared: &Arc<Shared>, jobs: usize, most: usize) -> Result<Self, StoreError> {
        let most = if intake::is_large_batch(jobs) { most - most / KEPT_FOR_SMALL } else { most };
        let before = shared.queued_jobs.fetch_add(jobs, Ordering::Relaxed);
        let ticket = Self { shared: Arc::clone(shared), jobs };
        if before > 0 && before + jobs > most {
            return Err(StoreError::Busy(format!("{before} jobs wait to be written")));
        }
        Ok(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.queued_jobs.fetch_sub(self.jobs, Ordering::Relaxed);
    }
}

/// A job whose columns have been made, on the caller's thread.
#[derive(Debug)]
pub(super) struct Prepared {
    spec: Arc<JobSpec>,
    request_digest: [u8; 32],
    retry: Option<String>,
    labels: Option<String>,
    payload_sum: Option<i64>,
}

pub(super) fn prepare(jobs: Vec<NewJob>) -> Vec<Prepared> {
    jobs.into_iter().map(Prepared::from).collect()
}

impl From<NewJob> for Prepared {
    fn from(NewJob { spec, request_digest }: NewJob) -> Self {
        let json = "plain members and text keys always make JSON";
        let retry = (!spec.retry.is_empty()).then(|| serde_json::to_string(&spec.retry).expect(json));
        let labels = (!spec.labels.is_empty()).then(|| serde_json::to_string(&spec.labels).expect(json));
        let payload_sum = (!spec.payload.is_empty()).then(|| sums::of("payload", [ValueRef::Blob(&spec.payload)]));
        Self { spec: Arc::new(spec), request_digest, retry, labels, payload_sum }
    }
}

impl Writer<'_> {
    pub(super) fn enqueue(&mut self, jobs: Vec<Prepared>, now: UnixMs, group: &mut Group) -> Outcome<Vec<Enqueued>> {
        let answers = self.judge(&jobs, now)?;
        if answers.iter().any(|answer| matches!(answer, Enqueued::KeyReused(_))) {
            let withheld = |answer| if let Enqueued::Created(_) = answer { Enqueued::Withheld } else { answer };
            return Ok(answers.into_iter().map(withheld).collect());
        }
        for (job, answer) in jobs.into_iter().zip(&answers) {
            if let Enqueued::Created(id) = *answer {
                self.insert(&job, id, now)?;
                group.effects.push(new_job(job, id, now));
            }
        }
        Ok(answers)
    }

    /// What becomes of each job, by its idempotency key. Keys of the same call count too.
    fn judge(&mut self, jobs: &[Prepared], now: UnixMs) -> Outcome<Vec<Enqueued>> {
        let mut of_this_call: HashMap<&str, Keyed> = HashMap::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let key = job.spec.idempotency_key.as_deref();
            let known = match key {
                Some(key) => match of_this_call.get(key) {
                    Some(known) => Some(*known),
                    None => keyed(self.statements.get(OF_KEY)?.query([key])?)?,
                },
                None => None,
            };
            answers.push(match known {
                Some(known) if known.request_digest == job.request_digest => Enqueued::Replayed(known.id),
                Some(known) => Enqueued::KeyReused(known.id),
                None => {
                    let id = self.ids.next(now, &self.chance);
                    of_this_call.extend(key.map(|key| (key, Keyed { id, request_digest: job.request_digest })));
                    Enqueued::Created(id)
                }
            });
        }
        Ok(answers)
    }

    fn insert(&mut self, job: &Prepared, id: JobId, now: UnixMs) -> Outcome<()> {
        let Prepared { spec, request_digest, retry, labels, payload_sum } = job;
        let (place, number) = (id.place(), ValueRef::Integer);
        let deadline_ms = spec.deadline.map(|deadline| i64::try_from(deadline.as_ms()).unwrap_or(i64::MAX));
        let facts = [
            number(place),
            number(id.tail()),
            text(&spec.plugin),
            text(&spec.downstream),
            maybe(Some(&*spec.content_type).filter(|it| *it != JSON), text),
            number(spec.priority.into()),
            number(spec.run_at.0),
            number(now.0),
            maybe(retry.as_deref(), text),
            maybe(deadline_ms, number),
            maybe(labels.as_deref(), text),
            maybe(spec.traceparent.as_deref(), text),
            maybe(spec.idempotency_key.as_deref(), text),
            ValueRef::Null,
            ValueRef::Null,
            maybe(spec.limit_key.as_deref(), text),
            maybe(*payload_sum, number),
        ];
        self.statements.insert(&sums::JOB, &facts)?;
        if !spec.payload.is_empty() {
            let sql = "INSERT INTO payloads (place, body) VALUES (?1, ?2)";
            self.statements.get(sql)?.execute(params![place, &spec.payload[..]])?;
        }
        if let Some(key) = &spec.idempotency_key {
            let digest = ValueRef::Blob(request_digest);
            let facts = [text(key), number(place), number(id.tail()), digest, number(now.0)];
            self.statements.insert(&sums::KEY, &facts)?;
        }
        Ok(())
    }
}

fn new_job(job: Prepared, id: JobId, now: UnixMs) -> Effect {
    let due = job.spec.run_at;
    let unfinished = Unfinished { due, priority: job.spec.priority, ..Unfinished::new(id) };
    Effect::New(unfinished, Known { spec: job.spec, created_at: now })
}
