//! How jobs that are on disk only come back into memory.
//!
//! Read back are the plugins that have less in memory than the level at which all together would fill three quarters of
//! it, up to that level: where the memory is half empty, and where a plugin has next to nothing in it, whatever the
//! others have. As a read goes over all that is unfinished, one that brings little waits until nine times as long has
//! passed as the last one took: reading takes no more than a tenth of the time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Key, Lane, LiveSet, Unfinished};
use crate::clock::UnixMs;
use crate::job::JobId;

/// An order to read the nearest of the jobs that are on disk only.
///
/// Read in a snapshot of the store that is opened after the order was given; see [`LiveSet::merge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    number: u64,
    begun_at: Duration,
    /// What of each plugin; of others nothing.
    pub parts: Arc<[ReloadPart]>,
}

/// What is to be read of one plugin's jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadPart {
    /// Its name.
    pub plugin: Arc<str>,
    /// Only jobs whose (due, place) is at or behind this.
    pub from: Key,
    /// At most so many, the nearest.
    pub most: usize,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The nearest jobs, each with its lane.
    pub jobs: Vec<(Unfinished, Lane)>,
    /// For each part of the order the key of the first job that is left on disk.
    pub rest_from: Vec<Option<Key>>,
}

/// Whether jobs are to be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadDue {
    /// Not as things stand.
    Never,
    /// They are being read.
    UnderWay,
    /// After that time, unless things change before.
    In(Duration),
    /// Now. To be followed by [`LiveSet::merge`] or [`LiveSet::abandon`].
    Now(Reload),
}

/// What is being read, and when something was read last.
#[derive(Debug, Default)]
pub(super) struct Reading {
    under_way: Option<UnderWay>,
    reloads: u64,
    /// What brings little is not read before that.
    rests_until: Duration,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    parts: Arc<[ReloadPart]>,
    /// The jobs that ended or were dropped meanwhile: what the reload reads of them is out of date.
    gone: HashSet<i64>,
}

impl Reading {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn is_of(&self, plugin: &str) -> bool {
        self.under_way.iter().flat_map(|reload| reload.parts.iter()).any(|part| *part.plugin == *plugin)
    }

    pub(super) fn note_gone(&mut self, place: i64) {
        if let Some(reload) = &mut self.under_way {
            reload.gone.insert(place);
        }
    }

    /// A read is over.
    fn rest(&mut self, reload: &Reload, at: Duration) {
        let took = at.saturating_sub(reload.begun_at);
        self.rests_until = self.rests_until.max(at.saturating_add(took.saturating_mul(9)));
    }

    /// That reload, where it was not called off.
    fn take(&mut self, reload: &Reload) -> Option<UnderWay> {
        self.under_way.take_if(|under_way| under_way.number == reload.number)
    }
}

impl LiveSet {
    /// Whether jobs are to be read back, `at` this moment of a clock that never goes back.
    pub fn begin_reload(&mut self, at: Duration) -> ReloadDue {
        if self.horizon.reading.is_under_way() {
            return ReloadDue::UnderWay;
        }
        let bound = self.bound();
        if !self.lanes.have_horizons() || self.waiting() >= bound / 2 && !self.lanes.is_one_starved(bound) {
            return ReloadDue::Never;
        }
        let (parts, gain) = self.lanes.missing(bound - bound / 4);
        if parts.is_empty() {
            return ReloadDue::Never;
        }
        let on_disk = self.unfinished.saturating_sub(self.entries.len() as u64);
        let brings_little = gain < on_disk.min(bound as u64 / 8);
        let reading = &mut self.horizon.reading;
        if brings_little && at < reading.rests_until {
            return ReloadDue::In(reading.rests_until - at);
        }
        // While it is read, what waits there stays in memory, because the reload's snapshot may be older.
        parts.iter().for_each(|part| self.lanes.clear_horizon(&part.plugin));
        reading.reloads += 1;
        let (number, parts) = (reading.reloads, Arc::<[_]>::from(parts));
        reading.under_way = Some(UnderWay { number, parts: parts.clone(), gone: HashSet::new() });
        ReloadDue::Now(Reload { number, begun_at: at, parts })
    }

    /// Takes in what a reload read until this moment. Answers whether it was still wanted.
    pub fn merge(&mut self, reload: &Reload, read: &Read, at: Duration, now: UnixMs) -> bool {
        self.horizon.reading.rest(reload, at);
        let Some(UnderWay { parts, gone, .. }) = self.horizon.reading.take(reload) else { return false };
        for (part, rest_from) in parts.iter().zip(&read.rest_from) {
            rest_from.iter().for_each(|rest_from| self.lanes.lower_horizon_of(&part.plugin, *rest_from));
        }
        if !self.lanes.have_horizons() {
            self.horizon.forget_floor();
        }
        // Chosen before any is taken in: taking in can drop a job that changed meanwhile, and what the reload read of
        // that one is out of date.
        let is_news = |id: JobId| !gone.contains(&id.place()) && !self.entries.contains(id.place());
        let news: Vec<_> = read.jobs.iter().filter(|(job, ..)| is_news(job.id)).collect();
        for (job, lane) in news {
            self.bring(job, lane, now);
        }
        // What came in beyond the new horizon while the reload ran is on disk too.
        let keys = self.waiting_keys();
        self.drop_beyond(keys);
        true
    }

    /// The reload could not be read.
    pub fn abandon(&mut self, reload: &Reload, at: Duration) {
        self.horizon.reading.rest(reload, at);
        let under_way = self.horizon.reading.take(reload);
        self.call_off(under_way);
    }

    pub(super) fn cancel_reload(&mut self) {
        let under_way = self.horizon.reading.under_way.take();
        self.call_off(under_way);
    }

    fn call_off(&mut self, reload: Option<UnderWay>) {
        let Some(UnderWay { parts, .. }) = reload else { return };
        parts.iter().for_each(|part| self.lanes.lower_horizon_of(&part.plugin, part.from));
        let keys = self.waiting_keys();
        self.drop_beyond(keys);
    }
}
