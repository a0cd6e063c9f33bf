//! Who may run now: the limits and standings that stand between a waiting job and its attempt.
//!
//! A state machine: the host tells it what changed, the store asks it for leave before it hands out a job, and the API
//! asks it why a job waits. It knows no clock; each question carries the present moment.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// One line of waiting jobs: those of one plugin that call one downstream. Order, limits and health are kept per lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The downstream's key.
    pub downstream: Arc<str>,
}

impl Lane {
    /// The lane of that plugin and that downstream.
    #[must_use]
    pub fn new(plugin: &str, downstream: &str) -> Self {
        Self { plugin: plugin.into(), downstream: downstream.into() }
    }
}

/// The answer to a store that asks to hand out one job of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Yes: the place is taken, and must be given back by [`Gates::release`].
    Yes,
    /// No job of this lane now; at `until`, where it is known, it is worth asking again.
    LaneClosed {
        /// When the lane opens by itself.
        until: Option<UnixMs>,
    },
    /// No job of any lane: the host is full.
    HostFull,
}

/// Gives leave to hand out jobs, one by one.
pub trait Admission {
    /// May one job of this lane start now?
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit;
}

/// Why a job that could run does not. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WaitReason {
    /// The downstream's breaker is open.
    BreakerOpen,
    /// The downstream asked everybody to wait.
    RetryAfter,
    /// The plugin's rate is used up for the moment.
    RateLimit,
    /// The plugin, or the host, runs as many attempts as it may.
    Concurrency,
    /// A person paused the plugin.
    Paused,
    /// There is no such plugin in the folder.
    PluginMissing,
    /// The plugin's file could not be loaded, and there is no earlier revision.
    PluginBroken,
    /// The last attempt asked for something that the operator has not granted.
    GrantMissing,
}

/// Why a job waits, and until when where that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Waiting {
    /// The reason.
    pub reason: WaitReason,
    /// When the reason ends by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<UnixMs>,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// Whether a plugin can take jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginStanding {
    /// A revision is loaded.
    Ready,
    /// There is a file and no revision of it could be loaded; the text says why.
    Broken(String),
    /// There is no file.
    Missing,
}

/// So many starts per second, with a burst of as many as fit into one second (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Starts per second.
    pub per_second: f64,
}

/// What bounds one plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PluginLimits {
    /// The most attempts at once; none: only the host's own limit.
    pub concurrency: Option<u32>,
    /// The most starts per second.
    pub rate: Option<Rate>,
}

#[derive(Debug)]
struct PluginGate {
    standing: PluginStanding,
    paused: bool,
    limits: PluginLimits,
    running: u32,
    /// The moment, in fractions of a millisecond, at which the rate's allowance is whole again.
    whole_again_ms: f64,
}

impl Default for PluginGate {
    fn default() -> Self {
        let standing = PluginStanding::Missing;
        Self { standing, paused: false, limits: PluginLimits::default(), running: 0, whole_again_ms: 0.0 }
    }
}

/// All gates of one host.
#[derive(Debug)]
pub struct Gates {
    concurrency: u32,
    running: u32,
    running_by_lane: HashMap<Lane, u32>,
    plugins: HashMap<Arc<str>, PluginGate>,
    stopped: bool,
}

impl Gates {
    /// Gates of a host that runs at most `concurrency` attempts at once. Every plugin is missing until it is said.
    #[must_use]
    pub fn new(concurrency: u32) -> Self {
        let (running_by_lane, plugins) = Default::default();
        Self { concurrency, running: 0, running_by_lane, plugins, stopped: false }
    }

    /// Says how a plugin stands.
    pub fn set_standing(&mut self, plugin: &str, standing: PluginStanding) {
        self.plugin(plugin).standing = standing;
    }

    /// Says what bounds a plugin.
    pub fn set_limits(&mut self, plugin: &str, limits: PluginLimits) {
        self.plugin(plugin).limits = limits;
    }

    /// Pauses a plugin, or lets it go on.
    pub fn set_paused(&mut self, plugin: &str, paused: bool) {
        self.plugin(plugin).paused = paused;
    }

    /// Whether a person paused the plugin.
    #[must_use]
    pub fn is_paused(&self, plugin: &str) -> bool {
        self.plugins.get(plugin).is_some_and(|gate| gate.paused)
    }

