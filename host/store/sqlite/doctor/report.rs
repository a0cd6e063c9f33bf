//! What the doctor found, for programs and for people.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;
use serde::Serialize;

use super::census::{self, Census};
use super::judge::Judgement;
use super::pages::Pages;
use super::tables::Table;
use crate::clock::UnixMs;
use crate::job::JobId;

/// How much of an id is known where only its place is.
const ID_CHARS_BY_PLACE: usize = 18;
/// The bits of a place below its milliseconds.
const PLACE_COUNTER_BITS: u32 = 15;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The store.
    pub store: String,
    /// Whether a host uses it.
    pub in_use: bool,
    /// The number of its layout; none where it no longer says.
    pub layout: Option<u32>,
    /// Nothing is wrong with it.
    pub whole: bool,
    /// What is wrong with its write-ahead log.
    pub log: Option<String>,
    /// What is wrong with its structure, as SQLite tells it.
    pub structure: Vec<String>,
    /// Pages that cannot be read, or are not what should be there.
    pub bad_pages: Vec<u32>,
    /// Rows that are not as they were written, by table.
    pub damaged_rows: BTreeMap<&'static str, usize>,
    /// How many jobs there are.
    pub jobs: JobCounts,
    /// Unfinished jobs that are there as far as can be told, and may have had attempts that are lost.
    pub doubtful: Vec<DoubtfulJob>,
    /// Jobs of which something is missing.
    pub incomplete: Vec<IncompleteJob>,
    /// Jobs that are gone, as far as anything still speaks of them.
    pub lost: Vec<LostJob>,
    /// Jobs that are there whose idempotency key is forgotten: the same request would be taken for a new one.
    pub forgotten_keys: Vec<String>,
    /// Attempts of jobs that are there whose log and calls are lost.
    pub lost_evidence: u64,
    /// Attempts of jobs that are there of which it is not known any more on which revision they ran.
    pub lost_revisions: u64,
}

/// How many jobs stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobCounts {
    /// There with all that belongs to them.
    pub whole: u64,
    /// Of these, those that are not final.
    pub unfinished: u64,
    /// There and unfinished, with all that can be told to belong to them: they may have had later attempts, which are
    /// lost. They are salvaged.
    pub doubtful: u64,
    /// There, but not with all that belongs to them.
    pub incomplete: u64,
    /// Known to have been, and no longer there.
    pub lost: u64,
}

/// An unfinished job that may have had attempts that are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoubtfulJob {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// Its plugin.
    pub plugin: Option<String>,
    /// Its downstream.
    pub downstream: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
    /// How many attempts are there: the next one, and more, may have been.
    pub attempts: i64,
}

/// A job of which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncompleteJob {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// Its plugin.
    pub plugin: Option<String>,
    /// Its downstream.
    pub downstream: Option<String>,
    /// The end that its row tells; none: unfinished.
    pub end: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
    /// What is missing.
    pub missing: Vec<String>,
}

/// A job that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostJob {
    /// Its id, where it is known.
    pub id: Option<String>,
    /// What its id begins with.
    pub id_begins: String,
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// What still speaks of it.
    pub seen_in: Vec<&'static str>,
}

impl Report {
    pub(super) fn new(store: &Path, in_use: bool, layout: Option<u32>) -> Self {
        Self {
            store: store.display().to_string(),
            in_use,
            layout,
            whole: false,
            log: None,
            structure: Vec::new(),
            bad_pages: Vec::new(),
            damaged_rows: BTreeMap::new(),
            jobs: JobCounts::default(),
            doubtful: Vec::new(),
            incomplete: Vec::new(),
            lost: Vec::new(),
            forgotten_keys: Vec::new(),
            lost_evidence: 0,
            lost_revisions: 0,
        }
    }

    pub(super) fn tell_rows(&mut self, census: &Census) {
        self.bad_pages.clone_from(&census.bad_pages);
        self.damaged_rows = census.damaged.iter().map(|(table, rows)| (table.name(), rows.len())).collect();
    }

    pub(super) fn tell_jobs(&mut self, pages: &Pages, census: &Census, judgement: &Judgement) {
        let id = |place: i64| {
            let tail = census.jobs.get(&place).map(|job| job.tail);
            let tail = tail.or_else(|| census.keys.get(&place).map(|key| key.tail));
            (tail.map(|tail| JobId::from_parts(place, tail).to_string()), JobId::from_parts(place, 0).to_string())
        };
        let is_unfinished = |place: &&i64| census.jobs.get(place).is_some_and(|job| job.end_state.is_none());
        self.jobs = JobCounts {
            whole: judgement.whole.len() as u64,
            unfinished: judgement.whole.iter().filter(is_unfinished).count() as u64,
            doubtful: judgement.doubtful.len() as u64,
            incomplete: judgement.incomplete.len() as u64,
            lost: judgement.lost.len() as u64,
        };
        self.doubtful = judgement.doubtful.iter().map(|place| doubtful_job(pages, census, *place)).collect();
        let incomplete = judgement.incomplete.iter();
        self.incomplete = incomplete.map(|(place, missing)| incomplete_job(pages, census, *place, missing)).collect();
        self.lost = judgement
            .lost
            .iter()
            .map(|(place, seen_in)| {
                let (id, begins) = id(*place);
                let id_begins = begins[..ID_CHARS_BY_PLACE].to_owned();
                LostJob { id, id_begins, accepted_at: accepted_at(*place), seen_in: seen_in.clone() }
            })
            .collect();
        self.forgotten_keys = judgement.forgotten_keys.iter().filter_map(|place| id(*place).0).collect();
        self.lost_evidence = judgement.lost_evidence;
        self.lost_revisions = judgement.lost_revisions;
        self.whole = self.log.is_none()
            && self.structure.is_empty()
            && self.bad_pages.is_empty()
            && self.damaged_rows.is_empty()
            && (self.jobs.doubtful, self.jobs.incomplete, self.jobs.lost) == (0, 0, 0)
            && self.forgotten_keys.is_empty()
            && (self.lost_evidence, self.lost_revisions) == (0, 0);
    }
}

fn accepted_at(place: i64) -> UnixMs {
    UnixMs(place >> PLACE_COUNTER_BITS)
}

fn doubtful_job(pages: &Pages, census: &Census, place: i64) -> DoubtfulJob {
    let attempts = census.attempts.get(&place).and_then(|attempts| attempts.last()).map_or(0, |newest| newest.n);
    let IncompleteJob { id, accepted_at, plugin, downstream, idempotency_key, .. } =
        incomplete_job(pages, census, place, &[]);
    DoubtfulJob { id, accepted_at, plugin, downstream, idempotency_key, attempts }
}

fn incomplete_job(pages: &Pages, census: &Census, place: i64, missing: &[String]) -> IncompleteJob {
    let job = census.jobs.get(&place);
    let row = job.and_then(|job| census::read(pages, Table::Jobs, job.spot)).unwrap_or_default();
    let text = |at: usize| if let Some(Value::Text(text)) = row.get(at) { Some(text.clone()) } else { None };
    IncompleteJob {
        id: JobId::from_parts(place, job.map_or(0, |job| job.tail)).to_string(),
        accepted_at: accepted_at(place),
        plugin: text(2),
        downstream: text(3),
        end: text(15),
        idempotency_key: text(12),
        missing: missing.to_vec(),
    }
}
