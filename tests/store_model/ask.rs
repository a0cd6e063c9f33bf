//! The calls whose answers the book knows at once.

use std::pin::Pin;

use windlass::clock::UnixMs;
use windlass::job::health::{Hold, Kept};
use windlass::store::{Enqueued, Finish, Lease, NewJob, Standing};

use super::make::{self, ending, new_job};
use super::{RETENTION, START, Trial};
use crate::harness::Harness;
use crate::op::{Asked, Op, PLUGINS};

/// A call of the store, which compares the answer with the book's. An enqueue hands its answer on: only the store makes
/// ids.
type Call = Pin<Box<dyn Future<Output = Option<(Vec<NewJob>, Vec<Enqueued>)>>>>;

impl<H: Harness> Trial<H> {
    /// Whether that is a call, with anything to ask for. What the order of calls in flight decides is asked `alone`.
    pub(super) fn has_cause(&self, op: &Op, alone: bool) -> bool {
        match op {
            Op::End { .. } | Op::Release { .. } => !self.running.is_empty(),
            Op::EndAgain { .. } | Op::ReleaseAgain { .. } => !self.run_out.is_empty(),
            Op::Cancel { .. } | Op::Retry { .. } => !self.ids.is_empty(),
            Op::EditGrants { .. } | Op::Prune { .. } => alone,
            Op::Accept(_) | Op::Pause { .. } | Op::KeepHealth { .. } => true,
            _ => false,
        }
    }

    /// Has the book answer a call that has a cause, and returns the call of the store.
    pub(super) fn ask(&mut self, op: &Op) -> Call {
        match op {
            Op::Accept(asked) => self.accept(asked),
            Op::End { picks, how } => {
                let one = |pick: &usize| ending(&self.running[pick % self.running.len()], *how, self.now);
                self.finish(picks.iter().map(one).collect())
            }
            Op::EndAgain { pick, how } => {
                self.finish(vec![ending(&self.run_out[pick % self.run_out.len()], *how, self.now)])
            }
            Op::Release { pick } => self.release(self.running[pick % self.running.len()].lease),
            Op::ReleaseAgain { pick } => self.release(self.run_out[pick % self.run_out.len()].lease),
            Op::Cancel { pick } => self.cancel(*pick),
            Op::Retry { pick } => self.retry(*pick),
            Op::EditGrants { plugin } => self.edit_grants(PLUGINS[*plugin]),
            Op::Prune { most } => self.prune(*most),
            Op::Pause { plugin, paused } => {
                self.set_standing(Standing::Plugin { name: PLUGINS[*plugin].to_owned(), paused: *paused })
            }
            Op::KeepHealth { lane, hold_ms } => {
                let hold = |ms| Hold { until: Some(UnixMs(START.0 + ms)), cause: "a 429".to_owned() };
                let kept = Kept { hold: hold_ms.map(hold), ..Kept::default() };
                self.set_standing(Standing::Downstream { lane: make::lane(*lane), kept })
            }
            other => unreachable!("{other:?} is no call"),
        }
    }

    fn accept(&self, asked: &[Asked]) -> Call {
        let (store, now) = (self.store(), self.now);
        let jobs: Vec<_> = (self.ids.len()..).zip(asked).map(|(number, asked)| new_job(asked, number, now)).collect();
        Box::pin(async move {
            let answers = store.enqueue(jobs.clone(), now).await.unwrap();
            Some((jobs, answers))
        })
    }

    fn finish(&mut self, ends: Vec<Finish>) -> Call {
        let store = self.store();
        let known: Vec<_> = ends.iter().map(|end| self.book.finish(end)).collect();
        Box::pin(async move {
            assert_eq!(store.finish(&ends).await.unwrap(), known, "{ends:?}");
            None
        })
    }

    fn release(&mut self, lease: Lease) -> Call {
        let store = self.store();
        self.book.release(lease);
        Box::pin(async move {
            store.release(vec![lease]).await.unwrap();
            None
        })
    }

    fn cancel(&mut self, pick: usize) -> Call {
        let (store, now, id) = (self.store(), self.now, self.ids[pick % self.ids.len()]);
        let known = self.book.cancel(id, now);
        Box::pin(async move {
            assert_eq!(store.cancel(id, now).await.unwrap(), known, "cancel {id}");
            None
        })
    }

    fn retry(&mut self, pick: usize) -> Call {
        let (store, now, id) = (self.store(), self.now, self.ids[pick % self.ids.len()]);
        let known = self.book.retry(id, now);
        Box::pin(async move {
            assert_eq!(store.retry(id, now).await.unwrap(), known, "retry {id}");
            None
        })
    }

    fn edit_grants(&mut self, plugin: &'static str) -> Call {
        let store = self.store();
        self.book.unhold(plugin, self.last_token + 1);
        Box::pin(async move {
            store.unhold(plugin).await.unwrap();
            None
        })
    }

    fn prune(&mut self, most: usize) -> Call {
        let (store, now) = (self.store(), self.now);
        let known = self.book.prune(RETENTION, now, most);
        Box::pin(async move {
            let mut jobs = 0;
            loop {
                let pruned = store.prune(RETENTION, now, most - jobs).await.unwrap();
                jobs += pruned.jobs;
                if jobs == most || !pruned.more {
                    break;
                }
            }
            assert_eq!(jobs, known, "prune {most}");
            None
        })
    }

    fn set_standing(&mut self, standing: Standing) -> Call {
        let store = self.store();
        self.book.set_standing(standing.clone());
        Box::pin(async move {
            store.set_standing(standing).await.unwrap();
            None
        })
    }
}