    /// Admits nothing any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Gives back the place of an attempt that ended.
    pub fn release(&mut self, lane: &Lane) {
        self.running = self.running.saturating_sub(1);
        if let Some(gate) = self.plugins.get_mut(&lane.plugin) {
            gate.running = gate.running.saturating_sub(1);
        }
        if let Some(running) = self.running_by_lane.get_mut(lane) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                self.running_by_lane.remove(lane);
            }
        }
    }

    /// How many attempts run.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How many attempts of this lane run.
    #[must_use]
    pub fn running_in(&self, lane: &Lane) -> u32 {
        self.running_by_lane.get(lane).copied().unwrap_or(0)
    }

    /// Why a due job of this lane would not start at this moment; none where it would.
    #[must_use]
    pub fn why_waiting(&self, lane: &Lane, now: UnixMs) -> Option<Waiting> {
        let because = |reason, until, detail| Some(Waiting { reason, until, detail });
        let missing = PluginGate::default();
        let gate = self.plugins.get(&lane.plugin).unwrap_or(&missing);
        if gate.paused {
            return because(WaitReason::Paused, None, None);
        }
        match &gate.standing {
            PluginStanding::Missing => return because(WaitReason::PluginMissing, None, None),
            PluginStanding::Broken(detail) => return because(WaitReason::PluginBroken, None, Some(detail.clone())),
            PluginStanding::Ready => {}
        }
        if self.stopped {
            return because(WaitReason::Concurrency, None, Some("the host is stopping".to_owned()));
        }
        if self.running >= self.concurrency {
            let detail = format!("the host runs {} attempts, its limit", self.running);
            return because(WaitReason::Concurrency, None, Some(detail));
        }
        if gate.limits.concurrency.is_some_and(|most| gate.running >= most) {
            let detail = format!("the plugin runs {} attempts, its limit", gate.running);
            return because(WaitReason::Concurrency, None, Some(detail));
        }
        let free_at = gate.rate_free_at();
        if free_at > now {
            return because(WaitReason::RateLimit, Some(free_at), None);
        }
        None
    }

    fn plugin(&mut self, name: &str) -> &mut PluginGate {
        if !self.plugins.contains_key(name) {
            self.plugins.insert(name.into(), PluginGate::default());
        }
        self.plugins.get_mut(name).expect("inserted above")
    }
}

impl Admission for Gates {
    fn admit(&mut self, lane: &Lane, now: UnixMs) -> Admit {
        if self.stopped || self.running >= self.concurrency {
            return Admit::HostFull;
        }
        if let Some(waiting) = self.why_waiting(lane, now) {
            return Admit::LaneClosed { until: waiting.until };
        }
        self.running += 1;
        *self.running_by_lane.entry(lane.clone()).or_default() += 1;
        let gate = self.plugin(&lane.plugin);
        gate.running += 1;
        gate.spend(now);
        Admit::Yes
    }
}

impl PluginGate {
    /// The first moment at which the rate allows one more start.
    fn rate_free_at(&self) -> UnixMs {
        match self.limits.rate {
            // A whole second's allowance may be taken at once: so far may the debt run ahead of the present.
            Some(rate) => {
                let ahead_ms = (1_000.0 - 1_000.0 / rate.per_second).max(0.0);
                UnixMs((self.whole_again_ms - ahead_ms).ceil() as i64)
            }
            None => UnixMs(0),
        }
    }

    fn spend(&mut self, now: UnixMs) {
        if let Some(rate) = self.limits.rate {
            self.whole_again_ms = self.whole_again_ms.max(now.0 as f64) + 1_000.0 / rate.per_second;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gates(concurrency: u32) -> (Gates, Lane) {
        let mut gates = Gates::new(concurrency);
        gates.set_standing("erp", PluginStanding::Ready);
        (gates, Lane::new("erp", "erp"))
    }

    fn reason(gates: &Gates, lane: &Lane) -> Option<WaitReason> {
        gates.why_waiting(lane, UnixMs(0)).map(|waiting| waiting.reason)
    }

    #[test]
    fn each_gate_names_its_reason() {
        let (mut gates, lane) = gates(2);
        assert_eq!(reason(&gates, &lane), None);
        assert_eq!(reason(&gates, &Lane::new("other", "x")), Some(WaitReason::PluginMissing));
        gates.set_standing("erp", PluginStanding::Broken("no export".into()));
        assert_eq!(reason(&gates, &lane), Some(WaitReason::PluginBroken));
        gates.set_paused("erp", true);
        assert_eq!(reason(&gates, &lane), Some(WaitReason::Paused));
        gates.set_paused("erp", false);
        gates.set_standing("erp", PluginStanding::Ready);
        gates.set_limits("erp", PluginLimits { concurrency: Some(1), rate: None });
        assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
        assert_eq!(reason(&gates, &lane), Some(WaitReason::Concurrency));
        gates.release(&lane);
        assert_eq!(reason(&gates, &lane), None);
    }

    #[test]
    fn a_full_host_admits_no_lane() {
        let (mut gates, lane) = gates(1);
        assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
        assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::HostFull);
        gates.release(&lane);
        gates.stop();
        assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::HostFull);
    }

    proptest! {
        #[test]
        fn a_rate_holds_over_any_stretch(per_second in 1_u32..50, gaps in prop::collection::vec(0_i64..400, 1..300)) {
            let (mut gates, lane) = gates(u32::MAX);
            let rate = Some(Rate { per_second: per_second.into() });
            gates.set_limits("erp", PluginLimits { concurrency: None, rate });
            let (mut now, mut starts) = (UnixMs(1_000_000), Vec::new());
            for gap in gaps {
                now = UnixMs(now.0 + gap);
                match gates.admit(&lane, now) {
                    Admit::Yes => starts.push(now),
                    Admit::LaneClosed { until } => prop_assert!(until.is_some_and(|until| until > now)),
                    Admit::HostFull => prop_assert!(false),
                }
            }
            // Within any window the starts are at most one burst and what the window's length allows.
            for (index, first) in starts.iter().enumerate() {
                for (count, last) in starts[index..].iter().enumerate() {
                    let allowed = f64::from(per_second) * (1.0 + (last.0 - first.0) as f64 / 1e3);
                    prop_assert!(count as f64 + 1.0 <= allowed + 1.0, "{} starts from {:?} to {:?}", count + 1, first, last);
                }
            }
        }
    }
}
