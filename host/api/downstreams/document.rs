//! A downstream, as it is told.

use serde::Serialize;

use crate::clock::UnixMs;
use crate::job::health::{ActKind, Health, Overrides};
use crate::job::live::Tally;
use crate::job::{Gates, Lane, Waiting};

/// A downstream.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct DownstreamDocument {
    /// Its key.
    pub key: String,
    /// Whether it counts as down, for any of its plugins; what follows is of the plugin that sees it worst.
    pub breaker: BreakerState,
    /// Since when it is down.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<UnixMs>,
    /// When the next probe may start.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_probe: Option<UnixMs>,
    /// Until when it is left alone, where that has an end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub held_until: Option<UnixMs>,
    /// The share of failures among the calls of the last while, from 0 to 1; null without calls.
    pub error_rate: Option<f64>,
    /// How many attempts call it.
    pub running: u64,
    /// How many due jobs wait for it.
    pub waiting: u64,
    /// The plugins through which it is called. Health, limits and fairness are each one's own.
    pub plugins: Vec<DownstreamPlugin>,
}

/// One plugin's part in a downstream.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DownstreamPlugin {
    /// The plugin.
    pub plugin: String,
    /// How many of its attempts call the downstream.
    pub running: u64,
    /// How many of its due jobs wait, those that wait for a grant included.
    pub waiting: u64,
    /// How many of its jobs wait for a grant.
    pub held: u64,
    /// How many of its jobs are not due yet.
    pub later: u64,
    /// Why a due job would not start at this moment; absent where it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Waiting>,
    /// Whether the downstream counts as down.
    pub breaker: BreakerState,
    /// Its outage, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// Until when it is left alone, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HeldUntil>,
    /// The share of failures among the calls of the last while, from 0 to 1; absent without calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// How many attempts at once it is given by now; absent where nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The most attempts at once that a person set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The most starts per second that a person set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,
    /// What people did to it lately, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acts: Vec<DownstreamAct>,
}

/// Whether a downstream counts as down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// It is well: its jobs flow.
    #[default]
    Closed,
    /// It is being probed.
    HalfOpen,
    /// It is down: its jobs wait.
    Open,
}

/// What is known of an outage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Outage {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: UnixMs,
    /// What the last failure was.
    pub cause: String,
    /// When the next probe may start.
    #[schema(value_type = String, format = DateTime)]
    pub next_probe: UnixMs,
    /// Probes that are out.
    pub probes_out: u32,
}

/// A pause that the downstream asked for, or a person ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HeldUntil {
    /// Until then; absent where it is until somebody releases it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<UnixMs>,
    /// Why.
    pub cause: String,
}

/// What a person did to a downstream.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DownstreamAct {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: UnixMs,
    /// What: `hold`, `release`, `probe` or `limit`.
    pub what: &'static str,
}

impl DownstreamDocument {
    /// One that nothing is told of yet.
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// One plugin's part in it.
    pub(super) fn add(&mut self, part: DownstreamPlugin) {
        self.running += part.running;
        self.waiting += part.waiting;
        self.breaker = self.breaker.max(part.breaker);
        if let Some(outage) = &part.outage {
            self.since = Some(self.since.map_or(outage.since, |since| since.min(outage.since)));
            self.next_probe = Some(self.next_probe.map_or(outage.next_probe, |next| next.min(outage.next_probe)));
        }
        self.held_until = self.held_until.max(part.hold.as_ref().and_then(|hold| hold.until));
        self.error_rate = self.error_rate.into_iter().chain(part.error_rate).reduce(f64::max);
        self.plugins.push(part);
    }
}

impl DownstreamPlugin {
    /// What there is to say of that lane.
    pub(super) fn of(lane: &Lane, tally: Tally, gates: &Gates, now: UnixMs) -> Self {
        let mut part = Self::counted(&lane.plugin, tally, gates.why_waiting(lane, now));
        if let Some(health) = gates.health(lane) {
            part.tell(health, health.limit(gates.health_policy(), gates.bounds(&lane.plugin)), now);
        }
        part
    }

    fn counted(plugin: &str, tally: Tally, blocked: Option<Waiting>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            running: tally.running,
            waiting: tally.available + tally.held,
            held: tally.held,
            later: tally.later,
            blocked,
            breaker: BreakerState::Closed,
            outage: None,
            hold: None,
            error_rate: None,
            limit: None,
            concurrency: None,
            rate_per_second: None,
            acts: Vec::new(),
        }
    }

    fn tell(&mut self, health: &Health, limit: u32, now: UnixMs) {
        if let Some(opening) = health.opening() {
            let is_probed = opening.out > 0 || opening.successes > 0;
            self.breaker = if is_probed { BreakerState::HalfOpen } else { BreakerState::Open };
            self.outage = Some(Outage {
                since: opening.since,
                cause: opening.cause.clone(),
                next_probe: opening.next_probe,
                probes_out: opening.out,
            });
        }
        self.hold = health.held(now).map(|hold| HeldUntil { until: hold.until, cause: hold.cause.clone() });
        let (error_rate, calls) = health.error_rate(now);
        self.error_rate = (calls > 0).then_some(error_rate);
        self.limit = Some(limit);
        let Overrides { concurrency, rate } = health.overrides();
        (self.concurrency, self.rate_per_second) = (concurrency, rate.map(|rate| rate.per_second));
        self.acts = health.acts().iter().map(|act| DownstreamAct { at: act.at, what: word(&act.what) }).collect();
    }
}

fn word(what: &ActKind) -> &'static str {
    match what {
        ActKind::Hold { .. } => "hold",
        ActKind::Release => "release",
        ActKind::Probe => "probe",
        ActKind::Limit(_) => "limit",
    }
}
