//! Answering people: one job, one attempt, a page of jobs.
//!
//! A final job is as its row says. An unfinished one is as the memory says, or, where it is on disk only, as its newest
//! attempt says.

use std::pin::pin;
use std::time::Duration;

use rusqlite::Connection;

use super::fault::Outcome;
use super::newest::{self, Newest};
use super::recover::{self, Waiting};
use super::rows::{self, AttemptRow, JobRow};
use super::{Shared, SqliteStore};
use crate::clock::UnixMs;
use crate::job::live::{Entry, Unfinished, waiting_state};
use crate::job::{JobId, State};
use crate::store::{AttemptDetail, AttemptView, JobView, StoreError};

mod attempt;
pub(super) mod keyed;
pub(super) mod list;

/// How often a read is tried again that fell between a commit and its application in memory.
const STALE_READS_MAX: usize = 100;
/// How long who is told of a job's end waits for the record of an attempt that was stopped with it: it takes milliseconds,
/// unless the disk is slow.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// How a job stands beside its row.
pub(super) struct Standing {
    state: State,
    held: bool,
    run_at: UnixMs,
    attempt: u32,
    failed: u32,
    owed: bool,
    newest: Option<i64>,
    running: Option<AttemptView>,
}

impl SqliteStore {
    pub(super) async fn read_job(&self, id: JobId, now: UnixMs) -> Result<Option<JobView>, StoreError> {
        self.shared
            .read_with_memory(id, move |conn, row, entry| {
                let standing = Standing::find(conn, &row, entry.as_ref(), now, || newest_of(conn, &row))?;
                let place = id.place();
                let payload = rows::payload(conn, &row)?;
                let (result, acts) = (rows::result(conn, &row)?, rows::acts(conn, place)?);
                let mut attempts = rows::chain(conn, standing.newest)
                    .map(|attempt| Ok(attempt?.view))
                    .collect::<Outcome<Vec<AttemptView>>>()?;
                let last_error = attempts.iter().find_map(|attempt| attempt.error.clone());
                attempts.reverse();
                attempts.extend(standing.running.clone());
                Ok(JobView { result, attempts, acts, last_error, ..standing.view(row, payload) })
            })
            .await
    }

    /// Waits for the end of a job. Registers before it looks.
    pub(super) async fn await_end(&self, id: JobId) {
        let waiter = self.shared.waiters.register(id.place());
        let mut rung = pin!(waiter.bell.notified());
        rung.as_mut().enable();
        if self.shared.health().is_err() {
            return;
        }
        let in_memory = self.shared.memory().live.get(id).is_some();
        if !in_memory {
            let unfinished = move |conn: &Connection| rows::job(conn, id.place());
            let row = self.shared.readers.single.read(unfinished).await.ok().flatten();
            if row.is_none_or(|row| row.id != id || row.end.is_some()) {
                return;
            }
        }
        rung.await;
    }

    /// Waits until no attempt of a cancelled job is left to be recorded, but not for long.
    pub(super) async fn await_recorded(&self, id: JobId) {
        let waiter = self.shared.waiters.register(id.place());
        let recorded = async {
            loop {
                let mut rung = pin!(waiter.bell.notified());
                rung.as_mut().enable();
                if self.shared.health().is_err() || !self.shared.memory().live.is_haunted(id.place()) {
                    return;
                }
                rung.await;
            }
        };
        _ = tokio::time::timeout(RECORDED_WITHIN, recorded).await;
    }
}

impl Shared {
    /// Reads a job's row and what belongs to it, beside what the memory knows of it; none where it is unknown.
    async fn read_with_memory<T, Query>(&self, id: JobId, query: Query) -> Result<Option<T>, StoreError>
    where
        T: Send + 'static,
        Query: Fn(&Connection, JobRow, Option<Entry>) -> Outcome<T> + Clone + Send + 'static,
    {
        self.health()?;
        for tries in 0.. {
            let (entry, partial) = {
                let memory = self.memory();
                (memory.live.get(id).copied(), memory.live.is_partial())
            };
            let query = query.clone();
            let read = self.readers.single.read(move |conn| {
                let Some(row) = rows::job(conn, id.place())?.filter(|row| row.id == id) else { return Ok(None) };
                // The memory does not have it yet, or no longer; it will in a moment.
                let stale = row.end.is_none() && entry.is_none() && !partial && tries < STALE_READS_MAX;
                if stale { Ok(Some(None)) } else { query(conn, row, entry).map(Some).map(Some) }
            });
            match read.await? {
                None => return Ok(None),
                Some(Some(answer)) => return Ok(Some(answer)),
                Some(None) => tokio::task::yield_now().await,
            }
        }
        Ok(None)
    }
}

