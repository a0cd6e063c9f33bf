//! Rows and what they mean.

use std::rc::Rc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};

use super::fault::{Fault, Outcome, damaged};
use super::sums;
use crate::clock::UnixMs;
use crate::job::gates::LaneRef;
use crate::job::spec::JSON;
use crate::job::units::TimeSpan;
use crate::job::{Completion, EndState, JobId, JobSpec, OutcomeKind, State};
use crate::store::{Act, ActKind, AttemptView};

/// The columns that [`JobRow::read`] takes, in its order.
pub(super) const JOB_COLUMNS: &str = "place, tail, plugin, downstream, content_type, priority, run_at_ms, created_ms, \
     retry, deadline_ms, labels, traceparent, idempotency_key, retried_ms, retried_after, end_state, finished_ms, \
     last_attempt, limit_key, payload_sum, sum, result_sum, end_sum";
/// Where a payload is that is read with them.
const BODY_AT: usize = 23;
/// Where in them is what the job's sum is over, in the order of the migration that made it.
pub(super) const FACTS_AT: [usize; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19];
/// The same of the sum of its end.
pub(super) const END_AT: [usize; 5] = [0, 15, 16, 17, 21];

/// A row of `jobs`.
#[derive(Debug)]
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) plugin: String,
    pub(super) downstream: String,
    content_type: Option<String>,
    pub(super) priority: i16,
    pub(super) run_at_ms: i64,
    pub(super) created_ms: i64,
    pub(super) retry: crate::job::RetryOverride,
    deadline_ms: Option<i64>,
    labels: std::collections::BTreeMap<String, String>,
    traceparent: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) retried: Option<Retried>,
    pub(super) end: Option<(EndState, UnixMs)>,
    pub(super) last_attempt: Option<i64>,
    limit_key: Option<String>,
    payload_sum: Option<i64>,
    result_sum: Option<i64>,
}

/// A person's last retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retried {
    pub(super) at: UnixMs,
    /// The number of the attempt before it.
    pub(super) after: u32,
}

impl JobRow {
    pub(super) fn read(row: &Row<'_>) -> Outcome<Self> {
        let place = row.get(0)?;
        if !is_as_written(row)? {
            return Err(damaged("job", place, "it does not fit its sum"));
        }
        let end: Option<String> = row.get(15)?;
        Ok(Self {
            id: JobId::from_parts(place, row.get(1)?),
            plugin: row.get(2)?,
            downstream: row.get(3)?,
            content_type: row.get(4)?,
            priority: row.get(5)?,
            run_at_ms: row.get(6)?,
            created_ms: row.get(7)?,
            retry: json("retry policy", place, row.get(8)?)?,
            deadline_ms: row.get(9)?,
            labels: json("labels", place, row.get(10)?)?,
            traceparent: row.get(11)?,
            idempotency_key: row.get(12)?,
            retried: retried(row.get(13)?, row.get(14)?),
            end: end.map(|end| Ok::<_, Fault>((end_state(place, &end)?, UnixMs(row.get(16)?)))).transpose()?,
            last_attempt: row.get(17)?,
            limit_key: row.get(18)?,
            payload_sum: row.get(19)?,
            result_sum: row.get(21)?,
        })
    }

    pub(super) fn lane(&self) -> LaneRef<'_> {
        LaneRef { plugin: &self.plugin, downstream: &self.downstream, limit_key: self.limit_key.as_deref() }
    }

    pub(super) fn label(&self, name: &str) -> Option<&String> {
        self.labels.get(name)
    }

    pub(super) fn into_spec(self, payload: Vec<u8>) -> JobSpec {
        JobSpec {
            plugin: self.plugin,
            downstream: self.downstream,
            limit_key: self.limit_key,
            content_type: self.content_type.unwrap_or_else(|| JSON.to_owned()),
            payload: payload.into(),
            run_at: UnixMs(self.run_at_ms),
            priority: self.priority,
            retry: self.retry,
            deadline: self.deadline_ms.map(|ms| TimeSpan::from_ms(ms.unsigned_abs())),
            labels: self.labels,
            traceparent: self.traceparent,
            idempotency_key: self.idempotency_key,
        }
    }
}

