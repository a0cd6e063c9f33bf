//! What is remembered under an idempotency key.

use rusqlite::Rows;

use crate::job::JobId;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::fault::{Outcome, damaged};
use crate::store::{Keyed, StoreError};

/// Looks for a key.
pub(in crate::store::sqlite) const OF_KEY: &str = "SELECT place, tail, request_digest, \
     sum = row_sum('key', key, place, tail, request_digest, created_ms) FROM idempotency WHERE key = ?1";

/// What [`OF_KEY`] found.
pub(in crate::store::sqlite) fn keyed(mut rows: Rows<'_>) -> Outcome<Option<Keyed>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let place = row.get(0)?;
    if !row.get::<_, bool>(3)? {
        return Err(damaged("idempotency key", place, "it does not fit its sum"));
    }
    Ok(Some(Keyed { id: JobId::from_parts(place, row.get(1)?), request_digest: row.get(2)? }))
}

impl SqliteStore {
    pub(in crate::store::sqlite) async fn read_keyed(&self, key: &str) -> Result<Option<Keyed>, StoreError> {
        self.shared.health()?;
        let key = key.to_owned();
        self.shared.readers.single.read(move |conn| keyed(conn.prepare_cached(OF_KEY)?.query([key])?)).await
    }
}
