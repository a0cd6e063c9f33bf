//! Which attempts have begun: on disk with the next commit, so that one which kills the host is counted.
//!
//! What begins in one group is one row, or a few. Nothing is written when an attempt ends, as its own row says so in the
//! same commit; the opening passes over what was recorded. A row goes when nothing in it is under way any more. Where a
//! few long attempts keep many rows, what is under way is carried over into a new one.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use rustc_hash::{FxHashMap, FxHashSet};

use super::fault::{Outcome, damaged};
use super::statements::Statements;
use super::sums;
use crate::clock::UnixMs;

/// How many beginnings a row holds at most: what fits into a page of the file.
const ROW_MAX: usize = 200;
/// How many bytes of a row are one beginning.
const BYTES: usize = 20;
/// So many beginnings stay on disk for each attempt under way, and so many more: beyond that they are written anew. Few
/// more in the tests, so that it comes by.
const HELD_FOR_EACH: usize = 4;
const HELD_MORE: usize = if cfg!(test) { 8 } else { 1_024 };

/// The beginning of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) place: i64,
    pub(super) n: u32,
    pub(super) started_at: UnixMs,
}

/// What is on disk of attempts that have begun.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// Those under way, by the place of their job, each with its row.
    under_way: FxHashMap<i64, (i64, Begun)>,
    rows: BTreeMap<i64, Row>,
    /// How many beginnings the rows hold.
    held: usize,
    /// The number of the newest row.
    newest: i64,
}

#[derive(Debug)]
struct Row {
    held: usize,
    under_way: usize,
}

/// What a group changes about that.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// All that began, for who has to do it again where the group does not come about.
    pub(super) begun: Vec<Begun>,
    /// What began and is not written yet. An end in the same group spares it.
    new: FxHashMap<i64, Begun>,
    /// What was under way on disk, and is no longer.
    past: FxHashSet<i64>,
    /// Rows of which something must go though no attempt's row speaks of it.
    spoiled: BTreeSet<i64>,
    /// Once they are written: rows that are gone, and new ones.
    gone: BTreeSet<i64>,
    written: Vec<(i64, Vec<Begun>)>,
}

impl Changes {
    /// These attempts begin.
    pub(super) fn begin(&mut self, begun: Vec<Begun>) {
        self.new.extend(begun.iter().map(|begun| (begun.place, *begun)));
        self.begun.extend(begun);
    }
}

impl OnDisk {
    /// The attempt of this job is recorded by this group, or its job is gone: nothing has to be written of that.
    pub(super) fn end(&self, place: i64, changes: &mut Changes) {
        changes.new.remove(&place);
        if self.under_way.contains_key(&place) {
            changes.past.insert(place);
        }
    }

    /// The attempt of this job has not been, and leaves no trace.
    pub(super) fn withdraw(&self, place: i64, changes: &mut Changes) {
        self.end(place, changes);
        changes.spoiled.extend(self.under_way.get(&place).map(|(row, _)| *row));
    }

    /// Writes what changed; to be applied once it is committed.
    pub(super) fn write(&self, changes: &mut Changes, statements: &mut Statements<'_>) -> Outcome<()> {
        let overruled: Vec<i64> = changes.new.keys().filter(|it| self.under_way.contains_key(it)).copied().collect();
        changes.past.extend(overruled);
        let spent = self.spent(changes);
        let rewritten = self.rewritten(changes, &spent);
        let mut begun: Vec<Begun> = changes.new.values().copied().collect();
        // Seldom: it costs as much as is under way.
        if !rewritten.is_empty() {
            let stays = |(row, begun): &&(i64, Begun)| rewritten.contains(row) && !changes.past.contains(&begun.place);
            begun.extend(self.under_way.values().filter(stays).map(|(_, begun)| *begun));
        }
        changes.gone = &spent | &rewritten;
        for row in &changes.gone {
            statements.get("DELETE FROM begun WHERE seq = ?1")?.execute([row])?;
        }
        begun.sort_unstable_by_key(|begun| begun.place);
        for (row, begun) in (self.newest + 1..).zip(begun.chunks(ROW_MAX)) {
            let bytes = bytes_of(begun);
            statements.insert(&sums::BEGUN, &[ValueRef::Integer(row), ValueRef::Blob(&bytes)])?;
            changes.written.push((row, begun.to_vec()));
        }
        Ok(())
    }

    /// The rows that nothing is under way in any more.
    fn spent(&self, changes: &Changes) -> BTreeSet<i64> {
        let mut past: BTreeMap<i64, usize> = BTreeMap::new();
        for (row, _) in changes.past.iter().filter_map(|place| self.under_way.get(place)) {
            *past.entry(*row).or_default() += 1;
        }
        let is_past = |row: &&i64| self.rows.get(row).is_some_and(|it| it.under_way == past[row]);
        past.keys().filter(is_past).copied().collect()
    }

