//! The wall clock is set between two lives of the store.

use std::time::Duration;

use super::*;
use crate::clock::Reckoning;
use crate::job::health::{Act, ActKind, Hold, Kept};
use crate::job::{EndState, State};
use crate::store::Standing;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A life that begins when the machine has been up for so long, and the wall clock says so.
fn life(folder: &TempDir, now: UnixMs, up_ms: i64, boot: i64) -> SqliteStore {
    let reckoning = Some(Reckoning { now, up_ms, boot });
    open_with(folder, SqliteOptions { reckoning, ..SqliteOptions::default() }).expect("opened")
}

async fn claim(store: &SqliteStore, now: UnixMs) -> Vec<Claimed> {
    store.claim(9, now, &mut Open).await.expect("claimed")
}

async fn finish(store: &SqliteStore, claimed: &Claimed, now: UnixMs, disposition: Disposition) {
    let answer = store.finish(&[ending(claimed, now, disposition)]).await.expect("recorded");
    assert_eq!(answer, [Finished::Recorded]);
}

#[tokio::test]
async fn what_waits_for_a_while_is_moved_along_and_what_was_due_is_due() {
    for step_ms in [-HOUR_MS, DAY_MS] {
        let folder = TempDir::new().unwrap();
        let store = life(&folder, NOW, 0, 1);
        let retried = accept(&store, NOW).await;
        let claimed = claim(&store, NOW).await;
        let in_a_minute = Disposition::Retry { at: NOW.moved(60_000), counted: true };
        finish(&store, &claimed[0], NOW, in_a_minute).await;
        let due = accept(&store, NOW).await;
        let named = accept(&store, NOW.moved(30 * DAY_MS)).await;
        drop(store);
        // Ten seconds later, by the machine.
        let then = NOW.moved(10_000 + step_ms);
        let store = life(&folder, then, 10_000, 1);
        let ready = claim(&store, then).await;
        assert_eq!(ready.iter().map(|claimed| claimed.lease.job).collect::<Vec<_>>(), [due], "by {step_ms}");
        assert!(claim(&store, then.moved(49_999)).await.is_empty(), "too early by {step_ms}");
        let again = claim(&store, then.moved(50_000)).await;
        assert_eq!(again.iter().map(|claimed| claimed.lease.job).collect::<Vec<_>>(), [retried], "by {step_ms}");
        let view = store.job(named, then).await.unwrap().unwrap();
        assert_eq!((view.state, view.run_at), (State::Scheduled, NOW.moved(30 * DAY_MS)), "somebody named that moment");
    }
}

#[tokio::test]
async fn another_start_of_the_machine_tells_nothing() {
    let folder = TempDir::new().unwrap();
    let store = life(&folder, NOW, 0, 1);
    accept(&store, NOW).await;
    let claimed = claim(&store, NOW).await;
    finish(&store, &claimed[0], NOW, Disposition::Retry { at: NOW.moved(60_000), counted: true }).await;
    drop(store);
    let store = life(&folder, NOW.moved(DAY_MS), 5, 2);
    assert_eq!(claim(&store, NOW.moved(DAY_MS)).await.len(), 1, "it was off for a day");
}

#[tokio::test]
async fn nothing_is_deleted_before_its_time() {
    let folder = TempDir::new().unwrap();
    let day = Duration::from_hours(24);
    let retention = Retention { completed: day, cancelled: day, discarded: day };
    let store = life(&folder, NOW, 0, 1);
    accept(&store, NOW).await;
    let claimed = claim(&store, NOW).await;
    finish(&store, &claimed[0], NOW, Disposition::Complete).await;
    drop(store);
    let then = NOW.moved(DAY_MS + HOUR_MS);
    let store = life(&folder, then, HOUR_MS, 1);
    assert_eq!(store.prune(retention, then, 9).await.unwrap().jobs, 0, "an hour has passed");
    assert_eq!(store.prune(retention, then.moved(23 * HOUR_MS - 1), 9).await.unwrap().jobs, 0);
    assert_eq!(store.prune(retention, then.moved(23 * HOUR_MS), 9).await.unwrap().jobs, 1);
    // What ends from now on is not kept longer.
    accept(&store, then).await;
    let claimed = claim(&store, then).await;
    finish(&store, &claimed[0], then.moved(1), Disposition::Complete).await;
    assert_eq!(store.prune(retention, then.moved(DAY_MS), 9).await.unwrap().jobs, 0);
    assert_eq!(store.prune(retention, then.moved(DAY_MS + 1), 9).await.unwrap().jobs, 1);
    assert_eq!(store.counts().ended[State::from(EndState::Completed).name()], 1, "in this life");
}

