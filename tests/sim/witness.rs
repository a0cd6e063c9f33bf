//! Who watches the attempts: what must hold whenever one begins, does something, or ends.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use windlass::clock::UnixMs;
use windlass::job::units::TimeSpan;
use windlass::job::{Disposition, Jitter, Outcome, OutcomeKind, RetryPolicy};
use windlass::plugin::Call;
use windlass::store::Finish;

use crate::attempt::{Attempt, is_retried};
use crate::book::{Job, Worth};
use crate::plan::{DOWNSTREAMS, PLUGINS, Plan};
use crate::world::{Running, State, Track, World};

impl<'a> Attempt<'a> {
    /// An attempt begins.
    pub fn begin(world: &'a Arc<World>, life: u32, plugin: usize, call: &Call) -> Self {
        let place = call.job.place();
        let mut state = world.state();
        let track = state.tracks.get(&place).expect("whatever runs was accepted").clone();
        let downstream = DOWNSTREAMS.iter().position(|name| *name == track.spec.downstream).expect("one of ours");
        let running = Running {
            number: track.number,
            plugin,
            downstream: plugin * DOWNSTREAMS.len() + downstream,
            limit_key: track.spec.limit_key.clone(),
            is_out: false,
        };
        let (number, downstream) = (track.number, running.downstream);
        let mut probes = None;
        if life == state.life.n && !state.life.is_dead {
            state.tally.count("attempt");
            state.check_call(&track, call, life);
            state.check_room(&world.plan, &running);
            if state.life.running.insert(place, running).is_some() {
                state.accuse(format!("job {number} runs twice at once"));
            }
            state.check_pause(plugin, downstream, number, place);
            probes = state.check_breaker(&world.plan, &track, place);
        }
        Self { world, life, downstream, place, number, n: call.attempt, probes }
    }

    /// The request is on its way.
    pub fn send(&self) {
        let mut state = self.world.state();
        let outage = &mut state.downstreams[self.downstream].outage;
        outage.calls += 1;
        if let Some(running) = state.life.running.get_mut(&self.place) {
            running.is_out = true;
        }
    }

    /// The downstream does it.
    pub fn do_it(&self) {
        let mut state = self.world.state();
        if let Some(running) = state.life.running.get_mut(&self.place) {
            running.is_out = false;
        }
        state.done(self.place);
        if state.tracks[&self.place].effects > 1 {
            state.tally.count("duplicate effect");
        }
    }

    /// The plugin was told that it is done.
    pub fn answered(&self) {
        let mut state = self.world.state();
        let life = self.life;
        state.tracks.get_mut(&self.place).expect("it runs").done_in = Some(life);
    }

    /// Time went by, and nobody told it to end.
    pub fn goes_on(&self) {
        let mut state = self.world.state();
        let called_off = state.tracks[&self.place].called_off;
        let now = state.host_now();
        // After a crash that took the beginning of an attempt the next one has its number.
        if let Some((.., at)) = called_off.filter(|(life, n, at)| (*life, *n) == (self.life, self.n) && *at < now) {
            state.accuse(format!("job {} was cancelled at {at}, and its attempt goes on", self.number));
        }
    }

    /// An attempt is over, in which the downstream was called or not.
    pub fn end(&self, outcome: &Outcome, has_called: bool) {
        let mut state = self.world.state();
        state.life.running.remove(&self.place);
        let says_nothing = !matches!(outcome.kind(), OutcomeKind::TryAgain | OutcomeKind::Completed);
        state.downstreams[self.downstream].outage.silent += u64::from(says_nothing);
        let opening = state.opening(&state.tracks[&self.place]);
        if let Outcome::RateLimited(setback) = outcome
            && state.life.n == self.life
        {
            let asked = Duration::from_millis(setback.delay_ms.unwrap_or(0).into());
            let (now, cap) = (state.host_now(), self.world.plan.config.retry.cap.0);
            let until = now.after(asked.min(cap));
            let before = state.downstreams[self.downstream].asked;
            if before.is_none_or(|(_, before)| before < until) {
                state.downstreams[self.downstream].asked = Some((now, until));
            }
        }
        let n = self.n;
        // What the plugin does by itself, without a call, is held against its job all the same.
        let still = self.probes.is_some() && opening == self.probes && has_called;
        state.tracks.get_mut(&self.place).expect("it ran").probe = still.then_some(n);
    }
}

impl State {
    /// A job is cancelled: its attempt is told at once.
    pub fn call_off(&mut self, place: i64) {
        let (now, life) = (self.host_now(), self.life.n);
        let ghost = self.book.jobs.get(&place).and_then(|job| job.ghost);
        if let Some(track) = self.tracks.get_mut(&place) {
            track.called_off = ghost.map(|begun| (life, begun.n, now));
        }
    }

