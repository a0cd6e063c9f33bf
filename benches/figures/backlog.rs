//! Stores with many jobs in them, filled through the store itself in large batches.

use std::path::Path;
use std::sync::Arc;

use windlass::clock::{Chance, UnixMs};
use windlass::config::SyncMode;
use windlass::job::gates::Opened;
use windlass::job::{Admission, Admit, Completion, Disposition, Lane, OutcomeKind};
use windlass::store::sqlite::{SqliteOptions, SqliteStore};
use windlass::store::{Claimed, Finish, Store as _};

use crate::jobs::{job, payload};
use crate::store;

/// How many jobs one call brings.
const BATCH: usize = 5_000;

/// A store that keeps as many jobs in memory as there may be.
pub fn open(path: &Path, sync: SyncMode) -> Arc<SqliteStore> {
    let options = SqliteOptions { sync, held_jobs_max: 100_000_000, ..SqliteOptions::default() };
    store(path, options)
}

/// Puts so many jobs of a plugin into a store, each due when `due` says; it is given draws from 0 to 1.
pub async fn wait(path: &Path, jobs: usize, plugin: &str, due: impl Fn(f64) -> UnixMs) {
    let (store, chance, payload) = (open(path, SyncMode::Normal), Chance::seeded(2), payload("http://localhost"));
    for first in (0..jobs).step_by(BATCH) {
        let batch = (first..jobs.min(first + BATCH)).map(|_| job(plugin, &payload, due(chance.unit())));
        store.enqueue(batch.collect(), UnixMs(1_000_000_000_000)).await.expect("room");
    }
}

/// Puts so many jobs into a store that have been completed.
pub async fn end(path: &Path, jobs: usize, plugin: &str, now: UnixMs) {
    tried(path, jobs, plugin, now, |job| completed(job, now)).await;
}

/// Puts so many jobs of a plugin into a store that were tried once, each due again when `due` says.
pub async fn fail(path: &Path, jobs: usize, plugin: &str, now: UnixMs, due: impl Fn(f64) -> UnixMs) {
    let chance = Chance::seeded(3);
    tried(path, jobs, plugin, now, |job| ended(job, now, Disposition::Retry { at: due(chance.unit()), counted: true }))
        .await;
}

async fn tried(path: &Path, jobs: usize, plugin: &str, now: UnixMs, end: impl Fn(&Claimed) -> Finish) {
    let (store, payload) = (open(path, SyncMode::Normal), payload("http://localhost"));
    for first in (0..jobs).step_by(BATCH) {
        let count = jobs.min(first + BATCH) - first;
        store.enqueue((0..count).map(|_| job(plugin, &payload, now)).collect(), now).await.expect("room");
        let claimed = store.claim(count, now, &mut Anybody).await.expect("jobs");
        store.finish(&claimed.iter().map(&end).collect::<Vec<_>>()).await.expect("it is recorded");
    }
}

fn completed(claimed: &Claimed, now: UnixMs) -> Finish {
    Finish {
        kind: OutcomeKind::Completed,
        result: Some(Completion::default()),
        ..ended(claimed, now, Disposition::Complete)
    }
}

/// The end of an attempt of which there is nothing to tell.
pub fn ended(claimed: &Claimed, now: UnixMs, disposition: Disposition) -> Finish {
    let kind = OutcomeKind::TryAgain;
    Finish::bare(claimed.lease, claimed.attempt, claimed.started_at, now, kind, disposition)
}

/// Gates that let everybody in.
pub struct Anybody;

impl Admission for Anybody {
    fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
        Admit::Yes
    }

    fn opened(&mut self) -> Opened {
        Opened::Any
    }
}
