//! The unfinished jobs of a store with one owner, in the order in which they are due.
//!
//! Pure: it knows no disk and no clock. The store tells it what has been committed, asks it who runs next, and reads
//! from disk what it does not keep: at most a fixed number of jobs are in memory, of each plugin those due soonest. Where
//! they end lies the plugin's *horizon*: a waiting job whose (due, place) is below it is here, any other is on disk only.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::gates::{Admission, Admit, Lane, LaneRef};
use super::id::JobId;
use crate::clock::UnixMs;

mod ahead;
mod behind;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod closed;
#[cfg(test)]
mod counted;
mod entries;
mod entry;
#[cfg(test)]
mod fairness;
mod fill;
mod floor;
mod ghosts;
mod horizon;
mod lanes;
mod nearest;
mod reload;
#[cfg(test)]
mod starved;
mod tally;
#[cfg(test)]
mod tests;
mod unbegun;

use entries::Entries;
pub use entry::{Again, Entry, Handed, Phase, Standing, Unfinished, waiting_state};
use ghosts::Ghost;
use lanes::Lanes;
pub use nearest::Nearest;
pub use reload::{Read, Reload, ReloadDue, ReloadPart};
pub use tally::Tally;

/// Where a waiting job stands among all: by its due moment, then by its arrival.
pub type Key = (UnixMs, i64);

/// The unfinished jobs in memory. See the module.
#[derive(Debug)]
pub struct LiveSet {
    entries: Entries,
    lanes: Lanes,
    delayed: BTreeSet<Key>,
    /// While many jobs are taken in, which are put in order at the end.
    is_filling: bool,
    /// Where a dead host left an attempt behind that nobody has taken over.
    interrupted: BTreeSet<i64>,
    /// Attempts that are not over though their job was cancelled, by place.
    ghosts: HashMap<i64, Ghost>,
    /// How many entries run, are interrupted or are barred: those that cannot be dropped from memory.
    pinned: usize,
    /// Unfinished jobs in memory and on disk.
    unfinished: u64,
    next_token: i64,
    horizon: horizon::Horizon,
}

impl LiveSet {
    /// An empty set that keeps at most `kept_max` waiting jobs, and counts its tokens from `first_token`.
    #[must_use]
    pub fn new(kept_max: usize, first_token: i64) -> Self {
        Self {
            entries: Entries::default(),
            lanes: Lanes::default(),
            delayed: BTreeSet::new(),
            is_filling: false,
            interrupted: BTreeSet::new(),
            ghosts: HashMap::new(),
            pinned: 0,
            unfinished: 0,
            next_token: first_token,
            horizon: horizon::Horizon::new(kept_max),
        }
    }

    /// Makes room for so many jobs, as far as the bound goes.
    pub fn reserve(&mut self, jobs: u64) {
        self.entries.reserve(self.room_for(jobs));
    }

