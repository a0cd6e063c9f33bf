//! What people are shown.

use windlass::clock::UnixMs;
use windlass::job::live::{Tally, waiting_state};
use windlass::job::{JobId, State};
use windlass::store::{AttemptView, JobView, LaneCounts, ListFilter};

use super::{Book, Job};

impl Book {
    /// The job with all that belongs to it.
    pub fn view(&self, id: JobId, now: UnixMs) -> Option<JobView> {
        self.job(id).map(|job| job.view(now))
    }

    /// All jobs that a filter lets through, newest first, as a list shows them.
    pub fn list(&self, filter: &ListFilter, now: UnixMs) -> Vec<JobView> {
        let fits = |job: &&Job| {
            filter.state.is_none_or(|state| job.state(now) == state)
                && filter.plugin.as_ref().is_none_or(|plugin| job.spec.plugin == *plugin)
                && filter.downstream.as_ref().is_none_or(|downstream| job.spec.downstream == *downstream)
                && filter.labels.iter().all(|(name, value)| job.spec.labels.get(name) == Some(value))
                && filter.before.is_none_or(|before| job.id < before)
        };
        let short = |job: &Job| {
            let mut view = job.view(now);
            (view.result, view.attempts, view.acts) = (None, Vec::new(), Vec::new());
            view.spec.payload = Default::default();
            view
        };
        self.jobs.values().rev().filter(fits).map(short).collect()
    }

    /// Where the unfinished jobs of each downstream and each plugin that calls it stand, in their order.
    pub fn lanes(&self, now: UnixMs) -> Vec<LaneCounts> {
        let mut lanes = std::collections::BTreeMap::<_, LaneCounts>::new();
        for job in self.unfinished() {
            let lane = job.spec.lane().to_lane().whole().into_owned();
            let order = (lane.downstream.clone(), lane.plugin.clone());
            let counts = lanes.entry(order).or_insert(LaneCounts { lane, tally: Tally::default() });
            let tally = &mut counts.tally;
            *match job {
                Job { attempt: Some(_), .. } => &mut tally.running,
                Job { held: true, .. } => &mut tally.held,
                Job { ghost: None, due, .. } if *due <= now => &mut tally.available,
                _ => &mut tally.later,
            } += 1;
        }
        lanes.into_values().collect()
    }
}

impl Job {
    /// Where it stands.
    pub fn state(&self, now: UnixMs) -> State {
        match self.end {
            Some((end, _)) => end.into(),
            None if self.attempt.is_some() => State::Running,
            None if self.held => State::Available,
            None => waiting_state(self.due, self.last_n(), now),
        }
    }

    fn view(&self, now: UnixMs) -> JobView {
        let running =
            self.attempt.filter(|_| self.end.is_none()).map(|begun| AttemptView::begun(begun.n, begun.started_at));
        let attempt = running.as_ref().map_or(self.last_n(), |running| running.n);
        JobView {
            id: self.id,
            spec: self.spec.clone(),
            state: self.state(now),
            held: self.held && self.end.is_none(),
            created_at: self.created_at,
            run_at: self.due,
            finished_at: self.end.map(|(_, at)| at),
            attempt,
            failed: self.failed,
            owed: self.owed && self.end.is_none(),
            result: self.result.clone(),
            attempts: self.attempts.iter().cloned().chain(running).collect(),
            acts: self.acts.clone(),
            last_error: self.attempts.iter().rev().find_map(|attempt| attempt.error.clone()),
        }
    }
}
