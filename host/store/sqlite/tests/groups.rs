//! What becomes of those that share a group with one that cannot be served.

use super::*;

/// A store whose writer waits for a lock that another holds, until it is given up.
struct Held {
    store: SqliteStore,
    other: Connection,
    /// Answered when the writer goes on.
    first: oneshot::Receiver<Result<(), StoreError>>,
}

/// Whatever is told to the writer until [`Held::let_go`] is one group.
fn hold(store: SqliteStore, folder: &TempDir) -> Held {
    let other = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (to, first) = oneshot::channel();
    store.tell(Op::Unhold { plugin: "nobody".to_owned(), to }).unwrap();
    // The writer has taken it up once nothing more waits to be received: it then waits for the lock.
    Held { store, other, first }
}

impl Held {
    async fn let_go(self) -> SqliteStore {
        self.other.execute_batch("COMMIT").unwrap();
        _ = self.first.await.unwrap();
        self.store
    }
}

fn enqueue(store: &SqliteStore, payload_bytes: usize) -> oneshot::Receiver<Result<Vec<Enqueued>, StoreError>> {
    let (to, answer) = oneshot::channel();
    let jobs = enqueue::prepare(vec![NewJob { spec: spec(NOW, payload_bytes), request_digest: [0; 32] }]);
    let ticket = enqueue::Ticket::draw(&store.shared, 1, 1_000).unwrap();
    store.tell(Op::Enqueue { jobs, now: NOW, ticket, to }).unwrap();
    answer
}

#[tokio::test]
async fn what_has_begun_is_known_though_the_disk_was_full_for_a_moment() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { pages_max: Some(120), ..Default::default() }).unwrap();
    while enqueue(&store, 20_000).await.unwrap().is_ok() {}
    let held = hold(store, &folder);
    let claimed = held.store.claim(1, NOW, &mut Open).await.unwrap();
    let refused = enqueue(&held.store, 20_000);
    let store = held.let_go().await;
    assert!(matches!(refused.await.unwrap(), Err(StoreError::Full(_))));
    // There is room for this, and what began rides along.
    store.set_standing(Standing::Plugin { name: "echo".to_owned(), paused: true }).await.unwrap();
    let other = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    sums::register(&other).unwrap();
    let known: Vec<i64> = begun::read(&other).unwrap().into_keys().collect();
    assert_eq!(known, [claimed[0].lease.job.place()]);
}

#[tokio::test]
async fn who_meets_a_row_that_is_not_as_it_should_be_takes_nobody_along() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let damaged = accept(&store, NOW).await;
    let of_damaged = store.claim(1, NOW, &mut Open).await.unwrap().remove(0);
    store.finish(&[ending(&of_damaged, NOW, Disposition::Discard)]).await.unwrap();
    accept(&store, NOW).await;
    let of_other = store.claim(1, NOW, &mut Open).await.unwrap().remove(0);
    Connection::open(folder.path().join("data/windlass.db")).unwrap().execute("DELETE FROM attempts", ()).unwrap();
    let held = hold(store, &folder);
    let (to, retried) = oneshot::channel();
    let retry = Op::Retry { id: damaged, now: NOW, max_attempts: 9, to };
    let (to, finished) = oneshot::channel();
    let finish = Op::Finish { ends: vec![End::of(&ending(&of_other, NOW, Disposition::Complete))], to };
    [finish, retry].into_iter().for_each(|op| held.store.tell(op).unwrap());
    let enqueued = enqueue(&held.store, 1);
    let store = held.let_go().await;
    let error = retried.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert_eq!(finished.await.unwrap().unwrap(), [Finished::Recorded]);
    assert!(enqueued.await.unwrap().is_ok());
    store.health().unwrap();
}

/// The columns of that table of a closed store take values of every type.
fn loosen(folder: &TempDir, table: &str) -> Connection {
    let path = folder.path().join("data/windlass.db");
    let conn = Connection::open(&path).unwrap();
    let sql = "UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = ?1";
    conn.execute_batch("PRAGMA writable_schema = ON").unwrap();
    assert_eq!(conn.execute(sql, [table]).unwrap(), 1);
    drop(conn);
    Connection::open(&path).unwrap()
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_deleted() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(accept(&store, NOW).await);
        store.cancel(*ids.last().unwrap(), NOW).await.unwrap();
    }
    drop(store);
    let loose = loosen(&folder, "jobs");
    assert_eq!(loose.execute("UPDATE jobs SET created_ms = 'x' WHERE place = ?1", [ids[1].place()]).unwrap(), 1);
    drop(loose);
    let store = open(&folder).unwrap();
    let at_once = std::time::Duration::ZERO;
    let retention = Retention { completed: at_once, cancelled: at_once, discarded: at_once };
    assert_eq!(store.prune(retention, UnixMs(NOW.0 + 9), 9).await.unwrap(), 2);
}

#[tokio::test]
async fn of_a_batch_with_one_damaged_job_nothing_is_written_and_the_others_can_be() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    drop(store);
    let loose = loosen(&folder, "jobs");
    let store = open(&folder).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(accept(&store, NOW).await);
    }
    let claimed = store.claim(3, NOW, &mut Open).await.unwrap();
    // Its attempt goes on, and its row will be looked at when that ends.
    store.cancel(ids[2], NOW).await.unwrap();
    assert_eq!(loose.execute("UPDATE jobs SET last_attempt = 'x' WHERE place = ?1", [ids[2].place()]).unwrap(), 1);
    let ends: Vec<Finish> = claimed.iter().map(|job| ending(job, NOW, Disposition::Complete)).collect();
    let error = store.finish(&ends).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)) && store.health().is_ok(), "{error:?}");
    assert_eq!(store.counts().unfinished, 2);
    for end in &ends[..2] {
        assert_eq!(store.finish(std::slice::from_ref(end)).await.unwrap(), [Finished::Recorded]);
    }
    store.finish(&ends[2..]).await.unwrap_err();
    let view = store.job(ids[0], NOW).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempts.len()), (crate::job::State::Completed, 1));
}
