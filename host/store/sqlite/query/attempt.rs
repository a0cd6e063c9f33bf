//! One attempt and its evidence.

use rusqlite::{Connection, Row};

use super::{Standing, detail, newest_of};
use crate::clock::UnixMs;
use crate::job::JobId;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::fault::{Outcome, damaged};
use crate::store::sqlite::rows::{self, AttemptRow};
use crate::store::sqlite::sums;
use crate::store::{AttemptDetail, StoreError};

impl SqliteStore {
    pub(in crate::store::sqlite) async fn read_attempt(
        &self,
        id: JobId,
        n: u32,
    ) -> Result<Option<AttemptDetail>, StoreError> {
        let found = self.shared.read_with_memory(id, move |conn, row, entry| {
            // What is due plays no part in which attempts there are.
            let standing = Standing::find(conn, &row, entry.as_ref(), UnixMs(0), || newest_of(conn, &row))?;
            detail(conn, &standing, n)
        });
        Ok(found.await?.flatten())
    }
}

pub(super) fn with_evidence(conn: &Connection, row: AttemptRow) -> Outcome<AttemptDetail> {
    let mut detail = AttemptDetail::bare(row.view);
    let sql =
        "SELECT log, dropped_bytes, exchanges, dropped_lines, dropped_exchanges FROM attempt_evidence WHERE seq = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([row.seq])?;
    let evidence = rows.next()?;
    let values = |row: &Row<'_>| -> rusqlite::Result<i64> {
        let values: Vec<_> = (0..5).map(|at| row.get_ref(at)).collect::<Result<_, _>>()?;
        Ok(sums::of("evidence", values))
    };
    if evidence.map(values).transpose()? != row.evidence_sum {
        return Err(damaged("evidence", row.seq, "it does not fit its sum"));
    }
    if let Some(evidence) = evidence {
        detail.log = rows::json("log", row.seq, evidence.get(0)?)?;
        detail.log_dropped_bytes = evidence.get::<_, i64>(1)?.unsigned_abs();
        detail.exchanges = rows::json("exchanges", row.seq, evidence.get(2)?)?;
        detail.log_dropped_lines = evidence.get::<_, i64>(3)?.unsigned_abs();
        detail.exchanges_dropped = evidence.get::<_, i64>(4)?.unsigned_abs();
    }
    Ok(detail)
}
