//! What happens to the world from outside: trouble, people, and the death of the host.

use windlass::job::live::LiveSet;
use windlass::job::{EndState, OutcomeKind, PluginStanding};

use super::{Event, JOBS, PLUGINS, Record, World, pick};

impl World {
    /// Lays out what will happen from outside.
    pub(super) fn script(&mut self) {
        for _ in 0..JOBS {
            self.at_random(Event::Arrive);
        }
        for _ in 0..pick(&self.chance, 6) {
            self.at_random(Event::Crash);
        }
        for _ in 0..pick(&self.chance, 30) {
            self.at_random(Event::Cancel);
            self.at_random(Event::RetryAct);
            self.at_random(Event::EditGrants);
        }
        for plugin in 0..PLUGINS.len() {
            self.at_random(Event::PluginGoes(plugin));
            self.at_random(Event::Pause(plugin, true));
            self.schedule(self.heals_at, Event::PluginComes(plugin));
            self.schedule(self.heals_at, Event::Pause(plugin, false));
        }
        self.schedule(self.heals_at, Event::EditGrants);
    }

    pub(super) fn set_missing(&mut self, plugin: usize, missing: bool) {
        self.missing[plugin] = missing;
        let standing = if missing { PluginStanding::Missing } else { PluginStanding::Ready };
        self.gates.set_standing(PLUGINS[plugin], standing);
    }

    /// The host dies: memory is gone, the disk stays, and the next life begins with what is on it.
    pub(super) fn crash(&mut self) {
        self.life += 1;
        self.handed.clear();
        self.live = LiveSet::new(10_000, self.tokens);
        let kept: Vec<_> = self.gates.known().map(|(lane, health)| (lane.clone(), health.kept())).collect();
        self.open_gates();
        for (lane, kept) in kept {
            self.gates.restore_health(&lane, kept);
        }
        for record in self.disk.values_mut() {
            record.running = None;
            // A start without its job's record cannot be.
            record.start_on_disk = record.start_on_disk.filter(|_| record.end.is_none());
        }
        for record in self.disk.values().filter(|record| record.end.is_none()).cloned().collect::<Vec<_>>() {
            self.take_in(&record, true);
        }
        for handed in self.live.rescue() {
            self.record_end(handed.id.place(), handed, (OutcomeKind::Interrupted, None), false);
        }
    }

    pub(super) fn cancel(&mut self) {
        if let Some(place) = self.some_job(|record| record.end.is_none()) {
            self.disk.get_mut(&place).expect("picked").end = Some(EndState::Cancelled);
            self.live.end(place, false);
        }
    }

    pub(super) fn retry_act(&mut self) {
        let Some(place) = self.some_job(|record| matches!(record.end, Some(EndState::Discarded | EndState::Cancelled)))
        else {
            return;
        };
        let record = self.disk.get_mut(&place).expect("picked");
        (record.end, record.due, record.held) = (None, self.now, false);
        // A person gets one more attempt where all are used up.
        record.failed = record.failed.min(self.policy.max_attempts - 1);
        let record = record.clone();
        self.take_in(&Record { start_on_disk: None, ..record }, false);
    }

    pub(super) fn edit_grants(&mut self) {
        for name in PLUGINS {
            self.live.unhold(name, self.now);
        }
        for record in self.disk.values_mut().filter(|record| record.held && record.end.is_none()) {
            (record.held, record.due) = (false, record.due.min(self.now));
        }
    }

    pub(super) fn some_job(&self, keep: impl Fn(&Record) -> bool) -> Option<i64> {
        let fitting: Vec<_> = self.disk.iter().filter(|(_, record)| keep(record)).map(|(place, _)| *place).collect();
        (!fitting.is_empty()).then(|| fitting[pick(&self.chance, fitting.len())])
    }
}
