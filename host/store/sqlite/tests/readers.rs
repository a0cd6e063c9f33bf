//! Who looks at jobs, and who works on them: neither waits for the other.

use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::store::sqlite::readers::Queue;

/// So many reads that go on until this is dropped, those that wait included.
fn crowd(queue: &Queue, reads: usize) -> (Vec<mpsc::Sender<()>>, impl Future) {
    let (mut held, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..reads {
        let (end, ended) = mpsc::channel::<()>();
        let mut read = Box::pin(queue.read(move |_| Ok(_ = ended.recv())));
        assert!((&mut read).now_or_never().is_none(), "{} have their place", held.len());
        held.push(end);
        reading.push(read);
    }
    (held, futures_util::future::join_all(reading))
}

#[tokio::test]
async fn work_goes_on_however_many_look() {
    let folder = TempDir::new().unwrap();
    // Nothing is kept in memory: what is claimed has to be read.
    let store = open_with(&folder, SqliteOptions { cached_bytes_max: 0, ..Default::default() }).unwrap();
    let id = accept(&store, NOW).await;
    let (searches, searching) = crowd(&store.shared.readers.search, 34);
    let refused = store.list(ListFilter::default(), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::Busy(_)), "{refused:?}");
    // Single jobs are read beside searches, ...
    let patience = Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, store.job(id, NOW)).await.expect("in time").unwrap().is_some());
    // ... and work beside both.
    let (singles, reading) = crowd(&store.shared.readers.single, 5_000);
    let claimed = tokio::time::timeout(patience, store.claim(1, NOW, &mut Open)).await.expect("in time").unwrap();
    assert_eq!(claimed.len(), 1);
    store.finish(&[ending(&claimed[0], NOW, Disposition::Complete)]).await.unwrap();
    drop((searches, singles));
    futures_util::future::join(searching, reading).await;
    assert_eq!(store.list(ListFilter { limit: 1, ..Default::default() }, NOW).await.unwrap().jobs.len(), 1);
    assert!(store.job(id, NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn however_many_wait_for_the_end_of_a_job_each_is_told_of_it() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open_with(&folder, SqliteOptions { held_jobs_max: 4, ..Default::default() }).unwrap());
    for _ in 0..20 {
        accept(&store, NOW).await;
    }
    let far = accept(&store, UnixMs(NOW.0 + 999_999)).await;
    assert!(store.shared.memory().live.get(far).is_none(), "it is on disk only");
    let (singles, reading) = crowd(&store.shared.readers.single, 4);
    let told = futures_util::future::join_all((0..3_000).map(|_| async {
        store.ended(far).await;
        store.job(far, NOW).await
    }));
    let mut told = std::pin::pin!(told);
    assert!((&mut told).now_or_never().is_none(), "it has not ended");
    drop(singles);
    reading.await;
    assert_eq!(store.cancel(far, NOW).await.unwrap(), Acted::Done);
    assert!(told.await.into_iter().all(|told| told.is_ok_and(|job| job.is_some())));
}

/// So many reads at once.
fn read_within(queue: &Queue, reads: u32) {
    let inner = |_: &Connection| {
        if reads > 1 {
            read_within(queue, reads - 1);
        }
        Ok(())
    };
    queue.read_here(inner).unwrap();
}

#[tokio::test]
async fn few_connections_are_kept() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let Readers { work, single, search } = &store.shared.readers;
    for (queue, kept) in [(work, 1), (single, 4), (search, 2)] {
        read_within(queue, 5);
        assert_eq!(queue.idle(), kept);
    }
}
