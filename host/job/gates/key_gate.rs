//! The gates of limit keys: jobs that asked to be limited together, whatever downstream they call.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{KeyLimits, Lane, WaitReason, Waiting};
use crate::clock::UnixMs;

/// So many keys at rest are remembered for their rate before they are looked through.
const AT_REST_MAX: usize = 10_000;

/// The keys that run, or whose rate is not whole again.
#[derive(Debug, Default)]
pub(super) struct KeyGates {
    keys: HashMap<(Arc<str>, Arc<str>), KeyGate>,
}

#[derive(Debug, Default)]
struct KeyGate {
    running: u32,
    /// The moment, in fractions of a millisecond, at which the rate's allowance is whole again.
    whole_again_ms: f64,
    /// The lanes that were refused while it was closed.
    refused: HashSet<Lane>,
}

impl KeyGates {
    /// Why a job of this lane would not start at this moment; none where it would, or has no key.
    pub(super) fn why_waiting(&self, lane: &Lane, limits: KeyLimits, now: UnixMs) -> Option<Waiting> {
        let gate = self.keys.get(&name(lane)?)?;
        let key = lane.limit_key.as_deref().unwrap_or_default();
        if gate.running >= limits.concurrency {
            let detail = format!("{} attempts run under the limit key {key:?}", gate.running);
            return Some(Waiting { reason: WaitReason::Concurrency, until: None, detail: Some(detail) });
        }
        let until = limits.rate.map(|rate| rate.free_at(gate.whole_again_ms)).filter(|free_at| *free_at > now)?;
        let detail = Some(format!("the limit key {key:?}"));
        Some(Waiting { reason: WaitReason::RateLimit, until: Some(until), detail })
    }

    /// An attempt starts.
    pub(super) fn start(&mut self, lane: &Lane, limits: KeyLimits, now: UnixMs) {
        let Some(name) = name(lane) else { return };
        if self.keys.len() >= AT_REST_MAX {
            self.keys.retain(|_, gate| gate.running > 0 || gate.whole_again_ms > now.0 as f64);
        }
        let gate = self.keys.entry(name).or_default();
        gate.running += 1;
        if let Some(rate) = limits.rate {
            gate.whole_again_ms = rate.spend(gate.whole_again_ms, now);
        }
    }

    /// A lane was refused, for whatever reason.
    pub(super) fn refuse(&mut self, lane: &Lane) {
        if let Some(gate) = name(lane).and_then(|name| self.keys.get_mut(&name)) {
            gate.refused.insert(lane.clone());
        }
    }

    /// An attempt ended: the lanes that may have opened by it.
    pub(super) fn leave(&mut self, lane: &Lane) -> Vec<Lane> {
        let Some(name) = name(lane) else { return Vec::new() };
        let Some(gate) = self.keys.get_mut(&name) else { return Vec::new() };
        gate.running = gate.running.saturating_sub(1);
        let opened = gate.refused.drain().collect();
        if gate.running == 0 && gate.whole_again_ms == 0.0 {
            self.keys.remove(&name);
        }
        opened
    }
}

fn name(lane: &Lane) -> Option<(Arc<str>, Arc<str>)> {
    Some((lane.plugin.clone(), lane.limit_key.clone()?))
}
