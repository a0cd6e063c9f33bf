//! What is forgotten of downstreams.

use std::time::Duration;

use super::{Gates, Lane};
use crate::clock::UnixMs;
use crate::job::health::Kept;

/// How often the lanes are looked through for those with nothing to remember.
const SWEEP: Duration = Duration::from_secs(600);
/// So few lanes are all kept.
const LANES_KEPT: usize = 1_000;

impl Gates {
    /// Forgets the lanes of which there is nothing to remember but how much they bore long ago.
    pub(super) fn sweep(&mut self, now: UnixMs) {
        if self.lanes.len() > LANES_KEPT && now.since(self.swept_at) >= SWEEP {
            self.swept_at = now;
            self.lanes.forget(|health| health.is_plain(now));
        }
    }

    /// Forgets what is past of a downstream, and says what is to be kept of it from now on; none where nothing is past.
    /// Whoever asks for leave is to be woken after it.
    pub fn forget_past(&mut self, lane: &Lane, now: UnixMs, is_wanted: bool) -> Option<Kept> {
        let policy = &self.health;
        let forgets = |health: &mut super::Health| health.forget_past(policy, now, is_wanted).then(|| health.kept(now));
        let kept = self.lanes.change(lane, forgets).flatten()?;
        self.downstream_opened(lane);
        Some(kept)
    }
}
