//! The health of one downstream: whether its jobs may be claimed now, how many at once, and why not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gates::{Rate, Spent, WaitReason, Waiting};
use crate::clock::UnixMs;

pub mod breaker;
mod kept;
pub mod limiter;
mod past;
mod sign;
mod window;

pub use breaker::{Breaker, BreakerPolicy, Opening, Role};
pub use kept::{Act, ActKind, Kept};
pub use limiter::{Limiter, LimiterPolicy};
pub use sign::Sign;

/// How downstreams are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthPolicy {
    /// When a downstream counts as down, and how it is probed.
    pub breaker: BreakerPolicy,
    /// How many attempts at once it is given.
    pub limiter: LimiterPolicy,
    /// Whether an attempt that ended in a rate limit counts against its job. Where not, a job is spared as many as it
    /// has attempts; after a restart it is spared anew.
    pub count_rate_limits: bool,
}

impl HealthPolicy {
    /// Whether an attempt that ended in a rate limit is not held against its job, which has so many attempts and was
    /// spared so many rate limits before.
    #[must_use]
    pub fn forgives(&self, spared: u16, max_attempts: u32) -> bool {
        // Who was spared so many that they are not told from more is spared no further one.
        !self.count_rate_limits && u32::from(spared) < max_attempts.min(u16::MAX.into())
    }
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When it began.
    pub started_at: UnixMs,
    /// What it says.
    pub sign: Sign,
    /// How long the downstream took, where it was called.
    pub latency: Option<Duration>,
}

/// A change that people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The breaker opened.
    Opened,
    /// The breaker closed.
    Closed,
    /// The downstream asked everybody to wait until then.
    HeldUntil(UnixMs),
    /// The plugin itself fails so often that its jobs wait.
    PluginUnfit,
    /// The plugin works again.
    PluginFit,
}

/// What a person set for one downstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// The most attempts at once.
    pub concurrency: Option<u32>,
    /// The most starts per time.
    pub rate: Option<Rate>,
}

/// What bounds a downstream whatever its health: set by the host and the plugin's file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The most attempts at once.
    pub ceiling: u32,
    /// The most starts per time, where a person set no other.
    pub rate: Option<Rate>,
}

/// Until when a downstream is left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Until then; without it until a person releases it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<UnixMs>,
    /// Why, for people.
    pub cause: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Health {
    breaker: Breaker,
    limiter: Limiter,
    hold: Option<Hold>,
    overrides: Overrides,
    acts: Vec<Act>,
    running: u32,
    /// How many of them began since it was found well: those are what it bears now. Others may hang since an outage.
    present: u32,
    spent: Spent,
}

impl Health {
    /// Of a downstream that nothing is known of.
    #[must_use]
    pub fn new(policy: &HealthPolicy) -> Self {
        Self {
            breaker: Breaker::new(&policy.breaker),
            limiter: Limiter::new(&policy.limiter),
            hold: None,
            overrides: Overrides::default(),
            acts: Vec::new(),
            running: 0,
            present: 0,
            spent: Spent::default(),
        }
    }

    /// As it was kept when the host stopped.
    #[must_use]
    pub fn restored(policy: &HealthPolicy, kept: Kept) -> Self {
        let mut health = Self::new(policy);
        if let Some(opening) = kept.opening {
            health.breaker = Breaker::reopened(&policy.breaker, opening);
        }
        (health.hold, health.overrides, health.acts) = (kept.hold, kept.overrides, kept.acts);
        health
    }

    /// What is to be kept over a restart.
    #[must_use]
    pub fn kept(&self, now: UnixMs) -> Kept {
        Kept {
            opening: self.breaker.opening().cloned(),
            hold: self.held(now).cloned(),
            overrides: self.overrides,
            acts: self.acts.clone(),
        }
    }

    /// Why a due job does not start at this moment; none where it does. `bounds` is what the
    /// plugin and the host set.
    #[must_use]
    pub fn why_waiting(&self, policy: &HealthPolicy, bounds: Bounds, now: UnixMs) -> Option<Waiting> {
        if let Some(hold) = self.held(now) {
            let detail = Some(hold.cause.clone());
            return Some(Waiting { reason: WaitReason::RetryAfter, until: hold.until, detail });
        }
        if let Err(until) = self.breaker.may_start(&policy.breaker, now) {
            let detail = self.breaker.opening().map(|opening| opening.cause.clone());
            return Some(Waiting { reason: WaitReason::BreakerOpen, until, detail });
        }
        // Probes are few by themselves, and bounded by what was set all the same.
        let (limit, ceiling) = (self.limit(policy, bounds), self.ceiling(policy, bounds));
        let is_at_limit = self.opening().is_none() && self.present >= limit;
        if is_at_limit || self.running >= ceiling {
            let most = if is_at_limit { limit } else { ceiling };
            let detail = Some(format!("the downstream is given {most} attempts at once"));
            return Some(Waiting { reason: WaitReason::Concurrency, until: None, detail });
        }
        let free_at = self.overrides.rate.or(bounds.rate).map(|rate| self.spent.free_at(rate));
        let until = free_at.filter(|free_at| *free_at > now)?;
        Some(Waiting { reason: WaitReason::RateLimit, until: Some(until), detail: None })
    }

    /// An attempt starts.
    pub fn start(&mut self, bounds: Bounds, now: UnixMs) {
        self.running += 1;
        self.present += 1;
        self.breaker.start(now);
        if let Some(rate) = self.overrides.rate.or(bounds.rate) {
            self.spent.spend(rate, now);
        }
    }

