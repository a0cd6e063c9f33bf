//! Choosing what an order to read back asks for, among all jobs that are unfinished.

use rustc_hash::FxHashMap;

use super::{Key, Lane, LaneRef, Read, Reload, ReloadPart, Unfinished};

/// The nearest jobs of each part of an order, of those that it was shown.
#[derive(Debug)]
pub struct Nearest<'a> {
    parts: Vec<Part<'a>>,
    of_plugins: FxHashMap<&'a str, usize>,
}

#[derive(Debug)]
struct Part<'a> {
    asked: &'a ReloadPart,
    nearest: Vec<(Unfinished, Lane)>,
    /// The first that was left.
    rest_from: Option<Key>,
}

impl<'a> Nearest<'a> {
    /// Of none yet.
    #[must_use]
    pub fn new(reload: &'a Reload) -> Self {
        let part = |asked| Part { asked, nearest: Vec::new(), rest_from: None };
        let of_plugins = reload.parts.iter().enumerate().map(|(number, part)| (&*part.plugin, number)).collect();
        Self { parts: reload.parts.iter().map(part).collect(), of_plugins }
    }

    /// Shows it an unfinished job.
    pub fn see(&mut self, job: Unfinished, lane: LaneRef<'_>) {
        if let Some(part) = self.of_plugins.get(lane.plugin) {
            self.parts[*part].see(job, lane);
        }
    }

    /// What it chose.
    #[must_use]
    pub fn read(self) -> Read {
        let mut read = Read::default();
        for mut part in self.parts {
            part.trim();
            read.jobs.append(&mut part.nearest);
            read.rest_from.push(part.rest_from);
        }
        read
    }
}

impl Part<'_> {
    fn see(&mut self, job: Unfinished, lane: LaneRef<'_>) {
        let key = key(&job);
        // What lies behind one that was left is not among the nearest.
        if key < self.asked.from || self.rest_from.is_some_and(|rest| key > rest) {
            return;
        }
        self.nearest.push((job, lane.to_lane()));
        if self.nearest.len() >= self.asked.most.saturating_mul(2) {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if self.nearest.len() > self.asked.most {
            let (_, (first_left, _), _) = self.nearest.select_nth_unstable_by_key(self.asked.most, |(job, _)| key(job));
            let first_left = key(first_left);
            self.rest_from = Some(self.rest_from.map_or(first_left, |rest| rest.min(first_left)));
            self.nearest.truncate(self.asked.most);
        }
    }
}

fn key(job: &Unfinished) -> Key {
    (job.due, job.id.place())
}