#[tokio::test]
async fn a_downstreams_hold_keeps_its_length_and_a_persons_keeps_its_end() {
    let folder = TempDir::new().unwrap();
    let until = NOW.moved(HOUR_MS);
    let hold = Some(Hold { until: Some(until), cause: "429".to_owned() });
    let asked = Kept { hold: hold.clone(), ..Kept::default() };
    let said = Act { at: NOW, what: ActKind::Hold { until: Some(until), reason: None } };
    let store = life(&folder, NOW, 0, 1);
    for (downstream, kept) in [("asked", asked.clone()), ("said", Kept { acts: vec![said], ..asked })] {
        store.set_standing(Standing::Downstream { lane: Lane::new("p", downstream), kept }).await.unwrap();
    }
    drop(store);
    let store = life(&folder, NOW.moved(-HOUR_MS), 0, 1);
    let held_until = |kept: &Kept| kept.hold.as_ref().and_then(|hold| hold.until);
    for (lane, kept) in store.standings().await.unwrap().downstreams {
        let end = if &*lane.downstream == "asked" { NOW } else { until };
        assert_eq!(held_until(&kept), Some(end), "{lane:?}");
    }
}

#[tokio::test]
async fn jobs_of_a_clock_that_was_ahead_keep_no_other_from_being_deleted() {
    let folder = TempDir::new().unwrap();
    let wrong = NOW.moved(300 * DAY_MS);
    let mut ends = Vec::new();
    for (now, boot, jobs) in [(NOW.moved(-DAY_MS), 1, 2), (wrong, 2, 5), (NOW, 3, 3)] {
        let store = life(&folder, now, 0, boot);
        for _ in 0..jobs {
            let answers = store.enqueue(vec![job(now)], now).await.unwrap();
            let [Enqueued::Created(id)] = answers[..] else { panic!("{answers:?}") };
            store.cancel(id, now).await.unwrap();
            ends.push(id);
        }
    }
    let store = life(&folder, NOW.moved(2 * DAY_MS), 0, 4);
    let kept = Duration::from_secs(24 * 3_600);
    let retention = Retention { completed: kept, cancelled: kept, discarded: kept };
    let mut pruned = 0;
    for _ in 0..4 {
        pruned += store.prune(retention, NOW.moved(2 * DAY_MS), 9).await.unwrap().jobs;
    }
    assert_eq!(pruned, 5, "those of the right time");
    assert_eq!(
        store.prune(retention, wrong.moved(2 * DAY_MS), 9).await.unwrap().jobs,
        5,
        "and in their time the others"
    );
}

#[tokio::test]
async fn no_id_is_given_twice_though_the_clock_was_set_back_and_nothing_is_left_of_those_before() {
    let folder = TempDir::new().unwrap();
    let retention = Retention { completed: Duration::ZERO, cancelled: Duration::ZERO, discarded: Duration::ZERO };
    let (mut last, file) = (None, folder.path().join("data/windlass.db"));
    for turn in 0..4 {
        let now = if turn == 0 { NOW.moved(HOUR_MS) } else { NOW };
        if turn == 3 {
            let new = folder.path().join("new.db");
            salvage(&file, &new).unwrap();
            std::fs::rename(new, &file).unwrap();
        }
        let store = life(&folder, now, 0, 1);
        let spec = JobSpec { idempotency_key: Some(format!("{last:?}")), ..spec(now, 1) };
        let answers = store.enqueue(vec![NewJob { spec, request_digest: [0; 32] }], now).await.unwrap();
        let [Enqueued::Created(id)] = answers[..] else { panic!("{answers:?}") };
        assert!(last < Some(id), "{last:?} {id}");
        last = Some(id);
        store.cancel(id, now).await.unwrap();
        assert_eq!(store.prune(retention, now, 9).await.unwrap().jobs, 1);
        // The first time its key tells of it; then that is forgotten too, and the store's own number tells alone.
        if turn > 0 {
            store.prune(retention, NOW.moved(2 * DAY_MS), 9).await.unwrap();
            let left = Connection::open(&file).unwrap();
            let left = left.query_row("SELECT count(*) FROM orphan_keys", (), |row| row.get::<_, i64>(0));
            assert_eq!(left, Ok(0));
        }
    }
}
