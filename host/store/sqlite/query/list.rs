//! A page of jobs, newest first.

use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::Standing;
use crate::clock::UnixMs;
use crate::job::JobId;
use crate::store::sqlite::fault::Outcome;
use crate::store::sqlite::newest::{NewestAttempts, newest_at};
use crate::store::sqlite::rows::{self, JOB_COLUMNS, JobRow};
use crate::store::sqlite::{Shared, SqliteStore};
use crate::store::{JobView, ListFilter, ListPage, StoreError};

/// How many jobs one call looks at.
const LOOKED_AT_MAX: usize = 50_000;
/// After so many it lets others have the processor: work may be waiting for it.
const STEP: usize = 256;

/// A page in the making.
struct Search<'a> {
    conn: &'a Connection,
    shared: &'a Shared,
    filter: &'a ListFilter,
    now: UnixMs,
    /// The newest attempts of jobs that are on disk only; read once, when the first such job is met.
    newest: Option<NewestAttempts>,
    /// They cannot be read: that is no single job's damage.
    is_blind: bool,
    /// The last attempt that this reader sees. The memory can know of later ones.
    last_attempt: i64,
}

impl SqliteStore {
    pub(in crate::store::sqlite) async fn read_list(
        &self,
        filter: ListFilter,
        now: UnixMs,
    ) -> Result<ListPage, StoreError> {
        self.shared.health()?;
        let shared = Arc::clone(&self.shared);
        self.shared.readers.search.read(move |conn| page(conn, &shared, &filter, now)).await
    }
}

/// The page as this reader sees it.
pub(in crate::store::sqlite) fn page(
    conn: &Connection,
    shared: &Shared,
    filter: &ListFilter,
    now: UnixMs,
) -> Outcome<ListPage> {
    let sql = "SELECT coalesce(max(seq), 0) FROM attempts";
    let last_attempt = conn.prepare_cached(sql)?.query_row((), |row| row.get(0))?;
    Search { conn, shared, filter, now, newest: None, is_blind: false, last_attempt }.run()
}

impl Search<'_> {
    fn run(mut self) -> Outcome<ListPage> {
        let by_end = match self.filter.state.map(|state| state.end()) {
            None => "",
            Some(None) => "end_state IS NULL AND",
            Some(Some(_)) => "end_state = ?2 AND",
        };
        let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE {by_end} place < ?1 ORDER BY place DESC");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let before = self.filter.before.map_or(i64::MAX, JobId::place);
        let end = self.filter.state.filter(|state| state.end().is_some());
        let mut rows = match end {
            Some(end) => statement.query((before, end.name()))?,
            None => statement.query([before])?,
        };
        let (mut jobs, mut looked_at, mut last, mut damaged) = (Vec::new(), 0, None, None);
        let next = loop {
            let Some(row) = rows.next()? else { break None };
            if jobs.len() >= self.filter.limit.max(1) || looked_at == LOOKED_AT_MAX {
                break last;
            }
            looked_at += 1;
            if looked_at % STEP == 0 {
                std::thread::yield_now();
            }
            // Of a cursor the place counts alone.
            let id = JobId::from_parts(row.get(0)?, row.get(1).unwrap_or_default());
            last = Some(id);
            match self.look_at(row) {
                Ok(job) => jobs.extend(job),
                // It is told to who asks for it, and keeps no other out of the list.
                Err(fault) if fault.is_damage() && !self.is_blind => _ = damaged.get_or_insert((id, fault)),
                Err(fault) => return Err(fault),
            }
        };
        // Once a page, however many there are.
        if let Some((id, error)) = damaged {
            tracing::error!(job.id = %id, %error, "a damaged job is left out of a list; stop the host and run `windlass doctor`");
        }
        Ok(ListPage { jobs, next })
    }

    fn look_at(&mut self, row: &Row<'_>) -> Outcome<Option<JobView>> {
        let is = |column, wanted: &Option<String>| -> Outcome<bool> {
            let Some(wanted) = wanted else { return Ok(true) };
            Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)? == wanted)
        };
        if !is(2, &self.filter.plugin)? || !is(3, &self.filter.downstream)? {
            return Ok(None);
        }
        let row = JobRow::read(row)?;
        let has = |(name, value): &(String, String)| row.label(name) == Some(value);
        if !self.filter.labels.iter().all(has) {
            return Ok(None);
        }
        let standing = self.standing(&row)?;
        if self.filter.state.is_some_and(|state| state != standing.state) {
            return Ok(None);
        }
        let last_error = self.last_error(standing.newest)?;
        Ok(Some(JobView { last_error, ..standing.view(row, Vec::new()) }))
    }

    /// What the last failed attempt says, from this one back. One that was recorded behind this reader's back is read by
    /// another reader; where there is none, or the job has gone meanwhile, the page says nothing of it.
    fn last_error(&self, newest: Option<i64>) -> Outcome<Option<String>> {
        let look = |conn: &Connection| {
            let errors = rows::chain(conn, newest).map(|attempt| Ok(attempt?.view.error));
            errors.filter_map(Outcome::transpose).next().transpose()
        };
        if newest.is_some_and(|newest| newest > self.last_attempt) {
            return Ok(self.shared.readers.search.read_here(look).unwrap_or_default());
        }
        look(self.conn)
    }

    fn standing(&mut self, row: &JobRow) -> Outcome<Standing> {
        let entry = match row.end {
            Some(_) => None,
            None => self.shared.memory().live.get(row.id).copied(),
        };
        let (conn, newest, is_blind) = (self.conn, &mut self.newest, &mut self.is_blind);
        Standing::find(conn, row, entry.as_ref(), self.now, || {
            if newest.is_none() {
                *newest = Some(NewestAttempts::read(conn).inspect_err(|_| *is_blind = true)?);
            }
            let seen = newest.as_ref().and_then(|newest| newest.get(row.id.place()));
            match seen {
                Some(seen) => Ok(Some(seen)),
                None => row.last_attempt.map(|seq| newest_at(conn, seq)).transpose(),
            }
        })
    }
}
