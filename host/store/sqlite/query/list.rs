//! A page of jobs, newest first.
//!
//! An unfinished job stands as the memory says. One of which that knows nothing is on disk only, or has ended since this
//! reader began to read, or goes on later: it is read once more, after the memory was asked.

use std::cmp::Reverse;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::Standing;
use crate::clock::UnixMs;
use crate::job::JobId;
use crate::job::live::Entry;
use crate::store::sqlite::fault::{Fault, Outcome};
use crate::store::sqlite::newest::{NewestAttempts, newest_at};
use crate::store::sqlite::rows::{self, JOB_COLUMNS, JobRow};
use crate::store::sqlite::{Shared, SqliteStore};
use crate::store::{JobView, ListFilter, ListPage, StoreError};

/// How many jobs one call looks at.
const LOOKED_AT_MAX: usize = 50_000;
/// After so many it lets others have the processor: work may be waiting for it.
const STEP: usize = 256;

/// The store as it was when this reader began.
#[derive(Clone, Copy)]
struct Seen<'a> {
    conn: &'a Connection,
    /// The last attempt that it sees. The memory can know of later ones.
    last_attempt: i64,
}

/// A page in the making.
struct Search<'a> {
    seen: Seen<'a>,
    shared: &'a Shared,
    filter: &'a ListFilter,
    now: UnixMs,
    /// The newest attempts of jobs that are on disk only; read once, when the first such job is met, and gone on with.
    newest: Option<NewestAttempts>,
    /// They cannot be read: that is no single job's damage.
    is_blind: bool,
    /// What was found, in any order.
    jobs: Vec<JobView>,
    /// Jobs to be read once more.
    unsure: Vec<JobId>,
    damaged: Option<(JobId, Fault)>,
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
    let (seen, jobs, unsure) = (Seen::by(conn)?, Vec::new(), Vec::new());
    Search { seen, shared, filter, now, newest: None, is_blind: false, jobs, unsure, damaged: None }.run()
}