    /// The other rows of which something must go; all of them where they hold too much that is past.
    fn rewritten(&self, changes: &Changes, spent: &BTreeSet<i64>) -> BTreeSet<i64> {
        let spoiled = &changes.spoiled - spent;
        let held_no_more: usize =
            spent.iter().chain(&spoiled).filter_map(|row| self.rows.get(row)).map(|row| row.held).sum();
        let under_way = self.under_way.len() - changes.past.len() + changes.new.len();
        if self.held - held_no_more + changes.new.len() > HELD_FOR_EACH * under_way + HELD_MORE {
            return self.rows.keys().filter(|row| !spent.contains(row)).copied().collect();
        }
        spoiled
    }

    /// What was written was committed.
    pub(super) fn apply(&mut self, changes: Changes) {
        for place in changes.past {
            if let Some((row, _)) = self.under_way.remove(&place)
                && let Some(row) = self.rows.get_mut(&row)
            {
                row.under_way -= 1;
            }
        }
        for row in &changes.gone {
            self.held -= self.rows.remove(row).map_or(0, |row| row.held);
        }
        for (row, begun) in changes.written {
            self.newest = row;
            self.held += begun.len();
            self.rows.insert(row, Row { held: begun.len(), under_way: begun.len() });
            self.under_way.extend(begun.into_iter().map(|begun| (begun.place, (row, begun))));
        }
    }
}

/// Reads what an earlier life left, by place.
pub(super) fn read(conn: &Connection) -> Outcome<FxHashMap<i64, Begun>> {
    let mut statement = conn.prepare("SELECT seq, attempts, sum FROM begun ORDER BY seq")?;
    let mut rows = statement.query(())?;
    let mut left = FxHashMap::default();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let sum = sums::of(sums::BEGUN.word, [row.get_ref(0)?, row.get_ref(1)?]);
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if row.get::<_, i64>(2)? != sum {
            return Err(damaged("beginnings of attempts", seq, "they do not fit their sum"));
        }
        left.extend(of_bytes(bytes).map(|begun| (begun.place, begun)));
    }
    Ok(left)
}

/// Leaves nothing on disk but these.
pub(super) fn write_anew(conn: &Connection, left: Vec<Begun>) -> Outcome<OnDisk> {
    let mut on_disk = OnDisk::default();
    let transaction = conn.unchecked_transaction()?;
    if conn.execute("DELETE FROM begun", ())? > 0 || !left.is_empty() {
        let mut changes = Changes::default();
        changes.begin(left);
        on_disk.write(&mut changes, &mut Statements::new(conn))?;
        on_disk.apply(changes);
    }
    transaction.commit()?;
    Ok(on_disk)
}

/// The beginnings that a row holds.
pub(super) fn of_bytes(bytes: &[u8]) -> impl Iterator<Item = Begun> {
    bytes.chunks_exact(BYTES).map(|bytes| {
        let part =
            |from: usize, to: usize| bytes[from..to].iter().fold(0, |all: u64, byte| (all << 8) | u64::from(*byte));
        let n = u32::try_from(part(8, 12)).expect("four bytes are a number of 32 bits");
        Begun { place: part(0, 8).cast_signed(), n, started_at: UnixMs(part(12, 20).cast_signed()) }
    })
}

