//! What happens at the bounds: a full disk, a full queue, a full memory, a failed store.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { pages_max: Some(120), ..Default::default() }).unwrap();
    let mut accepted = Vec::new();
    let refusal = loop {
        let new = NewJob { spec: spec(NOW, 20_000), request_digest: [0; 32] };
        assert!(store.takes_writes());
        match store.enqueue(vec![new], NOW).await {
            Ok(answers) => accepted.extend(answers),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "it never fills");
    };
    assert!(matches!(refusal, StoreError::Full(_)), "{refusal:?}");
    store.health().unwrap();
    assert!(!store.takes_writes());
    assert_eq!(store.counts().unfinished, accepted.len() as u64);
    // What is there still runs, and makes room.
    let claimed = store.claim(1, NOW, &mut Open).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let Enqueued::Created(id) = accepted[5] else { panic!("{accepted:?}") };
    assert_eq!(store.cancel(id, NOW).await.unwrap(), Acted::Done);
    let at_once = std::time::Duration::ZERO;
    let retention = Retention { completed: at_once, cancelled: at_once, discarded: at_once };
    assert_eq!(store.prune(retention, NOW, 9).await.unwrap().jobs, 1);
    accept(&store, NOW).await;
    assert!(store.takes_writes());
}

#[tokio::test]
async fn what_writes_nothing_says_nothing_of_the_room() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { pages_max: Some(120), ..Default::default() }).unwrap();
    let keyed = || {
        let spec = JobSpec { idempotency_key: Some("k".to_owned()), ..spec(NOW, 8) };
        vec![NewJob { spec, request_digest: [0; 32] }]
    };
    let first = store.enqueue(keyed(), NOW).await.unwrap();
    let large = || vec![NewJob { spec: spec(NOW, 20_000), request_digest: [0; 32] }];
    while store.enqueue(large(), NOW).await.is_ok() {}
    let [Enqueued::Created(id)] = first[..] else { panic!("{first:?}") };
    assert_eq!(store.enqueue(keyed(), NOW).await.unwrap(), [Enqueued::Replayed(id)]);
    assert!(!store.takes_writes(), "a repeat needs none");
    assert_eq!(store.cancel(id, NOW).await.unwrap(), Acted::Done);
    assert!(store.takes_writes(), "there was some for that");
}

#[tokio::test]
async fn more_than_the_writer_takes_is_busy() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { queued_jobs_max: 10, ..Default::default() }).unwrap();
    let held = enqueue::Ticket::draw(&store.shared, 9, 10).unwrap();
    accept(&store, NOW).await;
    let refusal = store.enqueue(vec![job(NOW), job(NOW)], NOW).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Busy(_)), "{refusal:?}");
    drop(held);
    // A batch larger than the queue is taken when it is alone.
    store.enqueue((0..50).map(|_| job(NOW)).collect(), NOW).await.unwrap();
}

#[tokio::test]
async fn a_failed_store_says_so_and_wakes_who_waits() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).unwrap());
    let id = accept(&store, NOW).await;
    let waiter = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.ended(id).await }
    });
    tokio::task::yield_now().await;
    store.shared.poison(&StoreError::Failed("fsync: input/output error".into()));
    waiter.await.unwrap();
    assert!(matches!(store.health(), Err(StoreError::Failed(_))));
    assert!(matches!(store.enqueue(vec![job(NOW)], NOW).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.claim(1, NOW, &mut Open).await, Err(StoreError::Failed(_))));
    assert!(matches!(store.job(id, NOW).await, Err(StoreError::Failed(_))));
    store.ended(id).await;
}

#[tokio::test]
async fn what_waits_when_the_store_is_dropped_is_written() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    for _ in 0..20 {
        let (to, _nobody) = oneshot::channel();
        let jobs = enqueue::prepare(vec![job(NOW)]);
        let ticket = enqueue::Ticket::draw(&store.shared, 1, 1_000).unwrap();
        store.tell(Op::Enqueue { jobs, now: NOW, ticket, to }).unwrap();
    }
    drop(store);
    assert_eq!(open(&folder).unwrap().counts().unfinished, 20);
}