    /// The host is ready: what an earlier life left behind is recorded.
    pub fn check_rescue(&mut self) {
        let is_left = |job: &&Job| job.attempt.or(job.ghost).is_some_and(|begun| begun.token.is_none());
        if let Some(left) = self.book.jobs.values().find(is_left).map(|job| format!("{job:?} is left as it was")) {
            self.accuse(left);
        }
    }

    /// What must hold of a call whatever else goes on.
    fn check_call(&mut self, track: &Track, call: &Call, life: u32) {
        let (number, n) = (track.number, call.attempt);
        let job = self.book.job(call.job).expect("whatever runs is in the book");
        let claimed = job.attempt.or(job.ghost);
        let was_completed = job.attempts.iter().any(|attempt| attempt.kind == Some(OutcomeKind::Completed));
        let wrong = if call.idempotency_key != track.key {
            Some(format!("comes under the key {} and not {}", call.idempotency_key, track.key))
        } else if claimed.is_none_or(|begun| begun.n != n) {
            Some(format!("runs as attempt {n}, and was handed out as {claimed:?}"))
        } else if job.last_n() >= n {
            Some(format!("repeats the number {n}"))
        } else if job.failed >= call.max_attempts {
            Some(format!("has failed {} times of {}", job.failed, call.max_attempts))
        } else if was_completed && job.end.is_some() {
            Some("runs though it is completed".to_owned())
        } else if track.done_in == Some(life) {
            Some("runs again in one life though it was done".to_owned())
        } else if track.done_in.is_some_and(|done_in| self.orderly.contains(&done_in)) {
            Some("runs again though it was done in a life that ended in order".to_owned())
        } else if self.life.failed_at.is_some_and(|failed_at| failed_at < self.host_now()) {
            Some("runs though the store has failed".to_owned())
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.accuse(format!("job {number} {wrong}: {job:?}", job = self.book.job(call.job)));
        }
        if track.effects > 0 && track.done_in.is_some_and(|done_in| done_in < life) {
            self.tally.count("duplicate effect after a crash");
        }
    }

    /// No limit is exceeded by one more.
    fn check_room(&mut self, plan: &Plan, more: &Running) {
        let others = |fits: &dyn Fn(&Running) -> bool| {
            u32::try_from(self.life.running.values().filter(|running| fits(running)).count()).expect("few")
        };
        let all = others(&|_| true) + 1;
        let of_plugin = others(&|running| running.plugin == more.plugin) + 1;
        let of_key = others(&|running| {
            running.plugin == more.plugin && running.limit_key.is_some() && running.limit_key == more.limit_key
        });
        let gates = self.life.gates.clone();
        let ceiling = gates.map_or(u32::MAX, |gates| {
            gates.lock().unwrap_or_else(PoisonError::into_inner).bounds(PLUGINS[more.plugin]).ceiling
        });
        if all > plan.config.limits.concurrency || of_plugin > ceiling || of_key > 0 {
            self.accuse(format!(
                "job {} is one too many: {all} of all, {of_plugin} of its plugin, which may have {ceiling}, {of_key} more \
                 of its limit key",
                more.number
            ));
        }
    }

    /// Neither its plugin nor its downstream was to wait before the attempt was let in: its beginning may have had to
    /// come on disk first.
    fn check_pause(&mut self, plugin: usize, downstream: usize, number: usize, place: i64) {
        let now = self.host_now();
        let begun = self.book.jobs[&place].attempt.map_or(now, |begun| begun.started_at);
        if let Some(at) = self.paused[plugin].filter(|at| *at < begun) {
            self.accuse(format!("job {number} begins at {now}, and its plugin was paused at {at}"));
        }
        let asked = self.downstreams[downstream].asked;
        if let Some((at, until)) = asked.filter(|(at, until)| *at < begun && now < *until) {
            self.accuse(format!(
                "job {number} begins at {now}, and its downstream asked at {at} to wait until {until}"
            ));
        }
    }

    /// Where the breaker is open, this is a probe, of few.
    fn check_breaker(&mut self, plan: &Plan, track: &Track, place: i64) -> Option<UnixMs> {
        let started_at = self.book.jobs[&place].attempt.map(|begun| begun.started_at)?;
        let since = self.opening(track).filter(|since| started_at > *since)?;
        self.tally.count("probe");
        let out = self.life.gates.as_ref().and_then(|gates| {
            let gates = gates.lock().unwrap_or_else(PoisonError::into_inner);
            gates.health(&track.spec.lane().to_lane().whole()).and_then(|health| health.opening()).map(|it| it.out)
        });
        if out.is_some_and(|out| out > plan.config.breaker.probes) {
            self.accuse(format!("{out:?} probes are out, job {} among them", track.number));
        }
        Some(since)
    }

    /// Since when the job's downstream is down, where the host knows that it is.
    fn opening(&self, track: &Track) -> Option<UnixMs> {
        let gates = self.life.gates.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        gates.health(&track.spec.lane().to_lane().whole())?.opening().map(|opening| opening.since)
    }

