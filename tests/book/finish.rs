//! Attempts: handed out, taken back, and ended.

use windlass::clock::UnixMs;
use windlass::job::{Disposition, EndState, State};
use windlass::store::{AttemptView, Claimed, Finish, Finished, Lease};

use super::{Book, Job};

/// An attempt that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The token of its right; none where a dead host left it behind and nobody has taken it over.
    pub token: Option<i64>,
    pub n: u32,
    pub started_at: UnixMs,
}

/// What a result is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It decides about its job.
    Decides,
    /// It is kept, and decides nothing.
    Ghost,
    /// Nothing.
    Void,
}

impl Book {
    /// A job was handed out: in memory, until [`Self::note_start`] has its start on disk.
    pub fn begin(&mut self, claimed: &Claimed) {
        let begun = Begun { token: Some(claimed.lease.token), n: claimed.attempt, started_at: claimed.started_at };
        let job = self.jobs.get_mut(&claimed.lease.job.place()).expect("a job that is handed out is in the book");
        if let Some(left) = job.ghost.filter(|ghost| ghost.token.is_none()) {
            assert_eq!(Begun { token: None, ..begun }, left, "{job:?} was handed out, and not what was left behind");
            job.ghost = Some(begun);
            return;
        }
        assert!(job.end.is_none() && job.ghost.is_none(), "{job:?} was handed out");
        assert!(job.attempt.is_none_or(|left| left.token.is_none()), "{job:?} was handed out twice");
        job.attempt = Some(begun);
    }

    /// The starts of all attempts under way come on disk, as they ride a commit.
    pub fn note_starts(&mut self) {
        self.jobs.values_mut().for_each(Job::note_start);
    }

    /// What a result under this right is worth.
    pub fn worth(&self, lease: Lease) -> Worth {
        let holds = |begun: &Option<Begun>| begun.is_some_and(|begun| begun.token == Some(lease.token));
        match self.jobs.get(&lease.job.place()) {
            Some(job) if holds(&job.attempt) => Worth::Decides,
            Some(job) if holds(&job.ghost) => Worth::Ghost,
            None if self.strays.get(&lease.job.place()) == Some(&lease.token) => Worth::Ghost,
            _ => Worth::Void,
        }
    }

    /// A job that was not begun is given back.
    pub fn release(&mut self, lease: Lease) {
        let worth = self.worth(lease);
        if worth == Worth::Void {
            return;
        }
        self.strays.remove(&lease.job.place());
        let Some(job) = self.jobs.get_mut(&lease.job.place()) else { return };
        (job.attempt, job.ghost, job.start) = (None, None, None);
    }

    /// Records the end of an attempt.
    pub fn finish(&mut self, finish: &Finish) -> Finished {
        let worth = self.worth(finish.lease);
        let edited = self.jobs.get(&finish.lease.job.place()).and_then(|job| self.edited.get(&job.spec.plugin));
        let is_older = edited.is_some_and(|first| finish.lease.token < *first);
        if worth == Worth::Ghost {
            self.strays.remove(&finish.lease.job.place());
        }
        let Some(job) = self.jobs.get_mut(&finish.lease.job.place()) else { return Finished::Fenced };
        match worth {
            Worth::Void => return Finished::Fenced,
            Worth::Ghost => {
                job.ghost = None;
                job.start = None;
                job.attempts.push(view(finish, None));
                return Finished::Fenced;
            }
            Worth::Decides => {}
        }
        // An edit of the grants while the attempt ran: it is not held for what may be granted by now.
        let again = Disposition::Retry { at: finish.finished_at, counted: false };
        let is_held = finish.disposition == Disposition::Hold && !is_older;
        let disposition = if finish.disposition == Disposition::Hold && is_older { again } else { finish.disposition };
        job.finish(finish, disposition, is_held);
        if let Some((end, _)) = job.end {
            *self.ended.entry(State::from(end).name()).or_default() += 1;
        }
        Finished::Recorded
    }
}

impl Job {
    /// The start of its attempt comes on disk.
    pub fn note_start(&mut self) {
        self.start = self.attempt.or(self.ghost).map(|begun| Begun { token: None, ..begun }).or(self.start);
    }

    fn finish(&mut self, finish: &Finish, disposition: Disposition, is_held: bool) {
        (self.attempt, self.start) = (None, None);
        let next = if let Disposition::Retry { at, .. } = disposition { Some(at) } else { None };
        self.attempts.push(view(finish, next));
        self.held = is_held;
        let end = match disposition {
            Disposition::Retry { at, counted } => {
                self.due = at;
                self.failed += u32::from(counted);
                self.owed &= !counted;
                return;
            }
            Disposition::Hold => {
                self.due = finish.finished_at;
                return;
            }
            Disposition::Complete => EndState::Completed,
            Disposition::Cancel => EndState::Cancelled,
            Disposition::Discard => {
                self.failed += 1;
                EndState::Discarded
            }
        };
        self.end = Some((end, finish.finished_at));
        self.result = finish.result.clone().filter(|_| end == EndState::Completed);
    }
}

fn view(finish: &Finish, next_run_at: Option<UnixMs>) -> AttemptView {
    AttemptView {
        n: finish.attempt,
        started_at: finish.started_at,
        finished_at: Some(finish.finished_at),
        kind: Some(finish.kind),
        error: finish.error.clone(),
        code: finish.code.clone(),
        delay_ms: finish.delay_ms,
        next_run_at,
        revision: finish.evidence.revision.clone(),
        cpu_us: finish.evidence.cpu_us,
        memory_peak_bytes: finish.evidence.memory_peak_bytes,
    }
}
