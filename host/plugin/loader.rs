//! Looking through the plugins folder: which files are at rest and new, and who takes them up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::lock::lock;

use super::folder::links::Links;
use super::folder::{Found, Kind, Scan, Stamp, leftovers};
use super::rest::Rest;
use super::slot::{self, Place, Slot};
use super::sources::Sources;
use super::watch::Watch;
use super::{LoadError, report};

/// How often files that are not at rest are looked at.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a look waits for files to come to rest. A slow copy is left to the next look.
const REST_PATIENCE: Duration = Duration::from_millis(500);
/// How long a look waits for what it began. A slow compilation goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long reports of changes are gathered before the folder is looked through once more, at least,
const GATHER: Duration = Duration::from_millis(20);
/// and how many times as long as looking took: whoever keeps writing there costs a tenth of a processor at most.
const TIMES_TAKEN: u32 = 9;
/// How long they are gathered at most: two looks see a file at rest, and a change is to be taken up within a second.
const GATHER_MOST: Duration = Duration::from_millis(250);
/// How long a file may keep changing before the plugin says so.
const UNREST_TOLD: Duration = Duration::from_secs(10);
/// Plugins in one folder. What is new beyond that is ignored; what is known stays.
const PLUGINS_MAX: usize = 4_096;

/// The folder and its plugins' places.
#[derive(Debug)]
pub(super) struct Folder {
    place: Arc<Place>,
    watch: Watch,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    restless: Mutex<BTreeMap<(String, Watched), Restless>>,
    /// The links that were there at the last look.
    links: Mutex<Links>,
    /// When the last look ended, and how long it took.
    last: Mutex<Option<(Stopwatch, Duration)>>,
    told: Mutex<Told>,
}

/// What is watched of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    File(Kind),
    /// The files that its own file names.
    Sources,
}

/// What was seen of it.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    File(Option<Stamp>),
    Sources(Sources),
}

/// A file that changes.
#[derive(Debug)]
struct Restless {
    rest: Rest<Seen>,
    /// Since when it has not been at rest.
    first: Stopwatch,
}

/// What the log was told already, and what is shown.
#[derive(Debug, Default)]
struct Told {
    ignored: Vec<(String, &'static str)>,
    more_ignored: usize,
    restless: BTreeSet<String>,
    unclear: BTreeSet<String>,
    is_full: bool,
    is_unreadable: bool,
}

impl Folder {
    /// The folder, which is made where it is missing.
    pub(super) fn open(place: Arc<Place>) -> io::Result<Self> {
        std::fs::create_dir_all(&place.dir)?;
        std::fs::read_dir(&place.dir)?;
        let watch = Watch::new();
        watch.renew(&place.dir);
        let (slots, restless, links, last, told) = Default::default();
        Ok(Self { place, watch, slots, restless, links, last, told })
    }

    /// Waits for a report of a change.
    pub(super) async fn changed(&self) {
        self.watch.changed().await;
    }

    /// The place of that plugin.
    pub(super) fn slot(&self, name: &str) -> Arc<Slot> {
        self.slot_in(&mut lock(&self.slots), name)
    }

    fn slot_in(&self, slots: &mut BTreeMap<String, Arc<Slot>>, name: &str) -> Arc<Slot> {
        slots.entry(name.to_owned()).or_insert_with(|| Arc::new(Slot::new(name.to_owned(), self.place.clone()))).clone()
    }

    /// The place of a plugin that is to be put there, where there is room for one more.
    pub(super) fn slot_of_new(&self, name: &str) -> Result<Arc<Slot>, LoadError> {
        let mut slots = lock(&self.slots);
        if slots.len() >= PLUGINS_MAX && !slots.contains_key(name) {
            // Somebody may have asked for names that nobody has.
            slots.retain(|_, slot| is_needed(slot));
            if slots.len() >= PLUGINS_MAX {
                return Err(report::too_many(PLUGINS_MAX));
            }
        }
        Ok(self.slot_in(&mut slots, name))
    }

