//! Going over the unfinished jobs. Where they are many they are cut into stretches, and a second thread reads along with
//! the first: what costs is not the disk but the decoding of rows.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use rusqlite::{Connection, OptionalExtension as _};

use super::fault::{Outcome, damaged};
use super::newest::{NewestAttempts, is_owed, newest_at};
use super::open;
use super::recover::Waiting;
use super::rows::retried;
use super::sums;
use crate::clock::UnixMs;
use crate::job::JobId;
use crate::job::gates::LaneRef;
use crate::job::live::Unfinished;

/// How many jobs a stretch has, but for the last one. Few in the tests, so that there are several.
const STRETCH: u32 = if cfg!(test) { 8 } else { 4_096 };
/// How many stretches that the second thread has read wait to be taken over.
const READ_MAX: usize = 8;

/// Every place.
pub(super) const ALL: RangeInclusive<i64> = 0..=i64::MAX;

/// What has to be known beside the row of a job to tell how it waits.
#[derive(Debug)]
pub(super) struct Context {
    newest: NewestAttempts,
    unholds: HashMap<String, i64>,
    suspects_to: i64,
}

impl Context {
    /// Reads it. A host may have died of the jobs up to that place.
    pub(super) fn read(conn: &Connection, suspects_to: i64) -> Outcome<Self> {
        Ok(Self { newest: NewestAttempts::read(conn)?, unholds: unholds(conn)?, suspects_to })
    }

    /// The same of the store at that path, on two threads where there is much.
    pub(super) fn read_on_two(conn: &Connection, path: &Path, suspects_to: i64) -> Outcome<Self> {
        Ok(Self { newest: NewestAttempts::read_on_two(conn, path)?, unholds: unholds(conn)?, suspects_to })
    }