/// Whether a row of these columns fits its sums.
fn is_as_written(row: &Row<'_>) -> rusqlite::Result<bool> {
    let of = |kind, columns: &[usize]| -> rusqlite::Result<i64> {
        let values: Vec<ValueRef<'_>> = columns.iter().map(|at| row.get_ref(*at)).collect::<Result<_, _>>()?;
        Ok(sums::of(kind, values))
    };
    if row.get::<_, i64>(20)? != of("job", &FACTS_AT)? {
        return Ok(false);
    }
    match row.get::<_, Option<i64>>(22)? {
        Some(sum) => Ok(sum == of("end", &END_AT)?),
        None => Ok(END_AT[1..].iter().all(|at| matches!(row.get_ref(*at), Ok(ValueRef::Null)))),
    }
}

pub(super) fn retried(at_ms: Option<i64>, after: Option<u32>) -> Option<Retried> {
    Some(Retried { at: UnixMs(at_ms?), after: after? })
}

/// The job at this place, whatever the rest of its id.
pub(super) fn job(conn: &Connection, place: i64) -> Outcome<Option<JobRow>> {
    let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE place = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([place])?;
    rows.next()?.map(JobRow::read).transpose()
}

/// The payload of that job, which must be the one that it was accepted with.
pub(super) fn payload(conn: &Connection, job: &JobRow) -> Outcome<Vec<u8>> {
    let mut statement = conn.prepare_cached("SELECT body FROM payloads WHERE place = ?1")?;
    let mut rows = statement.query([job.id.place()])?;
    let body = rows.next()?.map(|row| row.get_ref(0)).transpose()?;
    sound_payload(job, body)
}

/// That body, where it is the job's.
fn sound_payload(job: &JobRow, body: Option<ValueRef<'_>>) -> Outcome<Vec<u8>> {
    let body = body.map(|body| body.as_blob()).transpose().map_err(rusqlite::Error::from)?;
    let sum = body.map(|body| sums::of("payload", [ValueRef::Blob(body)]));
    if sum != job.payload_sum {
        let why = if sum.is_none() { "it is gone" } else { "it does not fit its sum" };
        return Err(damaged("payload", job.id.place(), why));
    }
    Ok(body.unwrap_or_default().to_vec())
}

/// Reads those of the jobs at these places that are whole, each with its payload, while `take` says to go on. One statement
/// goes over all of them: where they lie side by side none is searched for.
pub(super) fn whole_jobs(
    conn: &Connection,
    places: &[i64],
    mut take: impl FnMut(JobRow, Vec<u8>) -> bool,
) -> Outcome<()> {
    let sql = format!(
        "SELECT {JOB_COLUMNS}, body FROM rarray(?1) AS wanted CROSS JOIN jobs ON jobs.place = wanted.value \
         LEFT JOIN payloads USING (place)"
    );
    let wanted: Rc<Vec<Value>> = Rc::new(places.iter().copied().map(Value::from).collect());
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([wanted])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(BODY_AT)?;
        let body = (body != ValueRef::Null).then_some(body);
        if let Ok(job) = JobRow::read(row)
            && let Ok(payload) = sound_payload(&job, body)
            && !take(job, payload)
        {
            break;
        }
    }
    Ok(())
}

/// The result of that job, which must be the one that it was completed with.
pub(super) fn result(conn: &Connection, job: &JobRow) -> Outcome<Option<Completion>> {
    let place = job.id.place();
    let mut statement = conn.prepare_cached("SELECT content_type, body, attributes FROM results WHERE place = ?1")?;
    let mut rows = statement.query([place])?;
    let row = rows.next()?;
    let values = |row: &Row<'_>| -> rusqlite::Result<i64> {
        Ok(sums::of("result", [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?]))
    };
    if row.map(values).transpose()? != job.result_sum {
        return Err(damaged("result", place, if row.is_none() { "it is gone" } else { "it does not fit its sum" }));
    }
    let Some(row) = row else { return Ok(None) };
    let (content_type, body) = (row.get(0)?, row.get::<_, Vec<u8>>(1)?.into());
    Ok(Some(Completion { content_type, body, attributes: json("attributes", place, row.get(2)?)? }))
}

