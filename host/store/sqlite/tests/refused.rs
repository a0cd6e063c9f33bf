//! What becomes of each kind of call in a group that does not come about: its caller is told, and what nobody is told of is
//! written with the next.

use super::groups::{Answer, enqueue, tell_at_once};
use super::*;

/// How a group does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Another program holds the lock, so that it cannot begin.
    NotBegun,
    /// The disk has no room for all of it.
    Undone,
}

/// A call, and what its caller hears.
struct Told {
    name: &'static str,
    op: Op,
    answer: std::pin::Pin<Box<dyn Future<Output = Result<(), StoreError>>>>,
}

fn told<T: 'static>(op: Op, answer: Answer<T>) -> Told {
    let answer = Box::pin(async { answer.await.expect("whoever asks is answered").map(drop) });
    Told { name: name(&op), op, answer }
}

/// One that is made of the way to answer.
fn asked<T: 'static>(op: impl FnOnce(writer::To<T>) -> Op) -> Told {
    let (to, answer) = oneshot::channel();
    told(op(to), answer)
}

/// A kind of call that is not named here does not compile.
fn name(op: &Op) -> &'static str {
    match op {
        Op::Enqueue { .. } => "enqueue",
        Op::Start { .. } => "start",
        Op::Begun => "begun",
        Op::Release { .. } => "release",
        Op::Finish { .. } => "finish",
        Op::Cancel { .. } => "cancel",
        Op::Retry { .. } => "retry",
        Op::Unhold { .. } => "unhold",
        Op::Prune { .. } => "prune",
        Op::SetStanding { .. } => "standing",
    }
}

/// A store with jobs for the calls to change.
struct Bench {
    folder: TempDir,
    store: SqliteStore,
    /// Handed out, with nothing on disk of it yet.
    handed: Vec<Claimed>,
    waiting: [JobId; 2],
}

impl Bench {
    async fn new(pages_max: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let options = SqliteOptions { pages_max: Some(pages_max), ..Default::default() };
        let store = open_with(&folder, options).unwrap();
        let waiting = [accept(&store, NOW.moved(99_000)).await, accept(&store, NOW.moved(99_000)).await];
        for _ in 0..4 {
            accept(&store, NOW).await;
        }
        let handed = store.shared.memory().live.claim(9, NOW, &mut Open);
        let (handed, _) = store.shared.with_specs(&handed).await.unwrap();
        Self { folder, store, handed, waiting }
    }

    /// A call of each kind, of a job of its own where it is of one.
    fn calls(&self) -> Vec<Told> {
        let [of_finish, of_release, of_start, _] = &self.handed[..] else { panic!("{:?}", self.handed) };
        let [cancelled, retried] = self.waiting;
        let (accepting, accepted) = enqueue(&self.store, 1);
        let at_once = std::time::Duration::ZERO;
        let retention = Retention { completed: at_once, cancelled: at_once, discarded: at_once };
        let paused = Standing::Plugin { name: "echo".to_owned(), paused: true };
        vec![
            told(accepting, accepted),
            asked(|to| Op::Finish { ends: vec![End::of(&ending(of_finish, NOW, Disposition::Complete))], to }),
            asked(|to| Op::Cancel { id: cancelled, now: NOW, to }),
            asked(|to| Op::Retry { id: retried, now: NOW, to }),
            asked(|to| Op::Release { leases: vec![of_release.lease], to }),
            asked(|to| Op::Unhold { plugin: "echo".to_owned(), to }),
            asked(|to| Op::Prune { retention, now: NOW, most: 9, to }),
            asked(|to| Op::SetStanding { standing: paused, to }),
            asked(|to| Op::Start { begun: vec![begun(of_start)], to }),
        ]
    }

    fn on_disk(&self) -> Connection {
        let conn = Connection::open(self.folder.path().join("data/windlass.db")).unwrap();
        sums::register(&conn).unwrap();
        conn
    }

    /// The jobs of which the disk knows that an attempt has begun.
    fn known(&self) -> Vec<i64> {
        let mut known: Vec<i64> = begun::read(&self.on_disk()).unwrap().into_keys().collect();
        known.sort_unstable();
        known
    }

    /// Everything else that the calls would change.
    fn rows(&self) -> [i64; 6] {
        let conn = self.on_disk();
        let count = |sql: &str| conn.query_row(sql, (), |row| row.get(0)).unwrap();
        [
            count("SELECT count(*) FROM jobs"),
            count("SELECT count(*) FROM jobs WHERE end_state IS NULL"),
            count("SELECT count(*) FROM attempts"),
            count("SELECT count(*) FROM acts"),
            count("SELECT count(*) FROM unholds"),
            count("SELECT count(*) FROM paused_plugins"),
        ]
    }
}

fn begun(claimed: &Claimed) -> Begun {
    Begun { place: claimed.lease.job.place(), n: claimed.attempt, started_at: claimed.started_at }
}

#[tokio::test]
async fn whatever_is_refused_is_told_or_written_later() {
    for way in [Way::NotBegun, Way::Undone] {
        let bench = Bench::new(120).await;
        if way == Way::Undone {
            while bench
                .store
                .enqueue(vec![NewJob { spec: spec(NOW.moved(99_000), 20_000), request_digest: [0; 32] }], NOW)
                .await
                .is_ok()
            {}
        }
        let (calls, before) = (bench.calls(), bench.rows());
        let (mut ops, mut answers) = (Vec::new(), Vec::new());
        for Told { name, op, answer } in calls {
            ops.push(op);
            answers.push((name, answer));
        }
        let unheard = begun(&bench.handed[3]);
        match way {
            Way::NotBegun => {
                let foreign = bench.on_disk();
                foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
                assert!(bench.store.shared.add_begun(vec![unheard]));
                ops.into_iter().chain([Op::Begun]).for_each(|op| bench.store.tell(op).unwrap());
                for (name, answer) in &mut answers {
                    let told = answer.await.unwrap_err();
                    assert!(told.is_passing(), "{way:?} {name}: {told:?}");
                }
                foreign.execute_batch("ROLLBACK").unwrap();
            }
            Way::Undone => {
                let (too_much, _) = enqueue(&bench.store, 20_000);
                ops.extend([Op::Begun, too_much]);
                tell_at_once(&bench.store, &bench.folder, vec![unheard], ops);
                for (name, answer) in &mut answers {
                    let told = answer.await.unwrap_err();
                    assert!(told.is_passing(), "{way:?} {name}: {told:?}");
                }
            }
        }
        assert_eq!(bench.rows(), before, "{way:?}: something was done though it was refused");
        // The next commit, whatever it is for, carries what nobody can tell of again.
        bench.store.set_standing(Standing::Plugin { name: "hook".to_owned(), paused: false }).await.unwrap();
        let mut places = [begun(&bench.handed[2]).place, unheard.place];
        places.sort_unstable();
        assert_eq!(bench.known(), places, "{way:?}: an attempt that began is not known");
        // And who was told can come again.
        for Told { name, op, answer } in bench.calls() {
            if way == Way::NotBegun || !matches!(op, Op::Enqueue { .. }) {
                bench.store.tell(op).unwrap();
                answer.await.unwrap_or_else(|error| panic!("{way:?} {name}: {error}"));
            }
        }
        assert_ne!(bench.rows(), before);
    }
}
