//! What a commit changes in memory, where that changed since the writer looked.

use super::*;
use crate::job::live::{Read, ReloadDue, Unfinished};
use effect::Effect;

fn waiting(place: i64, due: UnixMs) -> Unfinished {
    Unfinished { due, ..Unfinished::new(JobId::from_parts(place, 7)) }
}

fn lane() -> Lane {
    Lane::new("echo", "echo")
}

/// The n-th of twenty jobs is due then.
fn due(n: i64) -> UnixMs {
    NOW.moved(100 * n)
}

/// A store that holds eight of them; the others would be on disk only.
fn partial(folder: &TempDir) -> SqliteStore {
    let store = open_with(folder, SqliteOptions { held_jobs_max: 8, ..Default::default() }).unwrap();
    let mut memory = store.shared.memory();
    (1..=20).for_each(|n| memory.live.insert(&waiting(n, due(n)), &lane(), NOW));
    assert!(memory.live.is_partial());
    drop(memory);
    store
}

fn claimed(store: &SqliteStore, now: UnixMs) -> Vec<i64> {
    store.shared.memory().live.claim(99, now, &mut Open).iter().map(|handed| handed.id.place()).collect()
}

#[test]
fn a_retry_counts_though_a_reload_brought_the_job_between_look_and_commit() {
    let folder = TempDir::new().unwrap();
    let store = partial(&folder);
    let retried = Effect::Sooner { job: waiting(10, NOW), lane: lane() };
    let ended = claimed(&store, due(5));
    let mut memory = store.shared.memory();
    assert!(memory.live.get(JobId::from_parts(10, 7)).is_none());
    ended.into_iter().for_each(|place| memory.live.end(place));
    let at = std::time::Duration::ZERO;
    let ReloadDue::Now(reload) = memory.live.begin_reload(at) else { panic!("the memory is half empty") };
    let jobs = (8..=12).map(|n| (waiting(n, due(n)), lane())).collect();
    assert!(memory.live.merge(&reload, &Read { jobs, rest_from: vec![Some((due(13), 13))] }, at, NOW));
    drop(memory);
    store.shared.apply(vec![retried]);
    assert_eq!(claimed(&store, NOW), [10]);
}

#[test]
fn a_retry_counts_though_new_jobs_pushed_its_job_out_between_look_and_commit() {
    let folder = TempDir::new().unwrap();
    let store = partial(&folder);
    let mut memory = store.shared.memory();
    assert!(memory.live.get(JobId::from_parts(7, 7)).is_some());
    let retried = Effect::Sooner { job: waiting(7, NOW), lane: lane() };
    for n in 21..=28 {
        memory.live.insert(&waiting(n, due(0)), &lane(), NOW);
    }
    assert!(memory.live.get(JobId::from_parts(7, 7)).is_none());
    drop(memory);
    store.shared.apply(vec![retried]);
    let first = claimed(&store, NOW);
    assert!(first.contains(&7), "{first:?}");
}