/// Claims everything that comes due, waiting for reloads, until so many jobs have ended.
async fn drain(store: &SqliteStore, jobs: usize) -> HashSet<JobId> {
    let mut seen = HashSet::new();
    while seen.len() < jobs {
        let claimed = store.claim(9, NOW.after(std::time::Duration::from_hours(1)), &mut Open).await.unwrap();
        if claimed.is_empty() {
            store.changed().await;
            continue;
        }
        let finishes: Vec<_> = claimed.iter().map(|job| ending(job, NOW, Disposition::Complete)).collect();
        store.finish(&finishes).await.unwrap();
        for job in claimed {
            assert!(seen.insert(job.lease.job), "handed out twice");
        }
        let kept = store.shared.memory().live.waiting();
        assert!(kept <= 40, "{kept} jobs are in memory");
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_beyond_the_memory_come_back_in_time() {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions { held_jobs_max: 40, ..Default::default() };
    let store = open_with(&folder, options).unwrap();
    let mut ids = HashSet::new();
    for n in 0..300_i64 {
        ids.insert(accept(&store, UnixMs(NOW.0 + (n * 7_919) % 1_000)).await);
    }
    assert_eq!(store.counts().unfinished, 300);
    // A job on disk only has a state, can be listed, retried and cancelled.
    let far = accept(&store, UnixMs(NOW.0 + 999_999)).await;
    assert!(store.shared.memory().live.get(far).is_none());
    assert_eq!(store.job(far, NOW).await.unwrap().unwrap().state, crate::job::State::Scheduled);
    let page = store.list(ListFilter { limit: 1, ..Default::default() }, NOW).await.unwrap();
    assert_eq!((page.jobs[0].id, page.jobs[0].state), (far, crate::job::State::Scheduled));
    assert_eq!(store.retry(far, NOW).await.unwrap(), Acted::Done);
    assert_eq!(store.cancel(far, NOW).await.unwrap(), Acted::Done);
    let other = accept(&store, UnixMs(NOW.0 + 999_999)).await;
    assert_eq!(store.cancel(other, NOW).await.unwrap(), Acted::Done);
    store.ended(other).await;
    drop(store);
    let store = open_with(&folder, options).unwrap();
    assert_eq!(store.counts().unfinished, 300);
    assert_eq!(drain(&store, 300).await, ids);
    assert_eq!(store.counts().unfinished, 0);
}

/// Lets in one plugin.
struct Only(&'static str);

impl Admission for Only {
    fn admit(&mut self, lane: &Lane, _: UnixMs) -> Admit {
        if *lane.plugin == *self.0 { Admit::Yes } else { Admit::PluginClosed { until: None } }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_blocked_leaves_the_memory_to_others() {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions { held_jobs_max: 40, ..Default::default() };
    let mut store = open_with(&folder, options).unwrap();
    for _ in 0..100 {
        accept(&store, NOW).await;
    }
    for _ in 0..2 {
        for _ in 0..60 {
            let spec = JobSpec::plain("other", "other", NOW);
            store.enqueue(vec![NewJob { spec, request_digest: [0; 32] }], NOW).await.unwrap();
        }
        assert_eq!((store.unfinished("echo"), store.unfinished("other").1), ((160, 100), 60));
        let mut left = 60;
        while left > 0 {
            let claimed = store.claim(3, NOW, &mut Only("other")).await.unwrap();
            if claimed.is_empty() {
                let read_back = tokio::time::timeout(std::time::Duration::from_secs(30), store.changed());
                read_back.await.expect("they come to their turn");
                continue;
            }
            let finishes: Vec<_> = claimed.iter().map(|job| ending(job, NOW, Disposition::Complete)).collect();
            store.finish(&finishes).await.unwrap();
            left -= claimed.len();
        }
        assert_eq!(store.unfinished("other"), (100, 0));
        drop(store);
        store = open_with(&folder, options).unwrap();
    }
    assert_eq!(drain(&store, 100).await.len(), 100);
}

/// Lets everybody in, and counts who is in.
#[derive(Default)]
struct Counting(Vec<UnixMs>);

impl Admission for Counting {
    fn admit(&mut self, _: &Lane, now: UnixMs) -> Admit {
        self.0.push(now);
        Admit::Yes
    }

    fn withdrawn(&mut self, _: &Lane, started_at: UnixMs, _: UnixMs) {
        let at = self.0.iter().position(|moment| *moment == started_at).expect("it was let in");
        self.0.remove(at);
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_now_is_put_back() {
    let folder = TempDir::new().unwrap();
    let options = SqliteOptions { cached_bytes_max: 0, ..SqliteOptions::default() };
    let store = open_with(&folder, options).unwrap();
    let id = accept(&store, NOW).await;
    let other = accept(&store, NOW).await;
    // As where the process has no descriptor left: no reader is open, and none can be opened.
    store.shared.readers.close();
    let (file, away) = (folder.path().join("data/windlass.db"), folder.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    let mut doors = Counting::default();
    let error = store.claim(9, NOW, &mut doors).await.unwrap_err();
    assert!(error.is_passing() && store.health().is_ok(), "{error}");
    assert_eq!(doors.0, [], "they have their places back");
    std::fs::rename(&away, &file).unwrap();
    let claimed = store.claim(9, NOW, &mut doors).await.unwrap();
    let attempts: Vec<_> = claimed.iter().map(|job| (job.lease.job, job.attempt)).collect();
    assert_eq!(attempts, [(id, 1), (other, 1)]);
    assert_eq!(doors.0.len(), 2);
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_is_handed_out_in_vain_leaves_no_place_taken() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let id = accept(&store, NOW).await;
    let handed = store.shared.memory().live.claim(1, NOW, &mut Open);
    assert_eq!(store.cancel(id, NOW).await.unwrap(), Acted::Done);
    let put_back = store.shared.put_back(&handed);
    assert_eq!(put_back.len(), 1);
    assert_eq!((&*put_back[0].0.plugin, put_back[0].1), ("echo", NOW));
    assert_eq!(store.retry(id, NOW).await.unwrap(), Acted::Done);
    assert_eq!(store.claim(1, NOW, &mut Open).await.unwrap().len(), 1, "nothing bars it");
}
