//! What may be forgotten of a downstream.

use std::time::Duration;

use super::{Health, HealthPolicy, Overrides};
use crate::clock::UnixMs;

/// So long an outage is remembered that no job looks into.
const OUTAGE_LASTS: Duration = Duration::from_secs(86_400);

impl Health {
    /// Whether there is nothing to remember of it, nor anything kept on disk.
    #[must_use]
    pub fn is_plain(&self, now: UnixMs) -> bool {
        self.running == 0
            && self.breaker.is_plain(now)
            && self.spent.is_whole(now)
            && self.hold.is_none()
            && self.overrides == Overrides::default()
            && self.acts.is_empty()
    }

    /// Whether something is past: a hold that ended, or an outage that nobody looked into for a day.
    #[must_use]
    pub fn has_past(&self, now: UnixMs) -> bool {
        self.hold.is_some() && self.held(now).is_none() || self.is_stale(now)
    }

    /// Forgets what is past; an outage only where no job waits for the downstream. True where anything was forgotten.
    pub fn forget_past(&mut self, policy: &HealthPolicy, now: UnixMs, is_wanted: bool) -> bool {
        let was_held = self.hold.is_some();
        self.hold = self.held(now).cloned();
        let is_stale = self.is_stale(now) && !is_wanted;
        if is_stale {
            self.breaker.close(&policy.breaker, now);
            self.limiter.restart(&policy.limiter);
        }
        was_held && self.hold.is_none() || is_stale
    }

    fn is_stale(&self, now: UnixMs) -> bool {
        self.running == 0 && self.opening().is_some_and(|opening| now.since(opening.next_probe) > OUTAGE_LASTS)
    }
}
