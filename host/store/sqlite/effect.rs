//! What a commit changes in memory.

use super::cache::Known;
use super::{Memory, Shared};
use crate::clock::{LAST_MOMENT, UnixMs};
use crate::job::EndState;
use crate::job::Lane;
use crate::job::live::{Again, Unfinished};
use crate::lock::lock;
use crate::store::Lease;

/// What a commit changes in memory.
#[derive(Debug)]
pub(super) enum Effect {
    /// A job was accepted.
    New(Unfinished, Known),
    /// A person retried a job that was final.
    Revived {
        job: Unfinished,
        lane: Lane,
    },
    /// A person made a waiting job due. Whether it is in memory can have changed since the writer looked: a reload, or
    /// others of its group, bring jobs in and push them out.
    Sooner {
        job: Unfinished,
        lane: Lane,
    },
    /// An attempt was recorded and the job goes on.
    GoesOn(i64, Again),
    /// A job became final by its attempt.
    Ended(i64, EndState),
    /// A person called off a job of that plugin.
    Cancelled(i64, String),
    /// The attempt of a cancelled job ended; the number of its row, where one was kept.
    GhostLaid(i64, Option<i64>),
    Released(Lease),
    Unhold(String),
    Anchored(i64, i64),
}

impl Shared {
    pub(super) fn apply(&self, effects: Vec<Effect>) {
        // The specs come first: what is in memory can be claimed at once.
        let mut cache = lock(&self.cache);
        let seen = self.seen();
        for effect in &effects {
            if let Effect::New(job, known) = effect
                && job.due <= seen
            {
                cache.put(job.id.place(), known.clone());
            }
        }
        drop(cache);
        let mut memory = self.memory();
        for effect in effects {
            memory.apply(effect, seen);
        }
    }
}

impl Memory {
    fn apply(&mut self, effect: Effect, seen: UnixMs) {
        let live = &mut self.live;
        match effect {
            Effect::New(job, known) => live.insert(&job, known.spec.lane(), seen),
            Effect::Revived { job, lane } => live.insert(&job, &lane, seen),
            Effect::Sooner { job, lane } => live.make_due(&job, &lane, seen),
            Effect::GoesOn(place, again) => live.go_on(place, again, seen),
            Effect::Ended(place, end) => {
                live.end(place);
                self.ended[end as usize] += 1;
            }
            Effect::Cancelled(place, plugin) => {
                live.cancel(place, &plugin);
                self.ended[EndState::Cancelled as usize] += 1;
            }
            // What follows was due when it was claimed or held.
            Effect::GhostLaid(place, newest) => live.lay_ghost(place, newest, LAST_MOMENT),
            Effect::Released(lease) => _ = live.release(lease.job.place(), lease.token, LAST_MOMENT),
            Effect::Unhold(plugin) => live.unhold(&plugin, LAST_MOMENT),
            Effect::Anchored(place, newest) => live.anchor(place, newest),
        }
    }
}

impl Effect {
    pub(super) fn is_claimable(&self) -> bool {
        !matches!(self, Self::Ended(..) | Self::Cancelled(..) | Self::Anchored(..))
    }

    /// The job that ended, or whose last attempt did.
    pub(super) fn ended(&self) -> Option<i64> {
        if let Self::Ended(place, _) | Self::Cancelled(place, _) | Self::GhostLaid(place, _) = self {
            Some(*place)
        } else {
            None
        }
    }
}