    /// Takes in a job that became unfinished: a new one, or one that a person retried.
    pub fn insert<'a>(&mut self, job: &Unfinished, lane: impl Into<LaneRef<'a>>, now: UnixMs) {
        let lane = self.lanes.intern(lane.into());
        self.unfinished += 1;
        self.lanes.begin(lane);
        self.take_in(job, lane, now);
    }

    /// Takes into memory a job that was unfinished before, and was on disk only. One that is here stays as it is.
    fn bring<'a>(&mut self, job: &Unfinished, lane: impl Into<LaneRef<'a>>, now: UnixMs) {
        let lane = self.lanes.intern(lane.into());
        self.take_in(job, lane, now);
    }

    fn take_in(&mut self, job: &Unfinished, lane: u32, now: UnixMs) {
        let place = job.id.place();
        if self.entries.contains(place) {
            return self.lanes.free_if_idle(lane);
        }
        let phase = match (job.interrupted, job.held) {
            (Some(started_at), _) => Phase::Interrupted { started_at },
            (None, true) => Phase::Held,
            (None, false) if self.ghosts.contains_key(&place) => Phase::Barred,
            (None, false) => Phase::Ready,
        };
        if self.is_filling && !phase.is_pinned() {
            self.gather(place, Entry::of(job, phase_at(phase, job.due, now), lane));
        } else {
            self.entries.insert(place, Entry::of(job, phase, lane));
            self.settle(place, phase, now);
        }
        self.shrink();
    }

    /// Hands out at most `most` due jobs, each with the leave of `admission`: of the plugin that runs least, there of the
    /// lanes with the most urgent head one after the other, within a lane the highest priority first, then the longest
    /// due. Who failed as the one that was sent to see whether all is well comes last while that is seen.
    pub fn claim(&mut self, most: usize, now: UnixMs, admission: &mut dyn Admission) -> Vec<Handed> {
        self.promote(now);
        self.lanes.open(admission.opened(), now);
        let mut handed = Vec::new();
        while handed.len() < most {
            self.begin_rounds();
            let Some(lane) = self.lanes.first_ready() else {
                // Who was let in last may have left room for the next.
                let opened = admission.opened();
                if opened.is_nobody() {
                    break;
                }
                self.lanes.open(opened, now);
                continue;
            };
            match admission.admit(self.lanes.name(lane), now) {
                admitted @ (Admit::Yes | Admit::Probe) => {
                    if admitted == Admit::Yes {
                        self.recall(lane);
                    }
                    let place = self.lanes.head(lane).expect("a lane in the ring has a ready job").2;
                    handed.push(self.start(place, now));
                }
                Admit::KeyClosed { until } => self.lanes.close_key_of(lane, until),
                Admit::DownstreamClosed { until } => self.lanes.close_downstream_of(lane, until),
                Admit::PluginClosed { until } => self.lanes.close_plugin_of(lane, until),
                Admit::HostFull => break,
            }
        }
        handed
    }

    /// What a result for this job under this token is worth.
    #[must_use]
    pub fn standing(&self, place: i64, token: i64) -> Standing {
        let runs = |entry: &Entry| matches!(entry.phase(), Phase::Running { token: held, .. } if held == token);
        if self.entries.get(place).is_some_and(runs) {
            Standing::Holds
        } else if self.ghosts.get(&place).is_some_and(|ghost| ghost.token == Some(token)) {
            Standing::Ghost
        } else {
            Standing::Void
        }
    }

    /// Whether this token is the right of an attempt that runs, be its job cancelled or not.
    #[must_use]
    pub fn holds(&self, place: i64, token: i64) -> bool {
        self.standing(place, token) != Standing::Void
    }

    /// A job goes on after its attempt was recorded.
    pub fn go_on(&mut self, place: i64, again: Again, now: UnixMs) {
        if !self.entries.contains(place) {
            return;
        }
        self.unsettle(place);
        if let Some(entry) = self.entries.get_mut(place) {
            entry.go_on(&again);
            if let Some(probed) = again.steps_back {
                self.lanes.step_back(entry.lane, place, probed);
            }
        }
        self.entries.set_newest(place, again.newest, false);
        self.settle(place, if again.held { Phase::Held } else { Phase::Ready }, now);
        self.shrink();
    }

    /// A job became final by its attempt.
    pub fn end(&mut self, place: i64) {
        self.unfinished = self.unfinished.saturating_sub(1);
        self.horizon.reading.note_gone(place);
        let Some(entry) = self.entries.get(place).copied() else { return };
        self.unsettle(place);
        self.entries.remove(place);
        self.lanes.end(entry.lane);
        self.lanes.free_if_idle(entry.lane);
    }

    /// Makes a waiting job due when `job` says, be it in memory or on disk only; one that runs stays as it is.
    pub fn make_due<'a>(&mut self, job: &Unfinished, lane: impl Into<LaneRef<'a>>, now: UnixMs) {
        let place = job.id.place();
        let Some(entry) = self.entries.get(place) else { return self.bring(job, lane, now) };
        if !matches!(entry.phase(), Phase::Delayed | Phase::Ready | Phase::Held) {
            return;
        }
        self.unsettle(place);
        if let Some(entry) = self.entries.get_mut(place) {
            (entry.due, entry.owed) = (job.due, job.owed);
        }
        self.settle(place, Phase::Ready, now);
        self.shrink();
    }

    /// Makes the held jobs of a plugin due again.
    pub fn unhold(&mut self, plugin: &str, now: UnixMs) {
        let lanes = &self.lanes;
        let of_plugin = |entry: &Entry| entry.phase() == Phase::Held && &*lanes.name(entry.lane).plugin == plugin;
        let mut held: Vec<i64> =
            self.entries.iter().filter(|(_, entry)| of_plugin(entry)).map(|(place, _)| place).collect();
        // Lanes queue up as they come: in the order of arrival, and not in that of a hash.
        held.sort_unstable();
        for place in held {
            self.unsettle(place);
            self.settle(place, Phase::Ready, now);
        }
        // A reload in flight may have read some of them as held.
        self.cancel_reload();
        self.shrink();
    }

    /// The token of the next job that is handed out: those that run have lower ones.
    #[must_use]
    pub fn next_token(&self) -> i64 {
        self.next_token
    }

    /// The job, where it is in memory.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<&Entry> {
        self.entries.get(id.place()).filter(|entry| entry.tail == id.tail())
    }

    /// The moment at which the next job of the future comes due, or something closed opens by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMs> {
        let delayed = self.delayed.first().map(|(due, _)| *due);
        delayed.into_iter().chain(self.lanes.next_opening()).min()
    }

    /// Unfinished jobs in all, those on disk only included.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// How many of them are this plugin's.
    #[must_use]
    pub fn unfinished_of(&self, plugin: &str) -> u64 {
        self.lanes.unfinished_of(plugin)
    }

    /// Where the jobs of each plugin stand, of those in memory. Costs as much as there are plugins with jobs.
    pub fn by_plugin(&self) -> impl Iterator<Item = (&Arc<str>, Tally)> {
        self.lanes.by_plugin()
    }

    /// Where the jobs stand of each downstream and each plugin that calls it, from these on, in the order of the
    /// downstreams, of those in memory. Costs as much as is taken of it.
    pub fn by_downstream(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Tally)> {
        self.lanes.by_downstream(first)
    }

    /// Moves what has come due to the ready ones.
    fn promote(&mut self, now: UnixMs) {
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, place)) = self.delayed.pop_first() else { return };
            let Some(entry) = self.entries.get_mut(place) else { continue };
            entry.set_phase(Phase::Ready);
            let (lane, key) = (entry.lane, entry.order(place));
            self.lanes.leave(lane, Phase::Delayed, key);
            self.lanes.join(lane, Phase::Ready, key);
        }
    }

    fn start(&mut self, place: i64, started_at: UnixMs) -> Handed {
        let token = self.new_token();
        self.unsettle(place);
        self.entries.get_mut(place).expect("it is in memory").is_behind = false;
        self.settle(place, Phase::Running { token, started_at }, started_at);
        let entry = self.entries.get(place).expect("it was settled");
        Handed {
            id: JobId::from_parts(place, entry.tail),
            token,
            attempt: entry.attempts + 1,
            failed_before: entry.failed,
            spared: entry.spared,
            owed: entry.owed,
            started_at,
            suspect: entry.suspect,
        }
    }

    fn new_token(&mut self) -> i64 {
        self.next_token += 1;
        self.next_token - 1
    }

    /// Takes an entry out of every order that it stands in.
    fn unsettle(&mut self, place: i64) {
        let Some(entry) = self.entries.get(place) else { return };
        let phase = entry.phase();
        match phase {
            Phase::Delayed => _ = self.delayed.remove(&(entry.due, place)),
            Phase::Interrupted { .. } => _ = self.interrupted.remove(&place),
            Phase::Ready | Phase::Held | Phase::Barred | Phase::Running { .. } => {}
        }
        self.pinned -= usize::from(phase.is_pinned());
        self.lanes.leave(entry.lane, phase, entry.order(place));
    }

    /// Puts an entry into the orders of its phase. Ready means: ready once it is due. What lies beyond the horizon
    /// leaves the memory.
    fn settle(&mut self, place: i64, phase: Phase, now: UnixMs) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        let phase = phase_at(phase, entry.due, now);
        entry.set_phase(phase);
        let entry = *entry;
        if !phase.is_pinned() && self.lanes.is_beyond(entry.lane, (entry.due, place)) {
            self.entries.remove(place);
            self.horizon.note_drop(place, &entry);
            self.lanes.free_if_idle(entry.lane);
            return;
        }
        match phase {
            Phase::Delayed => _ = self.delayed.insert((entry.due, place)),
            Phase::Interrupted { .. } => _ = self.interrupted.insert(place),
            Phase::Ready | Phase::Held | Phase::Barred | Phase::Running { .. } => {}
        }
        self.pinned += usize::from(phase.is_pinned());
        self.lanes.join(entry.lane, phase, entry.order(place));
    }
}

/// Where a job stands that is ready once it is due.
fn phase_at(phase: Phase, due: UnixMs, now: UnixMs) -> Phase {
    if phase == Phase::Ready && due > now { Phase::Delayed } else { phase }
}