impl Search<'_> {
    fn run(mut self) -> Outcome<ListPage> {
        let by_end = match self.filter.state.map(|state| state.end()) {
            None => "",
            Some(None) => "end_state IS NULL AND",
            Some(Some(_)) => "end_state = ?2 AND",
        };
        let sql = format!("SELECT {JOB_COLUMNS} FROM jobs WHERE {by_end} place < ?1 ORDER BY place DESC");
        let mut statement = self.seen.conn.prepare_cached(&sql)?;
        let before = self.filter.before.map_or(i64::MAX, JobId::place);
        let end = self.filter.state.filter(|state| state.end().is_some());
        let mut rows = match end {
            Some(end) => statement.query((before, end.name()))?,
            None => statement.query([before])?,
        };
        let limit = self.filter.limit.max(1);
        // How many are read once more in one go: more each time, where few of them are what is looked for.
        let mut batch = 1;
        let (mut looked_at, mut last) = (0, None);
        let is_over = loop {
            let row = rows.next()?;
            let is_last = row.is_none() || looked_at == LOOKED_AT_MAX;
            let may_do = self.jobs.len() + self.unsure.len() >= limit && self.unsure.len() >= batch;
            if is_last || may_do || self.jobs.len() >= limit {
                self.read_once_more()?;
                batch *= 2;
            }
            let Some(row) = row else { break true };
            if is_last || self.jobs.len() >= limit {
                break false;
            }
            looked_at += 1;
            give_way(looked_at);
            // Of a cursor the place counts alone.
            let id = JobId::from_parts(row.get(0)?, row.get(1).unwrap_or_default());
            last = Some(id);
            let job = self.look_at(row);
            self.take(id, job)?;
        };
        // Once a page, however many there are.
        if let Some((id, error)) = self.damaged {
            tracing::error!(job.id = %id, %error, "a damaged job is left out of a list; stop the host and run `windlass doctor`");
        }
        let mut jobs = self.jobs;
        jobs.sort_unstable_by_key(|job| Reverse(job.id.place()));
        let is_cut = jobs.len() > limit;
        jobs.truncate(limit);
        let next = if is_cut { jobs.last().map(|job| job.id) } else { last.filter(|_| !is_over) };
        Ok(ListPage { jobs, next })
    }

    /// A damaged job is told to who asks for it, and keeps no other out of the list.
    fn take(&mut self, id: JobId, job: Outcome<Option<JobView>>) -> Outcome<()> {
        match job {
            Ok(job) => self.jobs.extend(job),
            Err(fault) if fault.is_damage() && !self.is_blind => _ = self.damaged.get_or_insert((id, fault)),
            Err(fault) => return Err(fault),
        }
        Ok(())
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
        if row.end.is_some() {
            return self.tell(self.seen, row, None);
        }
        let entry = self.shared.memory().live.get(row.id).copied();
        if entry.is_none() {
            self.unsure.push(row.id);
            return Ok(None);
        }
        self.tell(self.seen, row, entry)
    }

    /// Reads those of which the memory knew nothing as they are by now: whatever left the memory was on disk before.
    fn read_once_more(&mut self) -> Outcome<()> {
        let unsure = std::mem::take(&mut self.unsure);
        if unsure.is_empty() {
            return Ok(());
        }
        let readers = &self.shared.readers.search;
        readers.read_here(|conn| {
            if let Some(newest) = &mut self.newest {
                newest.go_on(conn)?;
            }
            let seen = Seen::by(conn)?;
            for (read, id) in (1..).zip(unsure) {
                give_way(read);
                let job = self.look_again(seen, id);
                self.take(id, job)?;
            }
            Ok(())
        })
    }

    fn look_again(&mut self, seen: Seen<'_>, id: JobId) -> Outcome<Option<JobView>> {
        // It may have been deleted, past its retention.
        let row = rows::job(seen.conn, id.place())?.filter(|row| row.id == id);
        row.map_or(Ok(None), |row| self.tell(seen, row, None))
    }

    /// The job, where it is in the state that is looked for. Without an entry it is final, or on disk only.
    fn tell(&mut self, seen: Seen<'_>, row: JobRow, entry: Option<Entry>) -> Outcome<Option<JobView>> {
        let standing = self.standing(seen.conn, &row, entry)?;
        if self.filter.state.is_some_and(|state| state != standing.state) {
            return Ok(None);
        }
        let last_error = seen.last_error(self.shared, standing.newest)?;
        Ok(Some(JobView { last_error, ..standing.view(row, Vec::new()) }))
    }

    fn standing(&mut self, conn: &Connection, row: &JobRow, entry: Option<Entry>) -> Outcome<Standing> {
        let (newest, is_blind) = (&mut self.newest, &mut self.is_blind);
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

impl<'a> Seen<'a> {
    fn by(conn: &'a Connection) -> Outcome<Self> {
        let sql = "SELECT coalesce(max(seq), 0) FROM attempts";
        let last_attempt = conn.prepare_cached(sql)?.query_row((), |row| row.get(0))?;
        Ok(Self { conn, last_attempt })
    }

    /// What the last failed attempt says, from this one back. One that was recorded behind this reader's back is read by
    /// another reader; where there is none, or the job has gone meanwhile, the page says nothing of it.
    fn last_error(self, shared: &Shared, newest: Option<i64>) -> Outcome<Option<String>> {
        let look = |conn: &Connection| {
            let errors = rows::chain(conn, newest).map(|attempt| Ok(attempt?.view.error));
            errors.filter_map(Outcome::transpose).next().transpose()
        };
        if newest.is_some_and(|newest| newest > self.last_attempt) {
            return Ok(shared.readers.search.read_here(look).unwrap_or_default());
        }
        look(self.conn)
    }
}

/// After so many jobs.
fn give_way(looked_at: usize) {
    if looked_at.is_multiple_of(STEP) {
        std::thread::yield_now();
    }
}