    /// An attempt that was to start did not.
    pub fn give_back(&mut self, started_at: UnixMs, now: UnixMs) {
        self.leave(started_at);
        self.breaker.abstain(started_at, now);
    }

    fn leave(&mut self, started_at: UnixMs) {
        self.running = self.running.saturating_sub(1);
        if self.breaker.role(started_at) == Role::Regular {
            self.present = self.present.saturating_sub(1);
        }
    }

    /// An attempt ended. `draw`, from 0 to 1, spreads the next probe.
    pub fn end(
        &mut self,
        policy: &HealthPolicy,
        bounds: Bounds,
        ended: &Ended,
        now: UnixMs,
        draw: f64,
    ) -> Option<Change> {
        let at_once = self.present;
        let Ended { started_at, sign, latency } = ended;
        self.leave(*started_at);
        let is_regular = self.breaker.role(*started_at) == Role::Regular;
        // What the plugin did by itself says nothing of what its downstream bears.
        if is_regular && !matches!(sign, Sign::Unfit(_)) {
            let failed = matches!(sign, Sign::Ill(_) | Sign::Busy(..));
            let limits = self.limiter_policy(policy, bounds);
            self.limiter.ended(&limits, *started_at, now, *latency, failed, at_once);
        }
        let breaker = &policy.breaker;
        match sign {
            Sign::Well => {
                if self.breaker.succeed(breaker, *started_at, now) {
                    self.is_back(policy, now);
                    return Some(Change::Closed);
                }
            }
            Sign::Unfit(_) | Sign::Silent | Sign::Nothing => self.breaker.abstain(*started_at, now),
            Sign::Ill(cause) => {
                return self.breaker.fail(breaker, *started_at, now, cause, draw).then_some(Change::Opened);
            }
            Sign::Busy(delay, cause) => {
                let opened = self.breaker.fail(breaker, *started_at, now, cause, draw);
                if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
                    let until = now.after(delay);
                    if self.hold.as_ref().is_none_or(|hold| hold.until.is_some_and(|held| held < until)) {
                        self.hold = Some(Hold { until: Some(until), cause: cause.clone() });
                        return Some(if opened { Change::Opened } else { Change::HeldUntil(until) });
                    }
                }
                return opened.then_some(Change::Opened);
            }
        }
        None
    }

    /// Whether an attempt that began then was sent to see whether the downstream is back: its failure is not counted, also
    /// where others closed the breaker meanwhile.
    #[must_use]
    pub fn is_probe(&self, started_at: UnixMs) -> bool {
        self.breaker.is_probe(started_at)
    }

    /// A person does something to it, and it is remembered.
    pub fn act(&mut self, policy: &HealthPolicy, act: Act) {
        match &act.what {
            ActKind::Hold { until, reason } => {
                self.limiter.restart(&policy.limiter, act.at);
                let cause = reason.clone().unwrap_or_else(|| "a person holds it".to_owned());
                self.hold = Some(Hold { until: *until, cause });
            }
            ActKind::Release => {
                self.end_hold(policy, act.at);
                if self.opening().is_some() {
                    self.breaker.close(&policy.breaker, act.at);
                    self.is_back(policy, act.at);
                }
            }
            ActKind::Probe => {
                self.end_hold(policy, act.at);
                self.breaker.probe_now(&policy.breaker, act.at);
            }
            ActKind::Limit(overrides) => self.overrides = *overrides,
        }
        if self.acts.len() >= kept::ACTS_MAX {
            self.acts.remove(0);
        }
        self.acts.push(act);
    }

    /// A person ends what held it: else all that waits came at once.
    fn end_hold(&mut self, policy: &HealthPolicy, now: UnixMs) {
        if self.held(now).is_some() {
            self.limiter.restart(&policy.limiter, now);
        }
        self.hold = None;
    }

    /// It is found well: what began before that is not of what it bears now.
    fn is_back(&mut self, policy: &HealthPolicy, now: UnixMs) {
        self.limiter.restart(&policy.limiter, now);
        self.present = 0;
    }

    /// What people did to it lately, oldest first.
    #[must_use]
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// What a person set.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        self.overrides
    }

    /// What is known of the outage, while there is one.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.breaker.opening()
    }

    /// Until when it is left alone.
    #[must_use]
    pub fn held(&self, now: UnixMs) -> Option<&Hold> {
        self.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| until > now))
    }

    /// The share of failures lately, and of how many calls.
    #[must_use]
    pub fn error_rate(&self, now: UnixMs) -> (f64, u32) {
        self.breaker.error_rate(now)
    }

    /// How many attempts run.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How many may run at once now, while the breaker is closed.
    #[must_use]
    pub fn limit(&self, policy: &HealthPolicy, bounds: Bounds) -> u32 {
        self.limiter.limit(&self.limiter_policy(policy, bounds))
    }

    fn limiter_policy(&self, policy: &HealthPolicy, bounds: Bounds) -> LimiterPolicy {
        LimiterPolicy { ceiling: self.ceiling(policy, bounds), ..policy.limiter }
    }

    /// How many may run at once whatever its health: set by a person, the plugin's file or the host.
    fn ceiling(&self, policy: &HealthPolicy, bounds: Bounds) -> u32 {
        let ceiling = self.overrides.concurrency.unwrap_or(bounds.ceiling).min(bounds.ceiling);
        ceiling.min(policy.limiter.ceiling).max(1)
    }
}

#[cfg(test)]
mod tests;