    /// The end of an attempt comes to the store.
    pub fn check_finish(&mut self, finish: &Finish) {
        let is_of_this_life = finish.lease.token >> 40 == i64::from(self.life.n);
        let track = self.tracks.get(&finish.lease.job.place()).filter(|_| is_of_this_life);
        let Some(track) = track.cloned() else { return };
        let is_burned = match finish.disposition {
            Disposition::Retry { counted, .. } => counted,
            Disposition::Discard => true,
            Disposition::Complete | Disposition::Cancel | Disposition::Hold => false,
        };
        if track.probe == Some(finish.attempt) && is_retried(finish.kind) && is_burned {
            self.accuse(format!("a probe counts against job {}: {finish:?}", track.number));
        }
        if finish.evidence.not_begun && is_burned {
            self.accuse(format!("what did not begin counts against job {}: {finish:?}", track.number));
        }
        if finish.kind == OutcomeKind::Interrupted {
            self.tally.count("interrupted attempt");
        }
        if self.book.worth(finish.lease) == Worth::Decides {
            self.check_decision(finish, &track);
            let is_limit = finish.kind == OutcomeKind::RateLimited && track.probe != Some(finish.attempt);
            if is_limit && !is_burned {
                self.tracks.entry(finish.lease.job.place()).and_modify(|track| track.spared += 1);
            }
        }
    }

    /// Whether the job goes on, and when, is what its policy says.
    fn check_decision(&mut self, finish: &Finish, track: &Track) {
        let plugin = PLUGINS.iter().position(|name| *name == track.spec.plugin).expect("one of ours");
        let policy = self.retry.overridden(&self.shelf.plugins[plugin].retry);
        let Some(job) = self.book.job(finish.lease.job) else { return };
        let policy = policy.overridden(&job.spec.retry);
        let failed = job.failed + 1;
        // A person may have given it one more.
        let most = if job.owed { policy.max_attempts.max(failed) } else { policy.max_attempts };
        let is_interrupted = finish.kind == OutcomeKind::Interrupted;
        // Attempts that a dead host left behind are recorded in the start, those that are handed back after it.
        let was_left_behind = is_interrupted && self.life.ready_at.is_none();
        let is_limit = finish.kind == OutcomeKind::RateLimited && !self.counts_rate_limits;
        let wrong = match finish.disposition {
            Disposition::Discard if is_interrupted && !was_left_behind && job.owed => {
                Some("is given up without the attempt that a person's retry promised".to_owned())
            }
            Disposition::Discard | Disposition::Retry { counted: true, .. } if is_limit && track.spared < most => {
                Some(format!("was spared {} rate limits of {most}, and one counts", track.spared))
            }
            Disposition::Discard if failed < most && (is_interrupted || is_retried(finish.kind)) => {
                Some(format!("is given up after {failed} attempts of {most}"))
            }
            Disposition::Retry { counted, .. } if is_interrupted && counted != was_left_behind => {
                Some(format!("was interrupted, and that counts: {counted}"))
            }
            // Where its plugin is missing, whoever runs it next decides.
            Disposition::Retry { counted: true, .. } if !is_interrupted && failed >= most => {
                Some(format!("goes on after {failed} attempts of {most}"))
            }
            Disposition::Retry { at, .. } => {
                // However long the host has no room, its jobs ask ever more rarely.
                let tries = if finish.evidence.not_begun { finish.attempt } else { failed };
                let (earliest, latest) =
                    if is_interrupted { (0, 0) } else { delays_ms(&policy, tries, finish.delay_ms) };
                let delay_ms = at.0 - finish.finished_at.0;
                let is_kept = (earliest..=latest).contains(&delay_ms);
                (!is_kept).then(|| format!("waits {delay_ms} ms, and not {earliest} to {latest}"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.accuse(format!("job {} {wrong}: {finish:?}", track.number));
        }
    }
}

/// The shortest and the longest that a job waits after so many failures. Reckoned here once more: the host's own
/// reckoning is what is watched.
fn delays_ms(policy: &RetryPolicy, failed: u32, asked_ms: Option<u32>) -> (i64, i64) {
    let ms = |span: TimeSpan| i64::try_from(span.0.as_millis()).expect("some hours");
    let cap = ms(policy.cap);
    let whole = (1..failed).try_fold(ms(policy.base) as f64, |delay, _| {
        let next = delay * policy.factor;
        (next < cap as f64).then_some(next)
    });
    let whole = whole.map_or(cap, |delay| (delay as i64).min(cap));
    let least = match policy.jitter {
        Jitter::None => whole,
        Jitter::Equal => whole / 2,
        Jitter::Full => 0,
    };
    let asked = i64::from(asked_ms.unwrap_or(0)).min(cap);
    // Delays are rounded up to whole milliseconds.
    (least.max(asked), whole.max(asked) + 1)
}