    /// Takes up what is new, and what becomes new meanwhile. Answers when to look again where a file is still being
    /// written.
    pub(super) async fn look(&self) -> Option<Duration> {
        let watch = Stopwatch::start();
        let mut tasks: FuturesUnordered<JoinHandle<()>> = FuturesUnordered::new();
        loop {
            self.gather().await;
            let look = Stopwatch::start();
            let is_restless = self.look_once(&tasks).await;
            *lock(&self.last) = Some((Stopwatch::start(), look.elapsed()));
            let is_settled = !is_restless || watch.elapsed() > REST_PATIENCE;
            if tasks.is_empty() && is_settled || watch.elapsed() > PATIENCE {
                let is_more_watched = self.watch_beside();
                return (is_restless || is_more_watched).then_some(LOOK_AGAIN);
            }
            let most = self.place.runtime.scan.min(PATIENCE);
            let pause = self.due_in().map_or(most, |due_in| due_in.min(most));
            tokio::select! {
                Some(ended) = tasks.next() => {
                    report_panic(ended);
                    // One look for all that have ended by now.
                    while let Some(Some(ended)) = tasks.next().now_or_never() {
                        report_panic(ended);
                    }
                }
                () = tokio::time::sleep(LOOK_AGAIN), if is_restless => {}
                // What was not reported, and what is to be tried again, wait for no compiler.
                () = tokio::time::sleep(pause) => {}
                () = self.watch.changed() => {}
            }
        }
    }

    /// How long it is until a command is to be run again, where one is.
    pub(super) fn due_in(&self) -> Option<Duration> {
        lock(&self.slots).values().filter_map(|slot| slot.due_in()).min()
    }

    /// Waits where the last look is only just over.
    async fn gather(&self) {
        let last = *lock(&self.last);
        let pause = last.map(|(ended, took)| gathering(took).saturating_sub(ended.elapsed()));
        tokio::time::sleep(pause.unwrap_or_default()).await;
    }

    /// Has the files watched too that plugins' files name, and what links lead by. Those whose folders cannot be are seen
    /// by the slow scan. True where there are more of them than before.
    fn watch_beside(&self) -> bool {
        let slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        let mut paths: BTreeSet<_> = slots.iter().flat_map(|slot| slot.accepted().sources.paths()).collect();
        paths.extend(lock(&self.links).names().iter().cloned());
        self.watch.beside(paths, &self.place.dir)
    }

