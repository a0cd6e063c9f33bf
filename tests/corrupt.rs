//! Damaged stores: the doctor says so, what is whole is salvaged as it was, and a host on one serves truthfully or refuses
//! in one clear line. `CORRUPT_SEEDS=5000` tries that many damages, `CORRUPT_SEED=7` that very one.

mod common;

#[path = "corrupt/base.rs"]
mod base;
#[path = "corrupt/damage.rs"]
mod damage;
#[path = "corrupt/rows.rs"]
mod rows;
#[path = "corrupt/serving.rs"]
mod serving;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::Path;

use base::{Base, copy, store_in};
use damage::{Damage, Dice, PAGE, page, swap};
use tempfile::TempDir;
use windlass::store::sqlite::{JobCounts, Report, examine, salvage};

/// How many damages the ordinary run tries.
const SEEDS: u64 = 200;

/// What one damage led to.
struct Case {
    report: Report,
    salvaged: u64,
    /// Salvaged without their newest attempts.
    wronged: usize,
}

fn seeds() -> std::ops::Range<u64> {
    match common::number("CORRUPT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..common::number("CORRUPT_SEEDS").unwrap_or(SEEDS),
    }
}

#[tokio::test]
async fn whatever_is_damaged_is_told_and_whatever_is_whole_is_salvaged() {
    let base = Base::make().await;
    let (mut told, mut salvaged, mut lossless, mut doubtful, mut wronged) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let mut dice = Dice(seed);
        let damage = Damage::draw(&mut dice);
        let folder = TempDir::new().unwrap();
        copy(if damage.wants_log() { base.killed.path() } else { base.closed.path() }, folder.path());
        let what = format!("seed {seed}, {damage:?}");
        damage.inflict(&mut dice, &store_in(folder.path()));
        let before = base::content(folder.path());
        let case = attempt(&base, &damage, folder.path(), &what);
        assert_eq!(before, base::content(folder.path()), "{what}: the store was changed");
        told += u32::from(!case.report.whole);
        salvaged += case.salvaged;
        doubtful += case.report.jobs.doubtful;
        wronged += case.wronged;
        lossless += u32::from(case.salvaged == base.jobs(&damage));
    }
    println!("{told} damages told of, {salvaged} jobs salvaged, {lossless} times every one");
    println!("{doubtful} jobs were doubtful, {wronged} did lack their newest attempts");
}

/// The one damage of its kind that is hard to see: an empty page holds nothing that is out of place.
#[tokio::test]
async fn attempts_whose_page_was_swapped_with_an_empty_one_are_missed() {
    let base = Base::make().await;
    let folder = TempDir::new().unwrap();
    copy(base.closed.path(), folder.path());
    let store = store_in(folder.path());
    let first = rows::first_pages(&store);
    let file = OpenOptions::new().read(true).write(true).open(&store).unwrap();
    // Those that came last, by the pointer to the rightmost page below the first (SQLite's file format, section 1.6).
    let above = page(&file, first["attempts"]);
    let last = (u64::from(u32::from_be_bytes(above[8..12].try_into().unwrap())) - 1) * PAGE;
    assert_eq!((above[0], page(&file, last)[0]), (5, 13), "one page leads to others");
    // A leaf of a table by row ids, with no row.
    let empty = first.values().copied().find(|at| page(&file, *at)[..5] == [13, 0, 0, 0, 0]);
    swap(&file, last, empty.expect("some table has no rows"));
    let case = attempt(&base, &Damage::SwappedPages, folder.path(), "swapped with an empty one");
    assert!(case.report.jobs.doubtful > 0, "{:?}", case.report.jobs);
}

