//! What people are shown.

use windlass::clock::UnixMs;
use windlass::job::live::waiting_state;
use windlass::job::{JobId, Lane, State};
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

    /// How many unfinished jobs of each lane stand where.
    pub fn lanes(&self, now: UnixMs) -> Vec<LaneCounts> {
        let mut lanes = std::collections::BTreeMap::<Lane, LaneCounts>::new();
        for job in self.unfinished() {
            let lane = job.spec.lane().to_lane();
            let blank = LaneCounts { lane: lane.clone(), available: 0, running: 0, later: 0, held: 0 };
            let counts = lanes.entry(lane).or_insert(blank);
            *match job {
                Job { attempt: Some(_), .. } => &mut counts.running,
                Job { held: true, .. } => &mut counts.held,
                Job { ghost: None, due, .. } if *due <= now => &mut counts.available,
                _ => &mut counts.later,
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
        let running = self.attempt.filter(|_| self.end.is_none()).map(|begun| running(begun.n, begun.started_at));
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
            result: self.result.clone(),
            attempts: self.attempts.iter().cloned().chain(running).collect(),
            acts: self.acts.clone(),
            last_error: self.attempts.iter().rev().find_map(|attempt| attempt.error.clone()),
        }
    }
}

/// An attempt that has not ended.
fn running(n: u32, started_at: UnixMs) -> AttemptView {
    AttemptView {
        n,
        started_at,
        finished_at: None,
        kind: None,
        error: None,
        code: None,
        delay_ms: None,
        next_run_at: None,
        revision: None,
        cpu_us: 0,
        memory_peak_bytes: 0,
    }
}
