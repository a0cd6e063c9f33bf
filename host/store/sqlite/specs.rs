//! What is to be done in the jobs that are handed out: from the cache, or read back from disk.
//!
//! Who has to read reads ahead too, what comes next in the same lanes: a backlog then comes from disk in long stretches,
//! and not by a hop to another thread for each few jobs.

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::Shared;
use super::cache::Known;
use super::fault::{Outcome, damaged};
use super::rows::{self, JobRow};
use crate::clock::UnixMs;
use crate::job::live::Handed;
use crate::store::{Claimed, Lease, StoreError};

/// How many jobs are read ahead at most.
const AHEAD_MAX: usize = 256;
/// How many bytes of payloads are read ahead before it is enough.
const AHEAD_BYTES: usize = 1 << 20;

impl Shared {
    /// Finds what was asked for, in the cache or on disk, and which of them are not there as they were written. Only a
    /// disk that cannot be read at all stops the store, unless that may pass: no later claim would fare better.
    pub(super) async fn with_specs(&self, handed: &[Handed]) -> Result<(Vec<Claimed>, Vec<Handed>), StoreError> {
        let mut known: Vec<Option<Known>> = {
            let mut cache = self.cache();
            handed.iter().map(|job| cache.take(job.id.place())).collect()
        };
        let unknown: Vec<i64> =
            handed.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(job, _)| job.id.place()).collect();
        if !unknown.is_empty() {
            let ahead = self.ahead_of(&unknown);
            let both = move |conn: &Connection| Ok((each_of(conn, &unknown), some_of(conn, &ahead, AHEAD_BYTES)));
            let read = self.readers.work.read(both).await;
            let (read, ahead) = read.inspect_err(|error| self.poison_unless_passing(error))?;
            let mut read = read.into_iter();
            for known in known.iter_mut().filter(|known| known.is_none()) {
                *known = match read.next() {
                    Some(Err(error)) if !matches!(error, StoreError::Damaged(_)) => {
                        self.poison_unless_passing(&error);
                        return Err(error);
                    }
                    read => read.and_then(Result::ok),
                };
            }
            let mut cache = self.cache();
            ahead.into_iter().for_each(|(place, known)| cache.put(place, known));
        }
        let (mut claimed, mut unreadable) = (Vec::with_capacity(handed.len()), Vec::new());
        for (job, known) in handed.iter().copied().zip(known) {
            match known {
                Some(known) => claimed.push(job.claimed(known)),
                None => unreadable.push(job),
            }
        }
        Ok((claimed, unreadable))
    }

    /// What comes next where these came from, up to what is known.
    fn ahead_of(&self, places: &[i64]) -> Vec<i64> {
        let memory = self.memory();
        let cache = self.cache();
        memory.live.next_beside(places, AHEAD_MAX, |place| !cache.has(place))
    }
}

impl Handed {
    fn claimed(self, known: Known) -> Claimed {
        Claimed {
            lease: Lease { job: self.id, token: self.token },
            spec: known.spec,
            created_at: known.created_at,
            attempt: self.attempt,
            failed_before: self.failed_before,
            spared: self.spared,
            owed: self.owed,
            started_at: self.started_at,
        }
    }
}

/// What is at each of these places. What is not found whole where all are read in one go is looked at by itself, so that a
/// damaged row takes no other with it, and is told of.
fn each_of(conn: &Connection, places: &[i64]) -> Vec<Result<Known, StoreError>> {
    let mut found: FxHashMap<_, _> = some_of(conn, places, usize::MAX).into_iter().collect();
    places.iter().map(|place| found.remove(place).map_or_else(|| the_one(conn, *place), Ok)).collect()
}

/// What is whole at these places, until it is so many bytes of payloads.
fn some_of(conn: &Connection, places: &[i64], bytes: usize) -> Vec<(i64, Known)> {
    let mut in_order = places.to_vec();
    in_order.sort_unstable();
    let (mut found, mut room) = (Vec::with_capacity(places.len()), bytes);
    let take = |row: JobRow, payload: Vec<u8>| {
        room = room.saturating_sub(payload.len());
        found.push((row.id.place(), known(row, payload)));
        room > 0
    };
    // What cannot be read fails again, and is told, where it is asked for by itself.
    _ = rows::whole_jobs(conn, &in_order, take);
    found
}

fn the_one(conn: &Connection, place: i64) -> Result<Known, StoreError> {
    let read = || -> Outcome<Known> {
        let row = rows::job(conn, place)?.ok_or_else(|| damaged("job", place, "it is gone"))?;
        let payload = rows::payload(conn, &row)?;
        Ok(known(row, payload))
    };
    read().map_err(|fault| StoreError::from(&fault))
}

fn known(row: JobRow, payload: Vec<u8>) -> Known {
    Known { created_at: UnixMs(row.created_ms), spec: row.into_spec(payload).into() }
}