impl Standing {
    /// Looks where the job stands. `newest` looks for the newest attempt of one that is on disk only.
    pub(super) fn find(
        conn: &Connection,
        row: &JobRow,
        entry: Option<&Entry>,
        now: UnixMs,
        newest: impl FnOnce() -> Outcome<Option<Newest>>,
    ) -> Outcome<Self> {
        if row.end.is_some() {
            return Self::of_final(conn, row);
        }
        if let Some(entry) = entry {
            let standing = Self::of_waiting(&entry.waiting(row.id), now);
            return Ok(Self { state: entry.state(now), ..standing }.with_running(entry));
        }
        let newest = newest()?;
        let waiting = Waiting {
            id: row.id,
            priority: row.priority,
            run_at: UnixMs(row.run_at_ms),
            retried: row.retried,
            owed: newest::is_owed(conn, row.retried, newest.as_ref())?,
            unheld_to: recover::unheld_to(conn, &row.plugin)?,
        };
        Ok(Self::of_waiting(&waiting.after(newest), now))
    }

    fn of_waiting(job: &Unfinished, now: UnixMs) -> Self {
        let state = if job.held { State::Available } else { waiting_state(job.due, job.attempts, now) };
        Self {
            state,
            held: job.held,
            run_at: job.due,
            attempt: job.attempts,
            failed: job.failed,
            owed: job.owed,
            newest: Some(job.newest).filter(|newest| *newest > 0),
            running: None,
        }
    }

    fn with_running(self, entry: &Entry) -> Self {
        let Some(started_at) = entry.running_since() else { return self };
        let n = entry.attempts + 1;
        Self { attempt: n, running: Some(AttemptView::begun(n, started_at)), ..self }
    }

    fn of_final(conn: &Connection, row: &JobRow) -> Outcome<Self> {
        let last_two = rows::chain(conn, row.last_attempt).take(2).collect::<Outcome<Vec<_>>>()?;
        let (newest, before) = (last_two.first(), last_two.get(1));
        Ok(Self {
            state: row.end.map_or(State::Available, |(end, _)| end.into()),
            held: false,
            run_at: last_due(row, newest, before),
            attempt: newest.map_or(0, |newest| newest.view.n),
            failed: newest.map_or(0, |newest| newest.failed),
            owed: false,
            newest: row.last_attempt,
            running: None,
        })
    }

    /// The view of the job without result, attempts and acts.
    pub(super) fn view(&self, row: JobRow, payload: Vec<u8>) -> JobView {
        JobView {
            id: row.id,
            state: self.state,
            held: self.held,
            created_at: UnixMs(row.created_ms),
            run_at: self.run_at,
            finished_at: row.end.map(|(_, at)| at),
            attempt: self.attempt,
            failed: self.failed,
            owed: self.owed,
            result: None,
            attempts: Vec::new(),
            acts: Vec::new(),
            last_error: None,
            spec: row.into_spec(payload),
        }
    }
}

/// When a final job's last attempt was due, or its next one would have been.
fn last_due(row: &JobRow, newest: Option<&AttemptRow>, before: Option<&AttemptRow>) -> UnixMs {
    let run_at = row.retried.map_or(UnixMs(row.run_at_ms), |retried| retried.at);
    let overruled = |attempt: &AttemptRow| row.retried.is_some_and(|retried| retried.after >= attempt.view.n);
    let said = |attempt: &AttemptRow| {
        let due = if attempt.held { attempt.view.finished_at } else { attempt.view.next_run_at };
        if overruled(attempt) { Some(run_at) } else { due }
    };
    newest.and_then(said).or_else(|| before.and_then(said)).unwrap_or(run_at)
}

fn newest_of(conn: &Connection, row: &JobRow) -> Outcome<Option<Newest>> {
    newest::newest_of(conn, row.id.place(), row.last_attempt)
}

/// One attempt with its evidence, of a job whose standing is known.
fn detail(conn: &Connection, standing: &Standing, n: u32) -> Outcome<Option<AttemptDetail>> {
    if let Some(attempt) = standing.running.clone().filter(|attempt| attempt.n == n) {
        return Ok(Some(AttemptDetail::bare(attempt)));
    }
    let wanted = |attempt: &Outcome<AttemptRow>| attempt.as_ref().map_or(true, |attempt| attempt.view.n == n);
    let found = rows::chain(conn, standing.newest).find(wanted).transpose()?;
    found.map(|row| attempt::with_evidence(conn, row)).transpose()
}