fn bytes_of(begun: &[Begun]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(begun.len() * BYTES);
    for Begun { place, n, started_at } in begun {
        bytes.extend(place.to_be_bytes());
        bytes.extend(n.to_be_bytes());
        bytes.extend(started_at.0.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{layout, statements};
    use super::*;

    /// What happens in one group.
    #[derive(Clone, Debug)]
    struct Step {
        begin: usize,
        /// Which of those under way end, and whether they leave no trace.
        ends: Vec<(prop::sample::Index, bool)>,
        is_lost: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ends = prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.1)), 0..6);
        let step = (0..6_usize, ends, prop::bool::weighted(0.1));
        prop::collection::vec(step.prop_map(|(begin, ends, is_lost)| Step { begin, ends, is_lost }), 1..80)
    }

    fn held(conn: &Connection) -> usize {
        let sql = "SELECT coalesce(sum(length(attempts)), 0) FROM begun";
        let bytes: u32 = conn.query_row(sql, (), |row| row.get(0)).unwrap();
        bytes as usize / BYTES
    }

    proptest! {
        #[test]
        fn the_disk_knows_what_is_under_way_and_little_more(steps in steps()) {
            let conn = layout::in_memory(layout::NEWEST).unwrap();
            let mut statements = statements::Statements::new(&conn);
            let mut on_disk = OnDisk::default();
            // What is under way, and how many attempts of each job have been recorded.
            let (mut under_way, mut recorded) = (BTreeMap::<i64, Begun>::new(), BTreeMap::<i64, u32>::new());
            for (at, Step { begin, ends, is_lost }) in steps.into_iter().enumerate() {
                let mut changes = Changes::default();
                let (mut next_under_way, mut next_recorded) = (under_way.clone(), recorded.clone());
                let free: Vec<i64> = (1..40).filter(|place| !under_way.contains_key(place)).take(begin).collect();
                for place in free {
                    let n = recorded.get(&place).copied().unwrap_or(0) + 1;
                    let begun = Begun { place, n, started_at: UnixMs(at as i64) };
                    next_under_way.insert(place, begun);
                    changes.begin(vec![begun]);
                }
                for (which, leaves_no_trace) in ends {
                    let Some(place) = next_under_way.keys().nth(which.index(next_under_way.len().max(1))).copied() else {
                        continue;
                    };
                    let begun = next_under_way.remove(&place).unwrap();
                    if leaves_no_trace {
                        on_disk.withdraw(place, &mut changes);
                    } else {
                        on_disk.end(place, &mut changes);
                        next_recorded.insert(place, begun.n);
                    }
                }
                conn.execute_batch("BEGIN").unwrap();
                on_disk.write(&mut changes, &mut statements).unwrap();
                conn.execute_batch(if is_lost { "ROLLBACK" } else { "COMMIT" }).unwrap();
                if is_lost {
                    continue;
                }
                on_disk.apply(changes);
                (under_way, recorded) = (next_under_way, next_recorded);
                let is_left = |begun: &Begun| begun.n > recorded.get(&begun.place).copied().unwrap_or(0);
                let found: BTreeMap<i64, Begun> = read(&conn).unwrap().into_iter().filter(|(_, it)| is_left(it)).collect();
                prop_assert_eq!(&found, &under_way);
                prop_assert!(held(&conn) <= HELD_FOR_EACH * under_way.len() + HELD_MORE);
                prop_assert_eq!((on_disk.held, on_disk.under_way.len()), (held(&conn), under_way.len()));
                prop_assert!(on_disk.rows.values().all(|row| row.under_way > 0), "a row that nothing needs is left");
            }
        }
    }

    #[test]
    fn long_attempts_among_short_ones_keep_little_of_these() {
        let conn = layout::in_memory(layout::NEWEST).unwrap();
        let mut statements = statements::Statements::new(&conn);
        let mut on_disk = OnDisk::default();
        for group in 0..50_i64 {
            let mut changes = Changes::default();
            // Of six that began in the group before, five end now, and one goes on for ever.
            (6 * group - 5..6 * group).for_each(|place| on_disk.end(place, &mut changes));
            changes
                .begin((6 * group..6 * group + 6).map(|place| Begun { place, n: 1, started_at: UnixMs(1) }).collect());
            on_disk.write(&mut changes, &mut statements).unwrap();
            on_disk.apply(changes);
            let under_way = on_disk.under_way.len();
            assert_eq!(under_way as i64, group + 6);
            assert!(held(&conn) <= HELD_FOR_EACH * under_way + HELD_MORE, "{} for {under_way}", held(&conn));
        }
    }

    #[test]
    fn what_is_left_is_written_anew_in_rows_that_fit_a_page() {
        let conn = layout::in_memory(layout::NEWEST).unwrap();
        let begun = |place| Begun { place, n: u32::MAX, started_at: UnixMs(i64::MAX - place) };
        let left: Vec<Begun> = (1..=450).map(begun).collect();
        for _ in 0..2 {
            let on_disk = write_anew(&conn, left.clone()).unwrap();
            assert_eq!((on_disk.rows.len(), on_disk.held, on_disk.newest), (3, 450, 3));
            let found: BTreeMap<i64, Begun> = read(&conn).unwrap().into_iter().collect();
            assert!(found.into_values().eq(left.iter().copied()));
        }
        let longest = "SELECT max(length(attempts)) FROM begun";
        // A page of 4,096 bytes holds 4,061 of a row.
        assert_eq!(conn.query_row(longest, (), |row| row.get::<_, u32>(0)).unwrap(), 4_000);
        conn.execute("UPDATE begun SET attempts = zeroblob(20) WHERE seq = 2", ()).unwrap();
        assert!(read(&conn).unwrap_err().to_string().contains("the row 2"));
    }
}
