//! The gate of one plugin.

use std::time::Duration;

use super::rate::Spent;
use super::{PluginLimits, PluginStanding, WaitReason, Waiting};
use crate::clock::UnixMs;
use crate::job::health::{Breaker, BreakerPolicy, Change, Ended, Sign};

/// When a plugin counts as unfit: it fails by itself so often in a row. Its downstream has no part in that.
const STORM: BreakerPolicy = BreakerPolicy {
    failures: 20,
    error_rate: 2.0,
    window: Duration::from_secs(30),
    window_calls: u32::MAX,
    probe: Duration::from_secs(1),
    probe_cap: Duration::from_secs(30),
    probes: 1,
    successes: 1,
};

#[derive(Debug)]
pub(super) struct PluginGate {
    /// Opens in a storm of traps.
    storm: Breaker,
    pub(super) standing: PluginStanding,
    pub(super) paused: bool,
    pub(super) limits: PluginLimits,
    pub(super) running: u32,
    spent: Spent,
}

impl Default for PluginGate {
    fn default() -> Self {
        let standing = PluginStanding::Missing;
        Self {
            storm: Breaker::new(&STORM),
            standing,
            paused: false,
            limits: PluginLimits::default(),
            running: 0,
            spent: Spent::default(),
        }
    }
}

impl PluginGate {
    /// Why no job of this plugin would start at this moment; none where one would.
    pub(super) fn why_waiting(&self, now: UnixMs) -> Option<Waiting> {
        let because = |reason, until, detail| Some(Waiting { reason, until, detail });
        if self.paused {
            // To let it go on is not enough then.
            let detail = match &self.standing {
                PluginStanding::Missing => Some("there is no component of it either".to_owned()),
                PluginStanding::Broken(why) => Some(format!("it is broken as well: {why}")),
                PluginStanding::Loading | PluginStanding::Ready => None,
            };
            return because(WaitReason::Paused, None, detail);
        }
        match &self.standing {
            PluginStanding::Missing => return because(WaitReason::PluginMissing, None, None),
            PluginStanding::Loading => {
                let detail = "its component is being compiled".to_owned();
                return because(WaitReason::PluginMissing, None, Some(detail));
            }
            PluginStanding::Broken(detail) => return because(WaitReason::PluginBroken, None, Some(detail.clone())),
            PluginStanding::Ready => {}
        }
        if let Err(until) = self.storm.may_start(&STORM, now) {
            let cause = self.storm.opening().map(|opening| opening.cause.as_str()).unwrap_or_default();
            return because(WaitReason::BreakerOpen, until, Some(format!("the plugin fails by itself: {cause}")));
        }
        if self.limits.concurrency.is_some_and(|most| self.running >= most) {
            let detail = format!("the plugin runs {} attempts, its limit", self.running);
            return because(WaitReason::Concurrency, None, Some(detail));
        }
        let free_at = self.limits.rate.map(|rate| self.spent.free_at(rate));
        free_at.filter(|free_at| *free_at > now).and_then(|free_at| because(WaitReason::RateLimit, Some(free_at), None))
    }

    /// A new revision, or new settings: what was before says nothing of it, also where it is still running.
    pub(super) fn forgive(&mut self, now: UnixMs) {
        self.storm.close(&STORM, now);
    }

    /// An attempt ended: whether a storm of traps began or ended by it.
    pub(super) fn end(&mut self, ended: &Ended, now: UnixMs, draw: f64) -> Option<Change> {
        let started_at = ended.started_at;
        match &ended.sign {
            Sign::Unfit(cause) => self.storm.fail(&STORM, started_at, now, cause, draw).then_some(Change::PluginUnfit),
            Sign::Nothing => {
                self.storm.abstain(started_at, now);
                None
            }
            Sign::Well | Sign::Silent | Sign::Ill(_) | Sign::Busy(..) => {
                self.storm.succeed(&STORM, started_at, now).then_some(Change::PluginFit)
            }
        }
    }

    /// Whether it fails by itself, and is looked at now and then.
    pub(super) fn is_unfit(&self) -> bool {
        self.storm.opening().is_some()
    }

    /// Whether an attempt that began then was to see whether the storm is over.
    pub(super) fn is_probe(&self, started_at: UnixMs) -> bool {
        self.storm.is_probe(started_at)
    }

    /// An attempt never began.
    pub(super) fn give_back(&mut self, started_at: UnixMs, now: UnixMs) {
        self.storm.abstain(started_at, now);
    }

    /// One more attempt starts.
    pub(super) fn spend(&mut self, now: UnixMs) {
        self.storm.start(now);
        if let Some(rate) = self.limits.rate {
            self.spent.spend(rate, now);
        }
    }
}