    /// Goes over the unfinished jobs at these places, in the order of their arrival.
    pub(super) fn scan(
        &self,
        conn: &Connection,
        places: &RangeInclusive<i64>,
        mut found: impl FnMut(Unfinished, LaneRef<'_>),
    ) -> Outcome<()> {
        let mut statement = conn.prepare_cached(
            "SELECT place, tail, plugin, downstream, priority, run_at_ms, last_attempt, limit_key, retried_ms, \
             retried_after FROM jobs WHERE end_state IS NULL AND place BETWEEN ?1 AND ?2 ORDER BY place",
        )?;
        let mut rows = statement.query((places.start(), places.end()))?;
        let mut newest = self.newest.ahead(*places.start());
        while let Some(row) = rows.next()? {
            let place: i64 = row.get(0)?;
            let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
            let (plugin, downstream) = (text(2)?, text(3)?);
            let on_row: Option<i64> = row.get(6)?;
            let (newest, anchored) = match newest.of(place) {
                Some(newest) if on_row.is_none_or(|seq| seq < newest.seq) => (Some(newest), false),
                _ => (on_row.map(|seq| newest_at(conn, seq)).transpose()?, true),
            };
            let retried = retried(row.get(8)?, row.get(9)?);
            let waiting = Waiting {
                id: JobId::from_parts(place, row.get(1)?),
                priority: row.get(4)?,
                run_at: UnixMs(row.get(5)?),
                retried,
                owed: is_owed(conn, retried, newest.as_ref())?,
                unheld_to: self.unholds.get(plugin).copied().unwrap_or(0),
            };
            let job = Unfinished { suspect: place <= self.suspects_to, anchored, ..waiting.after(newest) };
            let limit_key = row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            found(job, LaneRef { plugin, downstream, limit_key });
        }
        Ok(())
    }

    /// Goes over these stretches of the store at that path: on this thread and, where there are several, on one more.
    /// Those that it reads come between others.
    pub(super) fn scan_all(
        &self,
        conn: &Connection,
        path: &Path,
        stretches: &Stretches,
        mut found: impl FnMut(Unfinished, LaneRef<'_>),
    ) -> Outcome<()> {
        std::thread::scope(|scope| {
            let (send, read) = mpsc::sync_channel(READ_MAX);
            let (give_back, taken_over) = mpsc::channel();
            let along = move || self.read_along(path, stretches, &send, &taken_over);
            let thread = std::thread::Builder::new().name("windlass-opening".to_owned());
            // Where there can be no more threads, this one reads them all.
            let along = stretches.are_several().then(|| thread.spawn_scoped(scope, along).ok()).flatten();
            while let Some(places) = stretches.next() {
                self.scan(conn, &places, &mut found)?;
                read.try_iter().for_each(|batch: Batch| batch.pass_on(&mut found, &give_back));
            }
            read.iter().for_each(|batch| batch.pass_on(&mut found, &give_back));
            along.map_or(Ok(()), |along| along.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// Sends what it reads of the stretches, in pieces of memory that it is given back.
    fn read_along(
        &self,
        path: &Path,
        stretches: &Stretches,
        to: &SyncSender<Batch>,
        taken_over: &Receiver<Batch>,
    ) -> Outcome<()> {
        let conn = open::reader(path)?;
        while let Some(places) = stretches.next() {
            let mut batch = taken_over.try_recv().unwrap_or_default();
            self.scan(&conn, &places, |job, lane| batch.push(job, lane))?;
            if to.send(batch).is_err() {
                // The other thread has met something that it cannot read.
                break;
            }
        }
        Ok(())
    }
}

/// The unfinished jobs, cut into pieces that can be read each by itself, by whoever comes first.
#[derive(Debug)]
pub(super) struct Stretches {
    /// The first place of each.
    firsts: Vec<i64>,
    next: AtomicUsize,
}

impl Stretches {
    /// Cuts them by the index, without looking at any job.
    pub(super) fn cut(conn: &Connection) -> Outcome<Self> {
        let sql = "SELECT place FROM jobs WHERE end_state IS NULL AND place >= ?1 ORDER BY place LIMIT 1 OFFSET ?2";
        let mut statement = conn.prepare_cached(sql)?;
        let mut firsts: Vec<i64> = Vec::new();
        loop {
            let (from, skipped) = firsts.last().map_or((0, 0), |last| (*last, STRETCH));
            match statement.query_row((from, skipped), |row| row.get(0)).optional()? {
                Some(first) => firsts.push(first),
                None => return Ok(Self { firsts, next: AtomicUsize::new(0) }),
            }
        }
    }

    /// How many jobs there are at most: less than a stretch more than there are.
    pub(super) fn jobs_max(&self) -> u64 {
        self.firsts.len() as u64 * u64::from(STRETCH)
    }

    fn are_several(&self) -> bool {
        self.firsts.len() > 1
    }

    /// The places of the next one.
    fn next(&self) -> Option<RangeInclusive<i64>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let first = *self.firsts.get(at)?;
        Some(first..=self.firsts.get(at + 1).map_or(i64::MAX, |next| next - 1))
    }
}

/// Jobs on their way from one thread to the other, each with its lane.
#[derive(Debug, Default)]
struct Batch {
    jobs: Vec<(Unfinished, Names)>,
    /// The names of the lanes, one behind the other. Mostly many jobs of one lane follow each other.
    text: String,
}

/// Where in the text the names of a lane are: each up to there, the plugin's from the start.
#[derive(Clone, Copy, Debug, Default)]
struct Names {
    start: usize,
    plugin: usize,
    downstream: usize,
    limit_key: Option<usize>,
}

impl Batch {
    fn push(&mut self, job: Unfinished, lane: LaneRef<'_>) {
        let known = self.jobs.last().map(|(_, names)| *names).filter(|names| self.lane(*names) == lane);
        let names = known.unwrap_or_else(|| self.note(lane));
        self.jobs.push((job, names));
    }

    fn note(&mut self, lane: LaneRef<'_>) -> Names {
        let start = self.text.len();
        let mut put = |name: &str| {
            self.text.push_str(name);
            self.text.len()
        };
        let (plugin, downstream) = (put(lane.plugin), put(lane.downstream));
        Names { start, plugin, downstream, limit_key: lane.limit_key.map(put) }
    }

    fn lane(&self, names: Names) -> LaneRef<'_> {
        let Names { start, plugin, downstream, limit_key } = names;
        LaneRef {
            plugin: &self.text[start..plugin],
            downstream: &self.text[plugin..downstream],
            limit_key: limit_key.map(|end| &self.text[downstream..end]),
        }
    }

    /// Hands out its jobs, and gives its memory back to be filled anew.
    fn pass_on(mut self, mut found: impl FnMut(Unfinished, LaneRef<'_>), back: &Sender<Self>) {
        self.jobs.iter().for_each(|(job, names)| found(job.clone(), self.lane(*names)));
        self.jobs.clear();
        self.text.clear();
        // Nobody wants it any more where the other thread is done.
        _ = back.send(self);
    }
}

fn unholds(conn: &Connection) -> Outcome<HashMap<String, i64>> {
    let mut statement = conn.prepare("SELECT plugin, seq, sum FROM unholds")?;
    let mut rows = statement.query(())?;
    let mut unholds = HashMap::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(1)?;
        if row.get::<_, i64>(2)? != sums::of("unhold", [row.get_ref(0)?, row.get_ref(1)?]) {
            return Err(damaged("edit of grants", seq, "it does not fit its sum"));
        }
        unholds.insert(row.get(0)?, seq);
    }
    Ok(unholds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::job::Lane;

    proptest! {
        /// Whoever reads which stretch: each unfinished job is found once, as a scan on one thread finds it.
        #[test]
        fn two_threads_find_what_one_finds(
            jobs in prop::collection::vec((any::<bool>(), 1..1_000_i64, 0..3_usize, 0..3_usize), 0..100),
        ) {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("x.db");
            std::fs::File::create(&path).unwrap();
            let conn = open::writer(&path).unwrap();
            let mut place = 0;
            conn.execute_batch("BEGIN").unwrap();
            for (is_unfinished, step, downstream, limit_key) in jobs {
                place += step;
                let end = (!is_unfinished).then_some("cancelled");
                let (downstream, limit_key) = (["x", "yy", ""][downstream], [None, Some("k"), Some("")][limit_key]);
                let sql = "INSERT INTO jobs (place, tail, plugin, downstream, priority, run_at_ms, created_ms, end_state, \
                           finished_ms, limit_key) VALUES (?1, ?1, 'p', ?2, 0, ?1, 0, ?3, iif(?3 IS NULL, NULL, 0), ?4)";
                conn.execute(sql, (place, downstream, end, limit_key)).unwrap();
            }
            conn.execute_batch("COMMIT").unwrap();
            let context = Context::read(&conn, 0).unwrap();
            let stretches = Stretches::cut(&conn).unwrap();
            let mut one = BTreeMap::<i64, (Unfinished, Lane)>::new();
            context.scan(&conn, &ALL, |job, lane| _ = one.insert(job.id.place(), (job, lane.to_lane()))).unwrap();
            let (mut two, mut found) = (BTreeMap::new(), 0_usize);
            let found_by_two = |job: Unfinished, lane: LaneRef<'_>| {
                two.insert(job.id.place(), (job, lane.to_lane()));
                found += 1;
            };
            context.scan_all(&conn, &path, &stretches, found_by_two).unwrap();
            prop_assert_eq!(found, one.len());
            prop_assert_eq!(two, one);
            let (all, most) = (found as u64, stretches.jobs_max());
            prop_assert!(all <= most && most < all + u64::from(STRETCH));
        }
    }

    #[test]
    fn what_one_of_two_threads_cannot_read_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.db");
        std::fs::File::create(&path).unwrap();
        let conn = open::writer(&path).unwrap();
        for place in 1..=10 * STRETCH {
            let sql = "INSERT INTO jobs (place, tail, plugin, downstream, priority, run_at_ms, created_ms, last_attempt) \
                       VALUES (?1, 1, 'p', 'd', 0, 0, 0, 7)";
            conn.execute(sql, [place]).unwrap();
        }
        let context = Context::read(&conn, 0).unwrap();
        let stretches = Stretches::cut(&conn).unwrap();
        // The attempt that each of them names is gone.
        context.scan_all(&conn, &path, &stretches, |_, _| {}).unwrap_err();
    }
}
