//! Who looks at jobs, and who works on them: neither waits for the other.

use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::store::sqlite::readers::Queue;

/// Reads that go on until this is dropped: as many as there may be of that kind, those that wait included.
fn crowd(queue: &Queue) -> (Vec<mpsc::Sender<()>>, impl Future) {
    let (mut held, mut reads) = (Vec::new(), Vec::new());
    loop {
        let (end, ended) = mpsc::channel::<()>();
        let mut read = Box::pin(queue.read(move |_| Ok(_ = ended.recv())));
        match (&mut read).now_or_never() {
            None => {
                held.push(end);
                reads.push(read);
            }
            Some(refused) => {
                let error = refused.unwrap_err();
                assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
                return (held, futures_util::future::join_all(reads));
            }
        }
        assert!(held.len() < 10_000, "no bound is found");
    }
}

#[tokio::test]
async fn work_goes_on_however_many_look() {
    let folder = TempDir::new().unwrap();
    // Nothing is kept in memory: what is claimed has to be read.
    let store = open_with(&folder, SqliteOptions { cached_bytes_max: 0, ..Default::default() }).unwrap();
    let id = accept(&store, NOW).await;
    let (searches, searching) = crowd(&store.shared.readers.search);
    // Single jobs are read beside searches, ...
    let patience = Duration::from_secs(60);
    assert!(tokio::time::timeout(patience, store.job(id, NOW)).await.expect("in time").unwrap().is_some());
    let (singles, reading) = crowd(&store.shared.readers.single);
    for refused in [store.job(id, NOW).await.err(), store.list(ListFilter::default(), NOW).await.err()] {
        assert!(matches!(refused, Some(StoreError::Busy(_))), "{refused:?}");
    }
    // ... and work beside both.
    let claimed = tokio::time::timeout(patience, store.claim(1, NOW, &mut Open)).await.expect("in time").unwrap();
    assert_eq!(claimed.len(), 1);
    store.finish(&[ending(&claimed[0], NOW, Disposition::Complete)]).await.unwrap();
    drop((searches, singles));
    futures_util::future::join(searching, reading).await;
    assert_eq!(store.list(ListFilter { limit: 1, ..Default::default() }, NOW).await.unwrap().jobs.len(), 1);
    assert!(store.job(id, NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_job_is_not_told_of_it_for_want_of_a_turn() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open_with(&folder, SqliteOptions { held_jobs_max: 4, ..Default::default() }).unwrap());
    for _ in 0..20 {
        accept(&store, NOW).await;
    }
    let far = accept(&store, UnixMs(NOW.0 + 999_999)).await;
    assert!(store.shared.memory().live.get(far).is_none(), "it is on disk only");
    let (singles, reading) = crowd(&store.shared.readers.single);
    let mut end = std::pin::pin!(store.ended(far));
    assert!((&mut end).now_or_never().is_none(), "it has not ended");
    drop(singles);
    reading.await;
    assert_eq!(store.cancel(far, NOW).await.unwrap(), Acted::Done);
    end.await;
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
