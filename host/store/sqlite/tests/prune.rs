//! Pruning goes on a part at a time, and nobody waits for all of it.

use std::time::Duration;

use super::*;
use crate::store::Pruned;

const HOUR_MS: i64 = 3_600_000;

fn keeping(kept: Duration) -> Retention {
    Retention { completed: kept, cancelled: kept, discarded: kept }
}

/// A job that arrives then, with a key, and is cancelled then.
async fn cancelled(store: &SqliteStore, arrives: UnixMs, ends: UnixMs) -> JobId {
    let number = store.shared.seen().0 + store.counts().ended["cancelled"] as i64;
    let spec = JobSpec { idempotency_key: Some(number.to_string()), ..spec(arrives, 1) };
    let answers = store.enqueue(vec![NewJob { spec, request_digest: [0; 32] }], arrives).await.unwrap();
    let [Enqueued::Created(id)] = answers[..] else { panic!("{answers:?}") };
    assert_eq!(store.cancel(id, ends).await.unwrap(), Acted::Done);
    id
}

/// Prunes until there is no more; what each call did.
async fn prune(store: &SqliteStore, kept: Duration, now: UnixMs, most: usize) -> Vec<usize> {
    let mut jobs = Vec::new();
    loop {
        let pruned = store.prune(keeping(kept), now, most).await.unwrap();
        jobs.push(pruned.jobs);
        if !pruned.more {
            return jobs;
        }
    }
}

#[tokio::test]
async fn one_pruning_looks_at_few_jobs_and_the_next_goes_on_there() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let (late, hour) = (NOW.moved(2 * HOUR_MS), Duration::from_hours(1));
    for n in 0..16 {
        cancelled(&store, NOW, if n < 12 { late } else { NOW }).await;
    }
    let then = late.moved(HOUR_MS / 2);
    assert_eq!(prune(&store, hour, then, 99).await, [0, 0, 3, 1], "behind twelve that ended late");
    assert_eq!(prune(&store, hour, then, 99).await, [0, 0, 0]);
    let later = late.moved(2 * HOUR_MS);
    assert_eq!(
        prune(&store, hour, later, 2).await,
        [2, 2, 2, 2, 2, 2],
        "from the first on, and no more than asked for"
    );
    assert_eq!(store.prune(keeping(hour), later, 0).await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn one_pruning_forgets_few_keys_and_says_that_there_are_more() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    for _ in 0..8 {
        cancelled(&store, NOW, NOW).await;
    }
    assert_eq!(prune(&store, Duration::ZERO, NOW, 99).await, [5, 3]);
    let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    let keys =
        |table| conn.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(keys("orphan_keys"), 8);
    for (left, more) in [(5, true), (2, true), (0, false)] {
        let pruned = store.prune(keeping(Duration::ZERO), NOW.moved(25 * HOUR_MS), 99).await.unwrap();
        assert_eq!(pruned, Pruned { jobs: 0, more });
        assert_eq!((keys("orphan_keys"), keys("idempotency")), (left, left));
    }
}

#[tokio::test]
async fn what_came_while_the_clock_was_ahead_keeps_none_back_when_its_time_has_come() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let days = |days| NOW.moved(24 * HOUR_MS * days);
    let kept = Duration::from_hours(48);
    for now in [days(10), days(10), NOW, NOW] {
        cancelled(&store, now, now).await;
    }
    assert_eq!(prune(&store, kept, NOW, 99).await, [0]);
    assert_eq!(prune(&store, kept, days(11), 99).await, [2], "those of the right time, while the others are young");
    assert_eq!(prune(&store, kept, days(12), 99).await, [2]);
}
