//! What may be forgotten of a downstream.

use std::time::Duration;

use super::{Health, HealthPolicy, Overrides};
use crate::clock::UnixMs;

impl Health {
    /// Whether there is nothing to remember of it, nor anything kept on disk.
    #[must_use]
    pub fn is_plain(&self, now: UnixMs) -> bool {
        self.is_idle(now) && self.breaker.is_plain(now)
    }

    /// Whether it is not down, nobody calls it, and nobody said anything of it.
    #[must_use]
    pub fn is_idle(&self, now: UnixMs) -> bool {
        self.running == 0
            && self.opening().is_none()
            && self.spent.is_whole(now)
            && self.hold.is_none()
            && self.overrides == Overrides::default()
            && self.acts.is_empty()
    }

    /// Whether something is past: a hold that ended, or an outage that nobody looked into for so long.
    #[must_use]
    pub fn has_past(&self, outage_lasts: Duration, now: UnixMs) -> bool {
        self.hold.is_some() && self.held(now).is_none() || self.is_stale(outage_lasts, now)
    }

    /// Forgets what is past; an outage only where no job waits for the downstream. True where anything was forgotten.
    pub fn forget_past(&mut self, policy: &HealthPolicy, outage_lasts: Duration, now: UnixMs, is_wanted: bool) -> bool {
        let was_held = self.hold.is_some();
        self.hold = self.held(now).cloned();
        let is_stale = self.is_stale(outage_lasts, now) && !is_wanted;
        if is_stale {
            self.breaker.close(&policy.breaker, now);
            self.is_back(policy, now);
        }
        was_held && self.hold.is_none() || is_stale
    }

    fn is_stale(&self, outage_lasts: Duration, now: UnixMs) -> bool {
        self.running == 0 && self.opening().is_some_and(|opening| now.since(opening.next_probe) > outage_lasts)
    }
}