pub(super) fn acts(conn: &Connection, place: i64) -> Outcome<Vec<Act>> {
    let mut statement = conn.prepare_cached(
        "SELECT at_ms, what, sum = row_sum('act', place, seq, at_ms, what) FROM acts WHERE place = ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([place])?;
    let mut acts = Vec::new();
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(2)? {
            return Err(damaged("act", place, "it does not fit its sum"));
        }
        let what = if row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? == "cancel" {
            ActKind::Cancel
        } else {
            ActKind::Retry
        };
        acts.push(Act { at: UnixMs(row.get(0)?), what });
    }
    Ok(acts)
}

/// A row of `attempts`.
#[derive(Clone, Debug)]
pub(super) struct AttemptRow {
    pub(super) seq: i64,
    pub(super) previous: Option<i64>,
    pub(super) view: AttemptView,
    pub(super) failed: u32,
    pub(super) held: bool,
    pub(super) evidence_sum: Option<i64>,
}

/// The attempt of that number, which must exist.
pub(super) fn attempt(conn: &Connection, seq: i64) -> Outcome<AttemptRow> {
    let sql = format!(
        "SELECT previous, n, started_ms, finished_ms, kind, error, code, delay_ms, next_run_ms, digest, cpu_us, \
  memory_peak_bytes, failed, held, evidence_sum, attempts.sum = row_sum('attempt', {}) \
         FROM attempts LEFT JOIN revisions ON revisions.id = revision WHERE seq = ?1",
        sums::ATTEMPT.columns
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([seq])?;
    let row = rows.next()?.ok_or_else(|| damaged("attempt", seq, "it is gone"))?;
    if !row.get::<_, bool>(15)? {
        return Err(damaged("attempt", seq, "it does not fit its sum"));
    }
    let kind = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?;
    let kind = OutcomeKind::from_name(kind).ok_or_else(|| damaged("outcome", seq, kind))?;
    let view = AttemptView {
        n: row.get(1)?,
        started_at: UnixMs(row.get(2)?),
        finished_at: Some(UnixMs(row.get(3)?)),
        kind: Some(kind),
        error: row.get(5)?,
        code: row.get(6)?,
        delay_ms: row.get(7)?,
        next_run_at: row.get::<_, Option<i64>>(8)?.map(UnixMs),
        revision: row.get(9)?,
        cpu_us: row.get::<_, i64>(10)?.unsigned_abs(),
        memory_peak_bytes: row.get::<_, i64>(11)?.unsigned_abs(),
    };
    Ok(AttemptRow {
        seq,
        previous: row.get(0)?,
        view,
        failed: row.get(12)?,
        held: row.get(13)?,
        evidence_sum: row.get(14)?,
    })
}

/// The attempts of a job from its newest back to its first, read one by one.
pub(super) fn chain(conn: &Connection, newest: Option<i64>) -> impl Iterator<Item = Outcome<AttemptRow>> {
    let mut next = newest.filter(|seq| *seq > 0);
    std::iter::from_fn(move || {
        let row = attempt(conn, next?);
        next = row.as_ref().ok().and_then(|row| row.previous);
        Some(row)
    })
}

pub(super) fn end_state(place: i64, name: &str) -> Outcome<EndState> {
    name.parse::<State>().ok().and_then(State::end).ok_or_else(|| damaged("end state", place, name))
}

/// Reads a column of JSON; NULL is the default.
pub(super) fn json<T>(what: &str, place: i64, text: Option<String>) -> Outcome<T>
where
    T: Default + serde::de::DeserializeOwned,
{
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(&text).map_err(|why| damaged(what, place, why)))
}
