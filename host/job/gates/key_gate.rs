//! The gates of limit keys: jobs that asked to be limited together, whatever downstream they call.

use std::collections::HashMap;

use super::rate::Spent;
use super::{KeyLimits, KeyName, Lane, WaitReason, Waiting};
use crate::clock::UnixMs;

/// So few keys are remembered without a look for those at rest.
const KEPT: usize = 10_000;

/// The keys that run, or whose rate is not whole again.
#[derive(Debug)]
pub(super) struct KeyGates {
    keys: HashMap<KeyName, KeyGate>,
    /// From so many on they are looked through for those at rest: twice as many as were left the last time, so that
    /// a start has only a small part in it.
    sweep_from: usize,
}

impl Default for KeyGates {
    fn default() -> Self {
        Self { keys: HashMap::new(), sweep_from: KEPT }
    }
}

#[derive(Debug, Default)]
struct KeyGate {
    running: u32,
    spent: Spent,
    /// Somebody was refused who was not yet told to ask again.
    has_refused: bool,
}

impl KeyGates {
    /// Why a job of this lane would not start at this moment; none where it would, or has no key.
    pub(super) fn why_waiting(&self, lane: &Lane, limits: KeyLimits, now: UnixMs) -> Option<Waiting> {
        let gate = self.keys.get(&lane.key()?)?;
        let key = lane.limit_key.as_deref().unwrap_or_default();
        if gate.running >= limits.concurrency {
            let detail = format!("{} attempts run under the limit key {key:?}", gate.running);
            return Some(Waiting { reason: WaitReason::Concurrency, until: None, detail: Some(detail) });
        }
        let until = limits.rate.map(|rate| gate.spent.free_at(rate)).filter(|free_at| *free_at > now)?;
        let detail = Some(format!("the limit key {key:?}"));
        Some(Waiting { reason: WaitReason::RateLimit, until: Some(until), detail })
    }

    /// An attempt starts.
    pub(super) fn start(&mut self, lane: &Lane, limits: KeyLimits, now: UnixMs) {
        let Some(name) = lane.key() else { return };
        if self.keys.len() >= self.sweep_from {
            self.keys.retain(|_, gate| gate.running > 0 || !gate.spent.is_whole(now));
            self.sweep_from = KEPT.max(2 * self.keys.len());
        }
        let gate = self.keys.entry(name).or_default();
        gate.running += 1;
        if let Some(rate) = limits.rate {
            gate.spent.spend(rate, now);
        }
    }

    /// A lane was refused for its key.
    pub(super) fn refuse(&mut self, lane: &Lane) {
        if let Some(gate) = lane.key().and_then(|name| self.keys.get_mut(&name)) {
            gate.has_refused = true;
        }
    }

    /// An attempt ended: the key, where it may have opened to who was refused.
    pub(super) fn leave(&mut self, lane: &Lane) -> Option<KeyName> {
        let name = lane.key()?;
        let gate = self.keys.get_mut(&name)?;
        gate.running = gate.running.saturating_sub(1);
        let has_refused = std::mem::take(&mut gate.has_refused);
        if gate.running == 0 && gate.spent == Spent::default() {
            self.keys.remove(&name);
        }
        has_refused.then_some(name)
    }

    /// The keys of a plugin that refused somebody, who is to ask again: their limits are others now.
    pub(super) fn reopen(&mut self, plugin: &str) -> impl Iterator<Item = KeyName> {
        let of_plugin = self.keys.iter_mut().filter(move |((of, _), _)| **of == *plugin);
        of_plugin.filter_map(|(name, gate)| std::mem::take(&mut gate.has_refused).then(|| name.clone()))
    }
}
