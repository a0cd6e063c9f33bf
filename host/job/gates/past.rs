//! What is forgotten of downstreams.

use std::time::Duration;

use super::{Gates, Lane};
use crate::clock::UnixMs;
use crate::job::health::Kept;

/// How often the lanes are looked through for those with nothing to remember.
const SWEEP: Duration = Duration::from_secs(600);
/// So few lanes are all kept.
const LANES_KEPT: usize = 1_000;
/// So many lanes are looked through before that time: clients name downstreams, and may name another one with each job.
pub(super) const LANES_MANY: usize = 10_000;
/// So long an outage is remembered that no job looks into.
const OUTAGE_LASTS: Duration = Duration::from_secs(86_400);
/// The same of a plugin so many of whose downstreams are down at once.
const OUTAGE_OF_MANY_LASTS: Duration = Duration::from_secs(60);
const DOWN_MANY: u64 = 1_000;

impl Gates {
    /// Forgets the lanes of which there is nothing to remember but how much they bore long ago. Where very many are left,
    /// those of the plugins that have most of them are forgotten as soon as nothing is known to be wrong with them: a
    /// streak of failures is counted anew.
    pub(super) fn sweep(&mut self, now: UnixMs) {
        let is_time = self.lanes.len() > LANES_KEPT && now.since(self.swept_at) >= SWEEP;
        if !is_time && self.lanes.len() < self.sweep_from {
            return;
        }
        self.swept_at = now;
        self.lanes.forget(|_, health| health.is_plain(now));
        if self.lanes.len() > LANES_MANY {
            let counts = self.lanes.by_plugin();
            let part = LANES_MANY / counts.len();
            self.lanes.forget(|lane, health| counts[&lane.plugin] > part && health.is_idle(now));
        }
        // Twice as many as were left, so that an end has only a small part in it.
        self.sweep_from = LANES_MANY.max(2 * self.lanes.len());
    }

    /// For how long an outage of a downstream of that plugin is remembered that no job looks into.
    #[must_use]
    pub fn outage_lasts(&self, plugin: &str) -> Duration {
        let down = self.lanes.down().get(plugin).copied().unwrap_or(0);
        if down > DOWN_MANY { OUTAGE_OF_MANY_LASTS } else { OUTAGE_LASTS }
    }

    /// Whether so many downstreams of a plugin are down that what is past of them is to be forgotten soon.
    #[must_use]
    pub fn are_many_down(&self) -> bool {
        self.lanes.down().values().any(|down| *down > DOWN_MANY)
    }

    /// Forgets what is past of a downstream, and says what is to be kept of it from now on; none where nothing is past.
    /// Whoever asks for leave is to be woken after it.
    pub fn forget_past(&mut self, lane: &Lane, now: UnixMs, is_wanted: bool) -> Option<Kept> {
        let (policy, lasts) = (&self.health, self.outage_lasts(&lane.plugin));
        let forgets =
            |health: &mut super::Health| health.forget_past(policy, lasts, now, is_wanted).then(|| health.kept(now));
        let kept = self.lanes.change(lane, forgets).flatten()?;
        self.downstream_opened(lane);
        Some(kept)
    }
}
