//! The end of an attempt as it is written: what its rows hold is made on the caller's thread, as the writer has but one.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::statements::{maybe, text};
use super::sums;
use crate::clock::UnixMs;
use crate::job::{Completion, Disposition, Evidence, OutcomeKind, Probed};
use crate::store::{Finish, Lease};

/// The end of an attempt.
#[derive(Debug)]
pub(super) struct End {
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    pub(super) started_at: UnixMs,
    pub(super) finished_at: UnixMs,
    pub(super) kind: OutcomeKind,
    pub(super) error: Option<String>,
    pub(super) code: Option<String>,
    pub(super) delay_ms: Option<u32>,
    pub(super) is_spared: bool,
    pub(super) steps_back: Option<Probed>,
    pub(super) disposition: Disposition,
    pub(super) revision: Option<String>,
    pub(super) cpu_us: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) result: Option<KeptResult>,
    /// None where there is nothing to be kept.
    pub(super) evidence: Option<KeptEvidence>,
}

/// A job's result, and its sum.
#[derive(Debug)]
pub(super) struct KeptResult {
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) attributes: Option<String>,
    pub(super) sum: i64,
}

/// What is kept of an attempt beside its row, and its sum.
#[derive(Debug)]
pub(super) struct KeptEvidence {
    pub(super) log: Option<String>,
    pub(super) exchanges: Option<String>,
    /// Bytes and lines of the log, and exchanges.
    pub(super) dropped: [i64; 3],
    pub(super) sum: i64,
}

impl End {
    pub(super) fn of(finish: &Finish) -> Self {
        let evidence = &finish.evidence;
        Self {
            lease: finish.lease,
            attempt: finish.attempt,
            started_at: finish.started_at,
            finished_at: finish.finished_at,
            kind: finish.kind,
            error: finish.error.clone(),
            code: finish.code.clone(),
            delay_ms: finish.delay_ms,
            is_spared: finish.is_spared,
            steps_back: finish.steps_back,
            disposition: finish.disposition,
            revision: evidence.revision.clone(),
            cpu_us: evidence.cpu_us,
            memory_peak_bytes: evidence.memory_peak_bytes,
            result: finish.result.as_ref().map(KeptResult::of),
            evidence: KeptEvidence::of(evidence),
        }
    }

    /// The place of its job.
    pub(super) fn place(&self) -> i64 {
        self.lease.job.place()
    }
}

impl KeptResult {
    fn of(result: &Completion) -> Self {
        let attributes = json(&result.attributes);
        let values = [text(&result.content_type), ValueRef::Blob(&result.body), maybe(attributes.as_deref(), text)];
        let sum = sums::of("result", values);
        Self { content_type: result.content_type.clone(), body: result.body.clone(), attributes, sum }
    }
}

impl KeptEvidence {
    fn of(evidence: &Evidence) -> Option<Self> {
        let dropped = [evidence.log_dropped_bytes, evidence.log_dropped_lines, evidence.exchanges_dropped];
        if evidence.log.is_empty() && evidence.exchanges.is_empty() && dropped == [0; 3] {
            return None;
        }
        let (log, exchanges) = (json(&evidence.log), json(&evidence.exchanges));
        let dropped = dropped.map(whole);
        let [bytes, lines, calls] = dropped.map(ValueRef::Integer);
        let values = [maybe(log.as_deref(), text), bytes, maybe(exchanges.as_deref(), text), lines, calls];
        let sum = sums::of("evidence", values);
        Some(Self { log, exchanges, dropped, sum })
    }
}

/// None where there are none.
fn json<T: Serialize>(items: &[T]) -> Option<String> {
    (!items.is_empty()).then(|| serde_json::to_string(items).expect("plain members always make JSON"))
}

/// A number that SQLite can hold.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
