//! Attempts that are not over though their job was cancelled: those that still run, and those that a dead host left
//! behind. Both are recorded when they end, and the job does not run again before that.

use super::{Entry, Handed, Lane, LiveSet, Phase, Unfinished};
use crate::clock::UnixMs;
use crate::job::JobId;

/// Such an attempt.
#[derive(Debug)]
pub(super) struct Ghost {
    pub(super) id: JobId,
    /// Its right; none where a dead host left it behind and nobody has taken it over.
    pub(super) token: Option<i64>,
    /// Its number.
    pub(super) attempt: u32,
    /// How many counted attempts failed before.
    pub(super) failed_before: u32,
    pub(super) started_at: UnixMs,
    pub(super) lane: Lane,
}

impl LiveSet {
    /// A person called off a job of that plugin, be it in memory or on disk only. An attempt that is not over becomes a
    /// ghost.
    pub fn cancel(&mut self, place: i64, plugin: &str) {
        match self.entries.get(place) {
            Some(entry) => {
                let (token, started_at) = match entry.phase() {
                    Phase::Running { token, started_at } => (Some(token), started_at),
                    Phase::Interrupted { started_at } => (None, started_at),
                    Phase::Delayed | Phase::Ready | Phase::Held | Phase::Barred => return self.end(place),
                };
                let Entry { tail, attempts, failed, lane, .. } = *entry;
                let (id, lane) = (JobId::from_parts(place, tail), self.lanes.name(lane).clone());
                self.end(place);
                self.haunt(Ghost { id, token, attempt: attempts + 1, failed_before: failed, started_at, lane });
            }
            None => {
                self.lanes.end_on_disk(plugin);
                self.end(place);
            }
        }
    }

    /// Whether an attempt of that job is not over though the job was cancelled.
    #[must_use]
    pub fn is_haunted(&self, place: i64) -> bool {
        self.ghosts.contains_key(&place)
    }

    /// A dead host left an attempt of `job` behind, which was cancelled: `job.interrupted` says when it began.
    pub fn leave_ghost(&mut self, job: &Unfinished, lane: Lane) {
        let Some(started_at) = job.interrupted else { return };
        let (attempt, failed_before) = (job.attempts + 1, job.failed);
        self.haunt(Ghost { id: job.id, token: None, attempt, failed_before, started_at, lane });
    }

    fn haunt(&mut self, ghost: Ghost) {
        let place = ghost.id.place();
        if ghost.token.is_none() {
            self.interrupted.insert(place);
        }
        self.ghosts.insert(place, ghost);
    }

    /// Hands out the attempts that a dead host left behind, to be recorded as interrupted.
    pub fn rescue(&mut self) -> Vec<Handed> {
        let left_behind = std::mem::take(&mut self.interrupted);
        left_behind.into_iter().filter_map(|place| self.take_over(place)).collect()
    }

    fn take_over(&mut self, place: i64) -> Option<Handed> {
        if let Some(Phase::Interrupted { started_at }) = self.entries.get(place).map(Entry::phase) {
            return Some(self.start(place, started_at));
        }
        let token = self.new_token();
        let ghost = self.ghosts.get_mut(&place).filter(|ghost| ghost.token.is_none())?;
        ghost.token = Some(token);
        Some(Handed {
            id: ghost.id,
            token,
            attempt: ghost.attempt,
            failed_before: ghost.failed_before,
            spared: 0,
            owed: false,
            started_at: ghost.started_at,
            suspect: false,
        })
    }

    /// The attempt of a cancelled job ended; its row, if it was kept, has the number `newest`.
    pub fn lay_ghost(&mut self, place: i64, newest: Option<i64>, now: UnixMs) {
        let Some(Ghost { attempt, .. }) = self.ghosts.remove(&place) else { return };
        let Some(entry) = self.entries.get_mut(place) else { return };
        let is_barred = entry.phase() == Phase::Barred;
        if let Some(newest) = newest {
            entry.attempts = entry.attempts.max(attempt);
            self.entries.set_newest(place, newest, true);
        }
        if is_barred {
            self.unsettle(place);
            self.settle(place, Phase::Ready, now);
            self.shrink();
        }
    }
}
