//! The gate of one plugin.

use serde::{Deserialize, Serialize};

use super::{PluginLimits, PluginStanding, WaitReason, Waiting};
use crate::clock::UnixMs;

/// So many starts per second, with a burst of as many as fit into one second (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Starts per second.
    pub per_second: f64,
}

impl Rate {
    /// The first moment at which one more start is allowed, where the allowance is whole again at `whole_again_ms`.
    /// A whole second's allowance may be taken at once: so far may the debt run ahead of the present.
    pub(in crate::job) fn free_at(self, whole_again_ms: f64) -> UnixMs {
        let ahead_ms = (1_000.0 - 1_000.0 / self.per_second).max(0.0);
        UnixMs((whole_again_ms - ahead_ms).ceil() as i64)
    }

    /// When the allowance is whole again after one more start.
    pub(in crate::job) fn spend(self, whole_again_ms: f64, now: UnixMs) -> f64 {
        whole_again_ms.max(now.0 as f64) + 1_000.0 / self.per_second
    }
}

#[derive(Debug)]
pub(super) struct PluginGate {
    pub(super) standing: PluginStanding,
    pub(super) paused: bool,
    pub(super) limits: PluginLimits,
    pub(super) running: u32,
    /// The moment, in fractions of a millisecond, at which the rate's allowance is whole again.
    whole_again_ms: f64,
}

impl Default for PluginGate {
    fn default() -> Self {
        let standing = PluginStanding::Missing;
        Self { standing, paused: false, limits: PluginLimits::default(), running: 0, whole_again_ms: 0.0 }
    }
}

impl PluginGate {
    /// Why no job of this plugin would start at this moment; none where one would.
    pub(super) fn why_waiting(&self, now: UnixMs) -> Option<Waiting> {
        let because = |reason, until, detail| Some(Waiting { reason, until, detail });
        if self.paused {
            return because(WaitReason::Paused, None, None);
        }
        match &self.standing {
            PluginStanding::Missing => return because(WaitReason::PluginMissing, None, None),
            PluginStanding::Broken(detail) => return because(WaitReason::PluginBroken, None, Some(detail.clone())),
            PluginStanding::Ready => {}
        }
        if self.limits.concurrency.is_some_and(|most| self.running >= most) {
            let detail = format!("the plugin runs {} attempts, its limit", self.running);
            return because(WaitReason::Concurrency, None, Some(detail));
        }
        let free_at = self.limits.rate.map(|rate| rate.free_at(self.whole_again_ms));
        free_at.filter(|free_at| *free_at > now).and_then(|free_at| because(WaitReason::RateLimit, Some(free_at), None))
    }

    /// One more attempt starts.
    pub(super) fn spend(&mut self, now: UnixMs) {
        if let Some(rate) = self.limits.rate {
            self.whole_again_ms = rate.spend(self.whole_again_ms, now);
        }
    }
}
