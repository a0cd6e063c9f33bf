//! What people do to jobs, and what time does.

use std::time::Duration;

use windlass::clock::UnixMs;
use windlass::job::{EndState, JobId, State};
use windlass::store::{Act, ActKind, Acted, Retention};

use super::{Book, Job};

/// How long an idempotency key is remembered at least.
const KEY_RETENTION: Duration = Duration::from_secs(86_400);

impl Book {
    /// A person calls a job off.
    pub fn cancel(&mut self, id: JobId, now: UnixMs) -> Acted {
        let Some(job) = self.jobs.get_mut(&id.place()).filter(|job| job.id == id) else { return Acted::Unknown };
        if let Some((end, _)) = job.end {
            return Acted::NotIn(end.into());
        }
        job.end = Some((EndState::Cancelled, now));
        job.acts.push(Act { at: now, what: ActKind::Cancel });
        job.ghost = job.attempt.take().or(job.ghost);
        *self.ended.entry(State::Cancelled.name()).or_default() += 1;
        Acted::Done
    }

    /// A person wants a job to be tried now.
    pub fn retry(&mut self, id: JobId, now: UnixMs) -> Acted {
        let Some(job) = self.jobs.get_mut(&id.place()).filter(|job| job.id == id) else { return Acted::Unknown };
        let state = job.state(now);
        let is_allowed = match state {
            State::Scheduled | State::Retryable | State::Discarded | State::Cancelled => true,
            State::Available => job.held,
            State::Running | State::Completed => false,
        };
        if !is_allowed {
            return Acted::NotIn(state);
        }
        (job.end, job.held, job.due, job.owed) = (None, false, now, true);
        job.acts.push(Act { at: now, what: ActKind::Retry });
        Acted::Done
    }

    /// The grants of a plugin were edited; attempts under tokens before `next_token` began under the old ones.
    pub fn unhold(&mut self, plugin: &str, next_token: i64) {
        self.edited.insert(plugin.to_owned(), next_token);
        for job in self.jobs.values_mut().filter(|job| job.spec.plugin == plugin && job.end.is_none()) {
            job.held = false;
        }
    }

    /// Deletes what is past its retention.
    pub fn prune(&mut self, retention: Retention, now: UnixMs, most: usize) -> usize {
        let mut past = Vec::new();
        for end in EndState::ALL {
            let cutoff = now.before(retention.of(end));
            let is_past = |job: &&Job| job.end.is_some_and(|(of, at)| of == end && at <= cutoff);
            let left = most - past.len();
            past.extend(self.jobs.iter().filter(|(_, job)| is_past(job)).map(|(place, _)| *place).take(left));
        }
        for place in &past {
            if let Some(ghost) = self.jobs.remove(place).and_then(|job| job.ghost) {
                self.strays.extend(ghost.token.map(|token| (*place, token)));
            }
        }
        let jobs = &self.jobs;
        self.keys.retain(|_, key| {
            let lives = jobs.contains_key(&key.id.place());
            lives || key.created_at.after(KEY_RETENTION) > now
        });
        past.len()
    }
}
