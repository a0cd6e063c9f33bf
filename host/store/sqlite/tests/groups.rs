//! What becomes of those that share a group with one that cannot be served.

use super::*;

/// The memory, while the writer waits for it with a transaction begun: nobody else can begin one then.
#[expect(clippy::disallowed_methods, reason = "the writer tells nobody that it waits, and needs moments to come to it")]
fn until_it_waits<'a>(store: &'a SqliteStore, other: &Connection) -> MutexGuard<'a, Memory> {
    loop {
        let memory = store.shared.memory();
        let (to, _nobody) = oneshot::channel();
        store.tell(Op::Finish { ends: Vec::new(), to }).unwrap();
        for _ in 0..20 {
            if other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err() {
                return memory;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // It waits without one: for what follows the group before.
    }
}

/// Has the writer carry out all these in one group.
pub(super) fn tell_at_once(store: &SqliteStore, folder: &TempDir, begun: Vec<Begun>, ops: Vec<Op>) {
    let other = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    let memory = until_it_waits(store, &other);
    assert!(store.shared.add_begun(begun));
    ops.into_iter().for_each(|op| store.tell(op).unwrap());
    drop(memory);
}

pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

pub(super) fn enqueue(store: &SqliteStore, payload_bytes: usize) -> (Op, Answer<Vec<Enqueued>>) {
    enqueue_for(store, NOW, payload_bytes)
}

fn enqueue_for(store: &SqliteStore, run_at: UnixMs, payload_bytes: usize) -> (Op, Answer<Vec<Enqueued>>) {
    let (to, answer) = oneshot::channel();
    let jobs = enqueue::prepare(vec![NewJob { spec: spec(run_at, payload_bytes), request_digest: [0; 32] }]);
    let ticket = enqueue::Ticket::draw(&store.shared, 1, 1_000).unwrap();
    (Op::Enqueue { jobs, now: NOW, ticket, to }, answer)
}

#[tokio::test]
async fn what_has_begun_is_known_though_the_disk_was_full_for_a_moment() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { pages_max: Some(120), ..Default::default() }).unwrap();
    let new = || NewJob { spec: spec(NOW, 20_000), request_digest: [0; 32] };
    while store.enqueue(vec![new()], NOW).await.is_ok() {}
    let handed = store.shared.memory().live.claim(1, NOW, &mut Open)[0];
    let (too_much, refused) = enqueue(&store, 20_000);
    let begun = Begun { place: handed.id.place(), n: handed.attempt, started_at: handed.started_at };
    tell_at_once(&store, &folder, vec![begun], vec![Op::Begun, too_much]);
    assert!(matches!(refused.await.unwrap(), Err(StoreError::Full(_))));
    // There is room for this, and what began rides along.
    store.set_standing(Standing::Plugin { name: "echo".to_owned(), paused: true }).await.unwrap();
    let other = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    sums::register(&other).unwrap();
    let known: Vec<i64> = begun::read(&other).unwrap().into_keys().collect();
    assert_eq!(known, [handed.id.place()]);
}

#[tokio::test]
async fn while_another_program_holds_the_lock_callers_are_told_so_and_the_store_can_be_closed() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let foreign = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refusal = store.enqueue(vec![job(NOW)], NOW).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Busy(_)) && store.health().is_ok(), "{refusal:?}");
    let (waits, refused) = enqueue(&store, 1);
    store.tell(waits).unwrap();
    drop(store);
    assert!(matches!(refused.await.unwrap(), Err(StoreError::Busy(_))));
    foreign.execute_batch("ROLLBACK").unwrap();
    assert_eq!(open(&folder).unwrap().counts().unfinished, 0);
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
    let (to, retried) = oneshot::channel();
    let retry = Op::Retry { id: damaged, now: NOW, to };
    let (to, finished) = oneshot::channel();
    let finish = Op::Finish { ends: vec![End::of(&ending(&of_other, NOW, Disposition::Complete))], to };
    let (enqueue, enqueued) = enqueue(&store, 1);
    let begun = Begun { place: of_other.lease.job.place(), n: 1, started_at: NOW };
    tell_at_once(&store, &folder, vec![begun], vec![finish, enqueue, retry]);
    let error = retried.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert_eq!(finished.await.unwrap().unwrap(), [Finished::Recorded]);
    assert!(enqueued.await.unwrap().is_ok());
    store.health().unwrap();
}

#[tokio::test]
async fn a_retry_counts_though_new_jobs_push_its_job_out_of_memory_in_the_same_commit() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { held_jobs_max: 8, ..Default::default() }).unwrap();
    let far = accept(&store, NOW.moved(99_000)).await;
    let mut ops: Vec<Op> = (0..9).map(|_| enqueue_for(&store, NOW.moved(50), 1).0).collect();
    let (to, retried) = oneshot::channel();
    ops.push(Op::Retry { id: far, now: NOW, to });
    tell_at_once(&store, &folder, Vec::new(), ops);
    assert_eq!(retried.await.unwrap().unwrap(), Acted::Done);
    assert!(store.shared.memory().live.is_partial());
    let claimed = store.claim(9, NOW, &mut Open).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.lease.job).collect::<Vec<_>>(), [far]);
}

/// A pruning of all that was final for so long, and the answer to it.
fn prune(kept: std::time::Duration) -> (Op, Answer<Pruned>) {
    let (to, answer) = oneshot::channel();
    let retention = Retention { completed: kept, cancelled: kept, discarded: kept };
    (Op::Prune { retention, now: NOW, most: 9, to }, answer)
}