/// Looks a damaged store over, salvages it, and holds what comes of it against what is known.
fn attempt(base: &Base, damage: &Damage, folder: &Path, what: &str) -> Case {
    let (store, to) = (store_in(folder), folder.join("new.db"));
    let report = examine(&store, folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let truth = base.truth(damage);
    let seen = rows::seen_by_sqlite(folder, truth);
    if !seen.is_perfect {
        assert!(!report.whole, "{what}: {:?} is called whole", seen.wrong);
    }
    let (again, made) = salvage(&store, &to).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((again.jobs, made.jobs), (report.jobs, report.jobs.whole + report.jobs.doubtful), "{what}");
    if seen.has_all_attempts {
        assert_eq!(report.doubtful, [], "{what}: no attempt is lost");
    }
    let doubtful = doubtful(&report);
    let salvaged = rows::jobs(&to);
    assert_eq!(salvaged.len() as u64, made.jobs, "{what}");
    for (place, job) in &salvaged {
        let known = truth.get(place).unwrap_or_else(|| panic!("{what}: job {place} was never there"));
        let is_true = match doubtful.contains(&job.id(*place)) {
            true => known.is_but_for_newest_attempts(job) && !job.is_final(),
            false => known.is(job),
        };
        assert!(is_true || damage.hits_log() && known.was_once(job), "{what}: {job:#?}\nis not\n{known:#?}");
    }
    // A damaged log is another matter: SQLite drops what follows the damage without a word.
    if !damage.hits_log() {
        for place in &seen.whole {
            assert!(salvaged.contains_key(place), "{what}: {place} was there, and is lost: {report:#?}");
        }
    }
    let named = report.incomplete.len() + report.lost.len();
    assert_eq!(named as u64, report.jobs.incomplete + report.jobs.lost, "{what}");
    // Keys and logs that are lost stay lost; beside them the new store is whole.
    let new = examine(&to, folder).unwrap();
    let nothing = new.structure.is_empty() && new.bad_pages.is_empty() && new.damaged_rows.is_empty();
    assert!(nothing && new.jobs == JobCounts { doubtful: 0, incomplete: 0, lost: 0, ..new.jobs }, "{what}: {new:#?}");
    std::fs::remove_file(&to).unwrap();
    let wronged = salvaged.iter().filter(|(place, job)| !truth[place].is(job)).count();
    Case { report, salvaged: made.jobs, wronged: if damage.hits_log() { 0 } else { wronged } }
}

fn doubtful(report: &Report) -> BTreeSet<String> {
    report.doubtful.iter().map(|job| job.id.clone()).collect()
}

#[tokio::test]
async fn a_whole_store_is_called_whole_and_salvaged_whole() {
    let base = Base::make().await;
    for (folder, truth) in [(&base.closed, &base.early), (&base.killed, &base.late)] {
        let report = examine(&store_in(folder.path()), folder.path()).unwrap();
        assert!(report.whole, "{report:#?}");
        assert_eq!(report.jobs.whole, truth.len() as u64);
        let to = folder.path().join("new.db");
        salvage(&store_in(folder.path()), &to).unwrap();
        let salvaged = rows::jobs(&to);
        assert!(salvaged.len() == truth.len() && salvaged.iter().all(|(place, job)| truth[place] == *job));
        let refused = salvage(&store_in(folder.path()), &to).unwrap_err().to_string();
        assert!(refused.contains("not written over"), "{refused}");
    }
}

#[tokio::test]
async fn a_job_without_its_payload_is_named_and_not_made_runnable() {
    let base = Base::make().await;
    let store = store_in(base.closed.path());
    let conn = rusqlite::Connection::open(&store).unwrap();
    let sql = "SELECT jobs.place, tail FROM jobs JOIN payloads ON payloads.place = jobs.place WHERE end_state IS NULL";
    let (place, tail): (i64, i64) = conn.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    conn.execute("DELETE FROM payloads WHERE place = ?1", [place]).unwrap();
    drop(conn);
    let to = base.closed.path().join("new.db");
    let (report, made) = salvage(&store, &to).unwrap();
    let id = windlass::job::JobId::from_parts(place, tail).to_string();
    assert_eq!((report.incomplete.len(), report.incomplete[0].id.as_str()), (1, id.as_str()), "{report:#?}");
    assert_eq!(report.incomplete[0].missing, ["its payload is gone"]);
    assert_eq!(made.jobs, base.early.len() as u64 - 1);
    assert!(!rows::jobs(&to).contains_key(&place));
}

#[tokio::test]
async fn a_job_that_may_lack_its_newest_attempt_is_named_and_salvaged() {
    let base = Base::make().await;
    let store = store_in(base.closed.path());
    let conn = rusqlite::Connection::open(&store).unwrap();
    let sql =
        "SELECT min(seq), place FROM attempts JOIN jobs USING (place) WHERE end_state IS NULL AND next_run_ms > 0";
    let (seq, place): (i64, i64) = conn.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(conn.execute("UPDATE attempts SET error = error || '!' WHERE seq = ?1", [seq]), Ok(1));
    // Neither those that were attempted later nor those that were not due could have had that attempt.
    let sql = "SELECT place FROM jobs WHERE end_state IS NULL AND run_at_ms < created_ms + 3600000 AND NOT EXISTS \
               (SELECT 1 FROM attempts WHERE attempts.place = jobs.place AND seq > ?1)";
    let mut statement = conn.prepare(sql).unwrap();
    let places: BTreeSet<i64> = statement.query_map([seq], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    drop(conn);
    let unfinished = base.early.values().filter(|job| !job.is_final()).count();
    assert!(places.contains(&place) && places.len() < unfinished / 2, "{} of {unfinished}", places.len());

    let to = base.closed.path().join("new.db");
    let (report, made) = salvage(&store, &to).unwrap();
    let ids: BTreeSet<String> = places.iter().map(|place| base.early[place].id(*place)).collect();
    assert_eq!(doubtful(&report), ids, "{report:#?}");
    let named = report.doubtful.iter().find(|job| job.id == base.early[&place].id(place)).unwrap();
    assert_eq!((named.attempts, report.jobs.incomplete, report.jobs.lost), (0, 0, 0));
    assert_eq!((made.jobs, made.jobs), (base.early.len() as u64, report.jobs.whole + report.jobs.doubtful));
    assert!(!report.whole && base.early[&place].is_but_for_newest_attempts(&rows::jobs(&to)[&place]));
}
