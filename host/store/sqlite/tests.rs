//! The embedded store from within: its file, its refusals, its bounds.

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::job::{Admit, Disposition, JobSpec, Lane, OutcomeKind};

mod acts;
mod bounds;
mod claim;
mod groups;
mod histories;
mod intake;
mod layout;
mod log;
mod look;
mod prune;
mod readers;
mod reckoning;
mod refused;
mod retries;

const NOW: UnixMs = UnixMs(1_767_323_045_000);

struct Open;

impl Admission for Open {
    fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
        Admit::Yes
    }
}

fn open_with(folder: &TempDir, options: SqliteOptions) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&folder.path().join("data/windlass.db"), options, Arc::new(Chance::seeded(1)))
}

pub(super) fn open(folder: &TempDir) -> Result<SqliteStore, StoreError> {
    open_with(folder, SqliteOptions::default())
}

fn spec(run_at: UnixMs, payload_bytes: usize) -> JobSpec {
    JobSpec { payload: vec![b'1'; payload_bytes].into(), ..JobSpec::plain("echo", "echo", run_at) }
}

fn job(run_at: UnixMs) -> NewJob {
    NewJob { spec: spec(run_at, 8), request_digest: [0; 32] }
}

async fn accept(store: &SqliteStore, run_at: UnixMs) -> JobId {
    match store.enqueue(vec![job(run_at)], NOW).await.expect("accepted")[..] {
        [Enqueued::Created(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

fn ending(claimed: &Claimed, now: UnixMs, disposition: Disposition) -> Finish {
    let kind = match disposition {
        Disposition::Complete => OutcomeKind::Completed,
        Disposition::Hold => OutcomeKind::Denied,
        Disposition::Discard => OutcomeKind::Reject,
        Disposition::Cancel => OutcomeKind::Cancelled,
        Disposition::Retry { .. } => OutcomeKind::TryAgain,
    };
    Finish::bare(claimed.lease, claimed.attempt, claimed.started_at, now, kind, disposition)
}

#[tokio::test]
async fn what_is_read_with_another_value_is_not_prepared_anew() {
    let folder = TempDir::new().unwrap();
    let _store = open(&folder).unwrap();
    let conn = open::reader(&folder.path().join("data/windlass.db")).unwrap();
    let sql = "SELECT sum = row_sum('act', place, seq, at_ms, what) FROM acts WHERE place = ?1 ORDER BY seq";
    let mut statement = conn.prepare(sql).unwrap();
    for place in [1, 2] {
        assert!(statement.query([place]).unwrap().next().unwrap().is_none());
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}