    /// The files that look like a plugin's and are none, with the reason, and how many more there are.
    pub(super) fn ignored(&self) -> (Vec<(String, &'static str)>, usize) {
        let told = lock(&self.told);
        (told.ignored.clone(), told.more_ignored)
    }

    /// Spawns what is due. True where a file is not at rest yet.
    async fn look_once(&self, tasks: &FuturesUnordered<JoinHandle<()>>) -> bool {
        self.watch.renew(&self.place.dir);
        self.watch_beside();
        let Some(scan) = self.scan().await else {
            // Nobody reports that the folder is back.
            return !self.place.dir.exists();
        };
        let are_other_links = std::mem::replace(&mut *lock(&self.links), scan.links.clone()) != scan.links;
        // What became of a link's target before it was watched is seen by one more look.
        let mut is_restless = are_other_links && self.watch_beside();
        if !scan.leftovers.is_empty() {
            let (dir, names, now) = (self.place.dir.clone(), scan.leftovers.clone(), self.place.clock.wall());
            slot::blocking(move || leftovers::clear(&dir, &names, now)).await;
        }
        for name in self.names(&scan) {
            // What serves goes on until the system says more: the next look asks again.
            if scan.unclear.contains_key(&name) {
                continue;
            }
            let slot = self.slot(&name);
            let sources = slot.sources().await;
            let accepted = slot.accepted();
            let found = Found { sources, ..scan.found.get(&name).cloned().unwrap_or_default() };
            let due = self.due(&name, &accepted, &found);
            is_restless |= due != found;
            if let Some(unrest) = self.unrest(&name) {
                let slot = slot.clone();
                tasks.push(tokio::spawn(async move { slot.tell_unrest(unrest).await }));
            }
            // What is about to be another file is not tried again as it was.
            let is_stale = slot.is_due() || due == found && slot.is_retry_due();
            let is_other = due != accepted;
            if is_other && !slot.accept(&accepted, due) {
                // Something else was accepted meanwhile: the next look sees what that leaves to do.
                is_restless = true;
            }
            if is_stale || is_other {
                tasks.push(tokio::spawn(async move { slot.take_up().await }));
            }
        }
        is_restless
    }

    /// The plugins to be looked at: those that have a place, and those that get one.
    fn names(&self, scan: &Scan) -> BTreeSet<String> {
        let mut slots = lock(&self.slots);
        slots.retain(|name, slot| scan.found.contains_key(name) || is_needed(slot));
        let mut names: BTreeSet<String> = slots.keys().cloned().collect();
        drop(slots);
        let new = scan.found.iter().filter(|(name, found)| !found.is_nobody() && !names.contains(*name));
        let new: Vec<String> = new.map(|(name, _)| name.clone()).collect();
        let room = PLUGINS_MAX.saturating_sub(names.len());
        let is_full = new.len() > room;
        if is_full && !std::mem::replace(&mut lock(&self.told).is_full, is_full) {
            tracing::error!(
                plugins_max = PLUGINS_MAX,
                "there are too many plugins in the folder: new ones are ignored"
            );
        }
        names.extend(new.into_iter().take(room));
        lock(&self.restless).retain(|(name, _), _| names.contains(name));
        names
    }

    /// What counts of the files now. A component waits for the files that say whether it may come in.
    fn due(&self, name: &str, accepted: &Found, found: &Found) -> Found {
        let of = |kind, accepted: &Option<Stamp>, found: &Option<Stamp>| {
            let file = (name.to_owned(), Watched::File(kind));
            if self.is_due(file, accepted == found, Seen::File(found.clone())) {
                found.clone()
            } else {
                accepted.clone()
            }
        };
        let (old, new) = (&accepted.sources, &found.sources);
        let are_due = self.is_due((name.to_owned(), Watched::Sources), old == new, Seen::Sources(new.clone()));
        let mut due = Found {
            component: of(Kind::Component, &accepted.component, &found.component),
            grants: of(Kind::Grants, &accepted.grants, &found.grants),
            signature: of(Kind::Signature, &accepted.signature, &found.signature),
            sources: if are_due { new.clone() } else { old.clone() },
        };
        if due.grants != found.grants || due.signature != found.signature {
            // What is gone is gone at once.
            due.component = due.component.and_then(|_| accepted.component.clone());
            due.signature.clone_from(&accepted.signature);
        }
        due
    }

    /// Whether what is found counts: once it is at rest, until then what was accepted does.
    fn is_due(&self, file: (String, Watched), is_accepted: bool, found: Seen) -> bool {
        let mut restless = lock(&self.restless);
        if is_accepted {
            restless.remove(&file);
            return true;
        }
        match restless.entry(file) {
            Entry::Occupied(mut known) => known.get_mut().rest.is_over(found),
            Entry::Vacant(new) => {
                new.insert(Restless { rest: Rest::new(found), first: Stopwatch::start() });
                false
            }
        }
    }

    /// What is to be told of a plugin's file that keeps changing, where that is news.
    fn unrest(&self, name: &str) -> Option<Option<LoadError>> {
        let restless = lock(&self.restless);
        let kinds = [Kind::Component, Kind::Grants, Kind::Signature];
        let long = kinds.into_iter().find(|kind| {
            let file = restless.get(&(name.to_owned(), Watched::File(*kind)));
            file.is_some_and(|restless| !restless.rest.has_lasted() && restless.first.elapsed() > UNREST_TOLD)
        });
        let mut told = lock(&self.told);
        match long {
            Some(kind) => told.restless.insert(name.to_owned()).then(|| {
                let file_name = format!("{name}{}", kind.ending());
                tracing::warn!(plugin.name = name, file = file_name, "a file keeps changing and is not taken up");
                Some(report::restless(&file_name, UNREST_TOLD.as_secs()))
            }),
            None if restless.keys().any(|(restless, _)| restless == name) => None,
            None => told.restless.remove(name).then_some(None),
        }
    }

    /// A folder that cannot be read changes nothing: what serves goes on.
    async fn scan(&self) -> Option<Scan> {
        let scanned = slot::scan(&self.place.dir).await;
        let mut told = lock(&self.told);
        match scanned {
            Ok(scan) => {
                told.is_unreadable = false;
                for (file, reason) in &scan.ignored {
                    if !told.ignored.iter().any(|(known, _)| known == file) {
                        tracing::warn!(file, reason, "a file in the plugins folder is ignored");
                    }
                }
                told.ignored = scan.ignored.iter().map(|(file, reason)| (file.clone(), *reason)).collect();
                told.more_ignored = scan.more_ignored;
                for (name, error) in &scan.unclear {
                    if !told.unclear.contains(name) {
                        tracing::warn!(plugin.name = name, %error, "a plugin's files cannot be looked at: it stays as it is");
                    }
                }
                told.unclear = scan.unclear.keys().cloned().collect();
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

/// Whether something stands in that place, or somebody is at it.
fn is_needed(slot: &Arc<Slot>) -> bool {
    Arc::strong_count(slot) > 1 || !slot.is_vacant()
}

/// How long changes are gathered after a look that took so long.
fn gathering(took: Duration) -> Duration {
    took.saturating_mul(TIMES_TAKEN).clamp(GATHER, GATHER_MOST)
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "taking up a plugin failed: please report this");
    }
}

#[cfg(test)]
mod again;
#[cfg(test)]
mod tests;
