//! Random histories: what is read back from disk is what was in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::job::live::{Phase, Unfinished};

#[derive(Clone, Debug)]
enum Step {
    Accept { delay: i64 },
    Claim { most: usize },
    End { pick: usize, disposition: usize, delay: i64 },
    Release { pick: usize },
    Cancel { pick: usize },
    Retry { pick: usize },
    Unhold,
    Prune,
    Advance { ms: i64 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..50_i64).prop_map(|delay| Step::Accept { delay }),
        3 => (1..4_usize).prop_map(|most| Step::Claim { most }),
        5 => (any::<usize>(), 0..7_usize, 0..50_i64)
            .prop_map(|(pick, disposition, delay)| Step::End { pick, disposition, delay }),
        1 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Retry { pick }),
        1 => Just(Step::Unhold),
        1 => Just(Step::Prune),
        2 => (0..40_i64).prop_map(|ms| Step::Advance { ms }),
    ]
}

struct History {
    store: SqliteStore,
    now: UnixMs,
    ids: Vec<JobId>,
    running: Vec<Claimed>,
}

impl History {
    async fn take(&mut self, step: Step) {
        let store = &self.store;
        match step {
            Step::Accept { delay } => self.ids.push(accept(store, UnixMs(self.now.0 + delay)).await),
            Step::Claim { most } => {
                let claimed = store.claim(most, self.now, &mut Open).await.unwrap();
                for job in &claimed {
                    let twin = |other: &Claimed| other.lease.job == job.lease.job;
                    assert!(!self.running.iter().any(twin), "two attempts of one job at once");
                }
                self.running.extend(claimed);
            }
            Step::End { pick, disposition, delay } if !self.running.is_empty() => {
                let claimed = self.running.remove(pick % self.running.len());
                let again = |counted| Disposition::Retry { at: UnixMs(self.now.0 + delay), counted };
                let disposition = match disposition {
                    0 => Disposition::Complete,
                    1 => Disposition::Discard,
                    2 => Disposition::Cancel,
                    3 => Disposition::Hold,
                    other => again(other > 4),
                };
                store.finish(&[ending(&claimed, self.now, disposition)]).await.unwrap();
            }
            Step::Release { pick } if !self.running.is_empty() => {
                let claimed = self.running.remove(pick % self.running.len());
                store.release(vec![claimed.lease]).await.unwrap();
            }
            Step::Cancel { pick } if !self.ids.is_empty() => {
                store.cancel(self.ids[pick % self.ids.len()], self.now).await.unwrap();
            }
            Step::Retry { pick } if !self.ids.is_empty() => {
                store.retry(self.ids[pick % self.ids.len()], self.now).await.unwrap();
            }
            Step::Unhold => store.unhold("echo").await.unwrap(),
            Step::Prune => {
                let keep = std::time::Duration::from_millis(30);
                let retention = Retention { completed: keep, cancelled: keep, discarded: keep };
                store.prune(retention, self.now, 3).await.unwrap();
            }
            Step::Advance { ms } => self.now.0 += ms,
            Step::End { .. } | Step::Release { .. } | Step::Cancel { .. } | Step::Retry { .. } => {}
        }
    }

    fn in_memory(&self) -> BTreeMap<JobId, Unfinished> {
        let memory = self.store.shared.memory();
        let entry = |id: &JobId| memory.live.get(*id).map(|entry| (*id, comparable(entry.waiting(*id), entry.phase())));
        self.ids.iter().filter(|id| !self.is_barred(&memory, **id)).filter_map(entry).collect()
    }

    /// Whether a cancelled attempt of a job that goes on still runs: after a crash it would be an interrupted one.
    fn is_barred(&self, memory: &Memory, id: JobId) -> bool {
        memory.live.get(id).is_some_and(|entry| entry.phase() == Phase::Barred)
    }

    /// What an opening would find on disk at this moment.
    async fn on_disk(&self) -> BTreeMap<JobId, Unfinished> {
        // The last starts ride a commit: this one.
        let standing = Standing::Plugin { name: "echo".to_owned(), paused: true };
        self.store.set_standing(standing).await.unwrap();
        let copy = TempDir::new().unwrap();
        for name in ["windlass.db", "windlass.db-wal"] {
            let path = self.store.shared.readers.path().with_file_name(name);
            std::fs::copy(path, copy.path().join(name)).unwrap();
        }
        let path = copy.path().join("windlass.db");
        let conn = Connection::open(&path).unwrap();
        let found = recover::recover(&conn, &path, 10_000, None).unwrap().live;
        let entry = |id: &JobId| found.get(*id).map(|entry| (*id, comparable(entry.waiting(*id), entry.phase())));
        let memory = self.store.shared.memory();
        self.ids.iter().filter(|id| !self.is_barred(&memory, **id)).filter_map(entry).collect()
    }
}

/// What the disk must know of a job: all but where its newest attempt is noted, and who may have died of it.
fn comparable(job: Unfinished, phase: Phase) -> Unfinished {
    let interrupted = match phase {
        Phase::Running { started_at, .. } | Phase::Interrupted { started_at } => Some(started_at),
        Phase::Delayed | Phase::Ready | Phase::Held | Phase::Barred => None,
    };
    Unfinished { anchored: false, suspect: false, interrupted, ..job }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..Default::default() })]

    #[test]
    fn the_disk_holds_what_the_memory_knows(steps in prop::collection::vec(steps(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let mut history = History { store: open(&folder).unwrap(), now: NOW, ids: Vec::new(), running: Vec::new() };
            for (index, step) in steps.into_iter().enumerate() {
                history.take(step).await;
                if index % 16 == 15 {
                    assert_eq!(history.in_memory(), history.on_disk().await);
                }
            }
            assert_eq!(history.in_memory(), history.on_disk().await);
            let known = |id: &&JobId| history.store.shared.memory().live.get(**id).is_some();
            assert_eq!(history.store.counts().unfinished, history.ids.iter().filter(known).count() as u64);
            let path = history.store.shared.readers.path().to_path_buf();
            for in_use in [true, false] {
                let report = examine(&path, folder.path()).unwrap();
                assert!(report.whole && report.in_use == in_use, "{report:#?}");
                // The second time it has been closed.
                history = History { store: open(&TempDir::new().unwrap()).unwrap(), ..history };
            }
        });
    }
}
