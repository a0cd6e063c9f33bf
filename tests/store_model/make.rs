//! Jobs and endings.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass::clock::UnixMs;
use windlass::job::{Completion, Disposition, Evidence, JobSpec, Lane, LogLevel, LogLine, OutcomeKind, RetryOverride};
use windlass::store::{Claimed, Finish, NewJob};

use crate::op::{Asked, DOWNSTREAMS, How, PLUGINS};

/// One of the four lanes.
pub fn lane(pick: usize) -> Lane {
    Lane::new(PLUGINS[pick / 2 % 2], DOWNSTREAMS[pick % 2])
}

/// The job that is asked for. `number` tells it from the others.
pub fn new_job(asked: &Asked, number: usize, now: UnixMs) -> NewJob {
    let lane = lane(asked.lane);
    let colour = if asked.labelled { "red" } else { "blue" };
    let spec = JobSpec {
        plugin: lane.plugin.to_string(),
        downstream: lane.downstream.to_string(),
        limit_key: asked.limited.then(|| "k".to_owned()),
        content_type: if asked.labelled { "text/plain".to_owned() } else { "application/json".to_owned() },
        payload: if number.is_multiple_of(5) { Default::default() } else { format!("{number}").into() },
        run_at: now.after(Duration::from_millis(asked.delay_ms)),
        priority: asked.priority,
        retry: RetryOverride { max_attempts: asked.max_attempts, ..RetryOverride::default() },
        deadline: None,
        labels: BTreeMap::from([("colour".to_owned(), colour.to_owned())]),
        traceparent: asked.limited.then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        idempotency_key: asked.key.map(|(key, _)| format!("key-{key}")),
    };
    NewJob { spec, request_digest: [asked.key.map_or(0, |(_, request)| request); 32] }
}

/// The end of an attempt.
pub fn ending(claimed: &Claimed, how: How, now: UnixMs) -> Finish {
    let (kind, disposition) = match how {
        How::Completes => (OutcomeKind::Completed, Disposition::Complete),
        How::IsGivenUp => (OutcomeKind::Reject, Disposition::Discard),
        How::IsCalledOff => (OutcomeKind::Cancelled, Disposition::Cancel),
        How::IsHeld => (OutcomeKind::Denied, Disposition::Hold),
        How::FailsUntil { ms, counted } => {
            let at = now.after(Duration::from_millis(ms));
            (OutcomeKind::TryAgain, Disposition::Retry { at, counted })
        }
    };
    let n = claimed.attempt;
    let line = LogLine { at_ms: n, level: LogLevel::Info, message: format!("attempt {n}") };
    let evidence = Evidence {
        cpu_us: u64::from(n) * 7,
        memory_peak_bytes: 65_536,
        revision: n.is_multiple_of(2).then(|| format!("{n:064x}")),
        log: if n.is_multiple_of(3) { Vec::new() } else { vec![line] },
        ..Evidence::default()
    };
    let body = format!("done by attempt {n}");
    Finish {
        lease: claimed.lease,
        attempt: n,
        started_at: claimed.started_at,
        finished_at: now,
        kind,
        error: (kind != OutcomeKind::Completed).then(|| format!("attempt {n} failed")),
        code: (kind == OutcomeKind::TryAgain).then(|| "http-503".to_owned()),
        delay_ms: (n % 2 == 1 && kind == OutcomeKind::TryAgain).then_some(1_500),
        result: (kind == OutcomeKind::Completed).then(|| Completion {
            content_type: "text/plain".to_owned(),
            body: body.into(),
            attributes: vec![("n".to_owned(), n.to_string())],
        }),
        evidence,
        is_spared: false,
        steps_back: None,
        disposition,
    }
}
