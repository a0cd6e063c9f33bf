//! The numbers at `/metrics`: a closed list, in the OpenMetrics text format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::job::health::Change;
use crate::job::{OutcomeKind, State};
use crate::lock::lock;
use crate::store::{Counts, Finished};

/// The upper ends of the buckets of durations, in seconds: from a warm guest to the longest sensible attempt.
const DURATION_BUCKETS_SECS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// The states of unfinished jobs that are told apart.
const PLACES: [&str; 4] = ["available", "running", "later", "held"];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabel {
    plugin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    plugin: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabels {
    plugin: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    plugin: String,
    change: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

/// What is read off the host at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Where the unfinished jobs stand.
    pub counts: Counts,
    /// The names of all plugins, and whether each one's newest file was refused.
    pub plugins: Vec<(String, bool)>,
    /// How many downstreams of each plugin are down at this moment, where any is.
    pub down: BTreeMap<Arc<str>, u64>,
    /// Whether the store takes writes: it is well, and had room for the last one.
    pub store_writable: bool,
}

/// The numbers. Labels are bounded: by the plugins folder, the routes and the closed lists of states and outcomes;
/// never by what a job says, such as its downstream.
#[derive(Debug)]
pub struct Metrics {
    /// `windlass_jobs_enqueued_total{plugin}`: jobs accepted since the start; replays do not count.
    enqueued: Family<PluginLabel, Counter>,
    /// `windlass_jobs_finished_total{state}`: jobs that became final since the store was opened.
    finished: Family<StateLabel, Counter>,
    /// `windlass_attempts_total{plugin,outcome}`: attempts that ended since the start.
    attempts: Family<AttemptLabels, Counter>,
    /// `windlass_attempts_void_total`: ends of attempts whose lease was void when they were to be recorded.
    void: Counter,
    /// `windlass_attempt_duration_seconds{plugin}`: how long attempts took.
    duration: Family<PluginLabel, Histogram>,
    /// `windlass_jobs{plugin,state}`: unfinished jobs at this moment, by where they stand.
    jobs: Family<PlaceLabels, Gauge>,
    /// `windlass_jobs_unfinished`: unfinished jobs at this moment, those that only the disk holds included.
    unfinished: Gauge,
    /// `windlass_plugin_load_error{plugin}`: 1 where the newest component or file was refused, else 0.
    load_error: Family<PluginLabel, Gauge>,
    /// `windlass_downstream_changes_total{plugin,change}`: downstreams that were found down (`opened`) or back
    /// (`closed`), or that asked for a pause (`held`), and plugins that failed by themselves (`unfit`, `fit`).
    changes: Family<ChangeLabels, Counter>,
    /// `windlass_downstreams_down{plugin}`: downstreams that are down at this moment.
    down: Family<PluginLabel, Gauge>,
    /// `windlass_store_writable`: 1 while the store takes writes, 0 once it failed, or from a write that found no
    /// room to the next that does.
    store_writable: Gauge,
    /// `windlass_http_requests_total{method,route,status}`: answered requests.
    requests: Family<RequestLabels, Counter>,
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All numbers at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            enqueued: Family::default(),
            finished: Family::default(),
            attempts: Family::default(),
            void: Counter::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_SECS)),
            jobs: Family::default(),
            unfinished: Gauge::default(),
            load_error: Family::default(),
            changes: Family::default(),
            down: Family::default(),
            store_writable: Gauge::default(),
            requests: Family::default(),
            registry: Mutex::new(Registry::with_prefix("windlass")),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = lock(&self.registry);
        registry.register("jobs_enqueued", "Jobs accepted since the start", self.enqueued.clone());
        registry.register("jobs_finished", "Jobs that became final since the store was opened", self.finished.clone());
        registry.register("attempts", "Attempts that ended since the start", self.attempts.clone());
        registry.register("attempts_void", "Ends of attempts whose lease was void", self.void.clone());
        registry.register("attempt_duration_seconds", "How long attempts took", self.duration.clone());
        registry.register("jobs", "Unfinished jobs at this moment", self.jobs.clone());
        registry.register("jobs_unfinished", "Unfinished jobs in all at this moment", self.unfinished.clone());
        registry.register("plugin_load_error", "Whether the newest file was refused", self.load_error.clone());
        registry.register("downstream_changes", "Changes of the health of downstreams", self.changes.clone());
        registry.register("downstreams_down", "Downstreams that are down at this moment", self.down.clone());
        registry.register("store_writable", "Whether the store takes writes", self.store_writable.clone());
        registry.register("http_requests", "Answered requests", self.requests.clone());
    }

    /// Jobs of that plugin were accepted.
    pub fn jobs_enqueued(&self, plugin: &str, count: u64) {
        self.enqueued.get_or_create(&PluginLabel { plugin: plugin.to_owned() }).inc_by(count);
    }

    /// An attempt of that plugin ended.
    pub fn attempt_ran(&self, plugin: &str, outcome: OutcomeKind, took: Duration) {
        let labels = AttemptLabels { plugin: plugin.to_owned(), outcome: outcome.name() };
        self.attempts.get_or_create(&labels).inc();
        self.duration.get_or_create(&PluginLabel { plugin: plugin.to_owned() }).observe(took.as_secs_f64());
    }

    /// The health of a downstream changed, or of the plugin itself.
    pub fn health_changed(&self, plugin: &str, change: &Change) {
        let change = match change {
            Change::Opened => "opened",
            Change::Closed => "closed",
            Change::HeldUntil(_) => "held",
            Change::PluginUnfit => "unfit",
            Change::PluginFit => "fit",
        };
        self.changes.get_or_create(&ChangeLabels { plugin: plugin.to_owned(), change }).inc();
    }

    /// The end of an attempt was brought to the store.
    pub fn attempt_ended(&self, answer: Finished) {
        if answer == Finished::Fenced {
            self.void.inc();
        }
    }

    /// A request was answered.
    pub fn request_answered(&self, method: &str, route: &str, status: u16) {
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    /// All numbers as text, those of this moment taken from `snapshot`.
    #[must_use]
    pub fn encode(&self, snapshot: &Snapshot) -> String {
        // One scrape at a time: the numbers of the moment are shared.
        let registry = lock(&self.registry);
        self.take(snapshot);
        let mut text = String::new();
        // Writing to a string fails only where a metric cannot be written at all.
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics cannot be written as text");
        }
        text
    }

    fn take(&self, snapshot: &Snapshot) {
        self.jobs.clear();
        for (plugin, tally) in &snapshot.counts.plugins {
            for (state, count) in PLACES.into_iter().zip([tally.available, tally.running, tally.later, tally.held]) {
                let labels = PlaceLabels { plugin: plugin.to_string(), state };
                self.jobs.get_or_create(&labels).set(count.cast_signed());
            }
        }
        self.unfinished.set(snapshot.counts.unfinished.cast_signed());
        for state in State::ALL.into_iter().filter(|state| state.end().is_some()) {
            let total = snapshot.counts.ended.get(state.name()).copied().unwrap_or(0);
            let counter = self.finished.get_or_create_owned(&StateLabel { state: state.name() });
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        self.down.clear();
        for (plugin, count) in &snapshot.down {
            self.down.get_or_create(&PluginLabel { plugin: plugin.to_string() }).set(count.cast_signed());
        }
        self.load_error.clear();
        for (plugin, refused) in &snapshot.plugins {
            self.load_error.get_or_create(&PluginLabel { plugin: plugin.clone() }).set(i64::from(*refused));
        }
        self.store_writable.set(i64::from(snapshot.store_writable));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::live::Tally;

    fn counts(available: u64) -> Counts {
        let tally = Tally { available, running: 2, ..Tally::default() };
        Counts { plugins: [("echo".into(), tally)].into(), unfinished: 9, ended: [("completed", 4)].into() }
    }

    #[test]
    fn counted_things_are_in_the_text() {
        let metrics = Metrics::new();
        metrics.jobs_enqueued("echo", 3);
        metrics.attempt_ran("echo", OutcomeKind::Completed, Duration::from_millis(20));
        metrics.request_answered("GET", "/v1/jobs", 200);
        metrics.health_changed("echo", &Change::Opened);
        let (plugins, down) = (vec![("echo".into(), true)], [("echo".into(), 2)].into());
        let snapshot = Snapshot { counts: counts(7), plugins, down, store_writable: true };
        let text = metrics.encode(&snapshot);
        for line in [
            "windlass_jobs_enqueued_total{plugin=\"echo\"} 3",
            "windlass_attempts_total{plugin=\"echo\",outcome=\"completed\"} 1",
            "windlass_attempt_duration_seconds_count{plugin=\"echo\"} 1",
            "windlass_jobs{plugin=\"echo\",state=\"available\"} 7",
            "windlass_jobs{plugin=\"echo\",state=\"running\"} 2",
            "windlass_jobs_unfinished 9",
            "windlass_jobs_finished_total{state=\"completed\"} 4",
            "windlass_jobs_finished_total{state=\"discarded\"} 0",
            "windlass_plugin_load_error{plugin=\"echo\"} 1",
            "windlass_downstream_changes_total{plugin=\"echo\",change=\"opened\"} 1",
            "windlass_downstreams_down{plugin=\"echo\"} 2",
            "windlass_store_writable 1",
            "windlass_http_requests_total{method=\"GET\",route=\"/v1/jobs\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn numbers_of_the_moment_do_not_add_up_over_scrapes() {
        let metrics = Metrics::new();
        let _ = metrics.encode(&Snapshot { counts: counts(2), ..Snapshot::default() });
        let text = metrics.encode(&Snapshot { counts: counts(1), ..Snapshot::default() });
        assert!(text.contains("windlass_jobs{plugin=\"echo\",state=\"available\"} 1\n"), "{text}");
        let text = metrics.encode(&Snapshot::default());
        assert!(!text.contains("plugin=\"echo\",state"), "{text}");
    }
}
