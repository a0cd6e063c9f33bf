//! Looking through the plugins folder: which files are at rest and new, and who takes them up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;

use super::folder::{Found, Scan, Stamp};
use super::slot::{self, Place, Slot};
use super::sources::Sources;
use super::watch::Watch;

/// How long a file must stay the same before it is read.
const REST: Duration = Duration::from_millis(100);
/// How often files that are not at rest are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a look waits for files to come to rest. A slow copy is left to the next look.
const REST_PATIENCE: Duration = Duration::from_millis(500);
/// How long a look waits for what it began. A slow compilation goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long reports of changes are gathered before the folder is looked through once more.
const GATHER: Duration = Duration::from_millis(20);

/// The folder and its plugins' places.
#[derive(Debug)]
pub(super) struct Folder {
    place: Arc<Place>,
    watch: Watch,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    restless: Mutex<BTreeMap<(String, File), Restless>>,
    is_told: Mutex<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum File {
    Component,
    Grants,
    Sources,
}

/// What was seen of it.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    File(Option<Stamp>),
    Sources(Sources),
}

/// A file as it was first seen like this.
#[derive(Debug)]
struct Restless {
    seen: Seen,
    since: Stopwatch,
}

/// What the log was told already.
#[derive(Debug, Default)]
struct Told {
    misnamed: BTreeSet<String>,
    is_unreadable: bool,
}

impl Folder {
    /// The folder, which is made where it is missing.
    pub(super) fn open(place: Arc<Place>) -> io::Result<Self> {
        std::fs::create_dir_all(&place.dir)?;
        std::fs::read_dir(&place.dir)?;
        let watch = Watch::new();
        watch.renew(&place.dir);
        let (slots, restless, is_told) = Default::default();
        Ok(Self { place, watch, slots, restless, is_told })
    }

    /// Waits for a report of a change.
    pub(super) async fn changed(&self) {
        self.watch.changed().await;
    }

    /// The place of that plugin.
    pub(super) fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        slots.entry(name.to_owned()).or_insert_with(|| Arc::new(Slot::new(name.to_owned(), self.place.clone()))).clone()
    }

    /// Takes up what is new, and what becomes new meanwhile. Answers when to look again where a file is still being
    /// written.
    pub(super) async fn look(&self) -> Option<Duration> {
        let watch = Stopwatch::start();
        let mut tasks: FuturesUnordered<JoinHandle<()>> = FuturesUnordered::new();
        loop {
            let is_restless = self.look_once(&tasks).await;
            let is_settled = !is_restless || watch.elapsed() > REST_PATIENCE;
            if tasks.is_empty() && is_settled || watch.elapsed() > PATIENCE {
                self.watch_sources();
                return is_restless.then_some(LOOK_AGAIN);
            }
            tokio::select! {
                Some(ended) = tasks.next() => report_panic(ended),
                () = tokio::time::sleep(LOOK_AGAIN), if is_restless => {}
                () = tokio::time::sleep(PATIENCE) => {}
                () = self.watch.changed() => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// Has the files that plugins' files name watched too. Those whose folders cannot be are seen by the slow scan.
    fn watch_sources(&self) {
        let slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        let paths = slots.iter().flat_map(|slot| slot.accepted().sources.paths()).collect();
        self.watch.beside(paths, &self.place.dir);
    }

    /// Spawns what is due. True where a file is not at rest yet.
    async fn look_once(&self, tasks: &FuturesUnordered<JoinHandle<()>>) -> bool {
        self.watch.renew(&self.place.dir);
        self.watch_sources();
        let Some(scan) = self.scan().await else { return false };
        let mut names: BTreeSet<String> = lock(&self.slots).keys().cloned().collect();
        names.extend(scan.found.keys().cloned());
        let mut is_restless = false;
        for name in names {
            let slot = self.slot(&name);
            let sources = slot.sources().await;
            let accepted = slot.accepted().clone();
            let found = Found { sources, ..scan.found.get(&name).cloned().unwrap_or_default() };
            let due = self.due(&name, &accepted, &found);
            is_restless |= due != found;
            if slot.is_due() || due != accepted {
                *slot.accepted() = due;
                tasks.push(tokio::spawn(async move { slot.take_up().await }));
            }
        }
        is_restless
    }

    /// What counts of the files now.
    fn due(&self, name: &str, accepted: &Found, found: &Found) -> Found {
        let of = |file, accepted: &Option<Stamp>, found: &Option<Stamp>| {
            let is_due = self.is_due((name.to_owned(), file), accepted == found, Seen::File(found.clone()));
            if is_due { found.clone() } else { accepted.clone() }
        };
        let (old, new) = (&accepted.sources, &found.sources);
        let is_due = self.is_due((name.to_owned(), File::Sources), old == new, Seen::Sources(new.clone()));
        Found {
            component: of(File::Component, &accepted.component, &found.component),
            grants: of(File::Grants, &accepted.grants, &found.grants),
            sources: if is_due { new.clone() } else { old.clone() },
        }
    }

    /// Whether what is found counts: once it is at rest, until then what was accepted does.
    fn is_due(&self, file: (String, File), is_accepted: bool, found: Seen) -> bool {
        let mut restless = lock(&self.restless);
        if is_accepted {
            restless.remove(&file);
            return true;
        }
        match restless.get(&file) {
            Some(first) if first.seen == found && first.since.elapsed() >= REST => {
                restless.remove(&file);
                true
            }
            Some(first) if first.seen == found => false,
            _ => {
                restless.insert(file, Restless { seen: found, since: Stopwatch::start() });
                false
            }
        }
    }

    /// A folder that cannot be read changes nothing: what serves goes on.
    async fn scan(&self) -> Option<Scan> {
        let scanned = slot::scan(&self.place.dir).await;
        let mut told = lock(&self.is_told);
        match scanned {
            Ok(scan) => {
                told.is_unreadable = false;
                for name in &scan.misnamed {
                    if told.misnamed.insert(name.clone()) {
                        tracing::warn!(file = name, "ignored: a plugin's name is of a-z, 0-9 and -, 63 at most");
                    }
                }
                Some(scan)
            }
            Err(error) => {
                if !std::mem::replace(&mut told.is_unreadable, true) {
                    tracing::error!(%error, dir = %self.place.dir.display(), "the plugins folder cannot be read");
                }
                None
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "taking up a plugin failed: please report this");
    }
}

#[cfg(test)]
mod tests;