/// A finish of a job that runs, and the answer to it.
async fn finish_one(store: &SqliteStore) -> (Finish, Op, Answer<Vec<Finished>>) {
    accept(store, NOW).await;
    let claimed = store.claim(1, NOW, &mut Open).await.unwrap().remove(0);
    let finish = ending(&claimed, NOW, Disposition::Complete);
    let (to, answer) = oneshot::channel();
    let op = Op::Finish { ends: vec![End::of(&finish)], to };
    (finish, op, answer)
}

#[tokio::test]
async fn who_would_write_what_makes_no_sense_takes_nobody_along() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let (finish, finishing, finished) = finish_one(&store).await;
    // Where the next job will be there is a payload already.
    let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    conn.execute("INSERT INTO payloads VALUES (?1, x'00')", [finish.lease.job.place() + 1]).unwrap();
    let (enqueue, enqueued) = enqueue(&store, 1);
    let begun = Begun { place: finish.lease.job.place(), n: 1, started_at: NOW };
    tell_at_once(&store, &folder, vec![begun], vec![finishing, enqueue]);
    let error = enqueued.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)) && store.health().is_ok(), "{error:?}");
    let error = finished.await.unwrap().unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    assert_eq!(store.finish(&[finish]).await.unwrap(), [Finished::Recorded]);
    accept(&store, NOW).await;
}

#[tokio::test]
async fn a_key_that_is_remembered_twice_keeps_no_job_from_being_deleted_and_nobody_else_waiting() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let keyed = JobSpec { idempotency_key: Some("k".to_owned()), ..spec(NOW, 1) };
    store.enqueue(vec![NewJob { spec: keyed, request_digest: [0; 32] }], NOW).await.unwrap();
    for _ in 0..2 {
        let (finish, ..) = finish_one(&store).await;
        store.finish(&[finish]).await.unwrap();
    }
    let (finish, finishing, finished) = finish_one(&store).await;
    let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    let sql =
        "INSERT INTO orphan_keys (place, key, created_ms, sum) SELECT min(place), 'other', created_ms, 0 FROM jobs";
    conn.execute(sql, ()).unwrap();
    let (prune, pruned) = prune(std::time::Duration::ZERO);
    let begun = Begun { place: finish.lease.job.place(), n: 1, started_at: NOW };
    tell_at_once(&store, &folder, vec![begun], vec![prune, finishing]);
    assert_eq!(finished.await.unwrap().unwrap(), [Finished::Recorded]);
    assert_eq!(pruned.await.unwrap().unwrap().jobs, 1);
}

#[tokio::test]
async fn an_attempt_that_shares_a_group_with_a_pruning_is_known_after_a_crash() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    accept(&store, NOW).await;
    let claimed = store.claim(1, NOW, &mut Open).await.unwrap().remove(0);
    let again = Disposition::Retry { at: NOW, counted: true };
    let (to, finished) = oneshot::channel();
    let finish = Op::Finish { ends: vec![End::of(&ending(&claimed, NOW, again))], to };
    let (prune, pruned) = prune(std::time::Duration::from_hours(24));
    let begun = Begun { place: claimed.lease.job.place(), n: 1, started_at: NOW };
    tell_at_once(&store, &folder, vec![begun], vec![finish, prune]);
    assert_eq!(finished.await.unwrap().unwrap(), [Finished::Recorded]);
    assert_eq!(pruned.await.unwrap().unwrap().jobs, 0);
    // What an opening would find now. A store that is closed in order writes its floor once more.
    let disk = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    let newest: i64 = disk.query_row("SELECT max(seq) FROM attempts", (), |row| row.get(0)).unwrap();
    let floor = recover::meta(&disk, "attempts_floor").unwrap();
    assert!(floor <= newest, "the opening looks from {floor} on, and the job's attempt is {newest}");
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
    assert_eq!(store.prune(retention, UnixMs(NOW.0 + 9), 9).await.unwrap().jobs, 2);
}

#[tokio::test]
async fn of_a_batch_with_one_damaged_job_nothing_is_written_and_the_others_can_be() {
    // Of another type, and a number that was never given.
    for damage in ["'x'", "99"] {
        one_of_a_batch_is_damaged(damage).await;
    }
}

async fn one_of_a_batch_is_damaged(damage: &str) {
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
    let sql = format!("UPDATE jobs SET last_attempt = {damage} WHERE place = ?1");
    assert_eq!(loose.execute(&sql, [ids[2].place()]).unwrap(), 1);
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

#[tokio::test]
async fn many_changes_of_one_job_make_nobody_else_wait() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let (contested, other) = (accept(&store, NOW).await, accept(&store, NOW).await);
    let (mut acts, order) = (Vec::new(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut told = Vec::new();
    let mut note = |what: String, answer: Answer<Acted>| {
        let order = order.clone();
        told.push(tokio::spawn(async move {
            let answer = answer.await.unwrap().unwrap();
            order.lock().unwrap().push(what);
            answer
        }));
    };
    for n in 0..6 {
        let (to, answer) = oneshot::channel();
        acts.push(if n % 2 == 0 {
            Op::Cancel { id: contested, now: NOW, to }
        } else {
            Op::Retry { id: contested, now: NOW, to }
        });
        note(format!("act {n}"), answer);
    }
    let (to, answer) = oneshot::channel();
    acts.push(Op::Cancel { id: other, now: NOW, to });
    note("other".to_owned(), answer);
    tell_at_once(&store, &folder, Vec::new(), acts);
    for told in told {
        assert_eq!(told.await.unwrap(), Acted::Done, "each comes behind the one before it");
    }
    let order = order.lock().unwrap();
    assert!(order.iter().position(|what| what == "other") < Some(2), "{order:?}");
    assert_eq!(order.iter().filter(|what| *what != "other").count(), 6);
}
