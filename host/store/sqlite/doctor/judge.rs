//! Which jobs are whole, and what the others lack. The rules are those by which the store writes.

use std::collections::{BTreeMap, BTreeSet};

use super::census::{AttemptFacts, Census, JobFacts};
use super::tables::Table;
use super::unread::Unread;

/// What was found out about the jobs.
#[derive(Default)]
pub(super) struct Judgement {
    /// Jobs that are there with all that belongs to them.
    pub(super) whole: BTreeSet<i64>,
    /// Unfinished jobs that are there as far as can be told, and may have had attempts later than all that are.
    pub(super) doubtful: BTreeSet<i64>,
    /// Jobs of which something is missing, and what.
    pub(super) incomplete: BTreeMap<i64, Vec<String>>,
    /// Jobs of which there is no row, and where they are still spoken of.
    pub(super) lost: BTreeMap<i64, Vec<&'static str>>,
    /// Jobs that are there whose idempotency key is forgotten.
    pub(super) forgotten_keys: BTreeSet<i64>,
    /// Attempts of jobs that are there whose log and calls are lost.
    pub(super) lost_evidence: u64,
    /// Attempts of jobs that are there of which it is not known any more on which revision they ran.
    pub(super) lost_revisions: u64,
}

impl Judgement {
    /// `unread` are the attempts that can no longer be read; with one clock all times can be compared.
    pub(super) fn of(census: &Census, unread: &Unread, has_one_clock: bool) -> Self {
        let mut judgement = Self::default();
        for (place, job) in &census.jobs {
            let missing = missing(census, *place, job, has_one_clock);
            if !missing.is_empty() {
                judgement.incomplete.insert(*place, missing);
                continue;
            }
            judgement.note_lesser(census, *place, job);
            let newest = census.attempts.get(place).and_then(|attempts| attempts.last());
            if unread.may_hold_one_of(job, newest) {
                judgement.doubtful.insert(*place);
            } else {
                judgement.whole.insert(*place);
            }
        }
        judgement.find_lost(census);
        judgement
    }

    /// The jobs that can be taken over.
    pub(super) fn taken(&self) -> impl Iterator<Item = i64> {
        self.whole.iter().chain(&self.doubtful).copied()
    }

    /// That job cannot be taken over after all.
    pub(super) fn refuse(&mut self, place: i64, why: String) {
        self.whole.remove(&place);
        self.doubtful.remove(&place);
        self.incomplete.insert(place, vec![why]);
    }

    /// What a job can do without.
    fn note_lesser(&mut self, census: &Census, place: i64, job: &JobFacts) {
        let has_key = |key: &String| {
            let known = census.keys.get(&place);
            known.is_some_and(|known| known.key == *key && known.tail == job.tail)
        };
        if job.key.as_ref().is_some_and(|key| !has_key(key)) {
            self.forgotten_keys.insert(place);
        }
        for attempt in census.attempts.get(&place).into_iter().flatten() {
            let evidence = || census.body(Table::Evidence, attempt.seq, attempt.evidence_sum);
            self.lost_evidence += u64::from(attempt.evidence_sum.is_some() && evidence().is_none());
            let knows_revision = attempt.revision.is_none_or(|id| census.revisions.contains_key(&id));
            self.lost_revisions += u64::from(!knows_revision);
        }
    }

    fn find_lost(&mut self, census: &Census) {
        let mut seen = |place: i64, in_what: &'static str| {
            if place > 0 && !census.jobs.contains_key(&place) {
                let said = self.lost.entry(place).or_default();
                if !said.contains(&in_what) {
                    said.push(in_what);
                }
            }
        };
        census.damaged.get(&Table::Jobs).into_iter().flatten().for_each(|place| seen(*place, "its damaged row"));
        census.indexed.iter().for_each(|place| seen(*place, "the index of jobs"));
        census.payload_places().for_each(|place| seen(place, "its payload"));
        census.attempts.keys().for_each(|place| seen(*place, "its attempts"));
        census.acts.keys().for_each(|place| seen(*place, "what people did to it"));
        let outlived = |place: &&i64| !census.orphan_keys.contains_key(place);
        census.keys.keys().filter(outlived).for_each(|place| seen(*place, "its idempotency key"));
    }
}

fn missing(census: &Census, place: i64, job: &JobFacts, has_one_clock: bool) -> Vec<String> {
    let mut missing = Vec::new();
    if census.doubtful.contains(&place) {
        missing.push("there are two versions of its row".to_owned());
    }
    let is_there = |table, sum: Option<i64>| {
        let wanted = if census.has_sums() { sum.is_some() } else { table == Table::Payloads };
        !wanted || census.body(table, place, sum).is_some()
    };
    let mut body = |table, sum, what| {
        if !is_there(table, sum) {
            let how = if census.has_body(table, place) { "damaged" } else { "gone" };
            missing.push(format!("its {what} is {how}"));
        }
    };
    body(Table::Payloads, job.payload_sum, "payload");
    body(Table::Results, job.result_sum, "result");
    let attempts = census.attempts.get(&place).map_or(&[][..], Vec::as_slice);
    missing.extend(gaps(attempts));
    missing.extend(ends(job, attempts));
    missing.extend(acts(census, place, job, attempts, has_one_clock));
    missing
}

/// Attempts are a chain from the first to the newest, without a gap.
fn gaps(attempts: &[AttemptFacts]) -> Option<String> {
    let mut previous: Option<&AttemptFacts> = None;
    for attempt in attempts {
        let wanted = previous.map_or(1, |previous| previous.n + 1);
        if attempt.n != wanted {
            return Some(format!("its attempt {wanted} is missing"));
        }
        if attempt.previous != previous.map(|previous| previous.seq) {
            return Some(format!("its attempt {wanted} does not follow the one before"));
        }
        previous = Some(attempt);
    }
    None
}

/// The row and the newest attempt tell the same end.
fn ends(job: &JobFacts, attempts: &[AttemptFacts]) -> Option<String> {
    let newest = attempts.last();
    let told = newest.map(|newest| newest.seq);
    if job.last_attempt.is_some_and(|last| told.is_none_or(|told| told < last)) {
        return Some("its newest attempt is missing".to_owned());
    }
    let older = || Some("its row is older than its newest attempt".to_owned());
    match (job.end_state.as_deref(), newest) {
        (Some(_), _) if job.last_attempt != told => older(),
        (Some("completed"), Some(newest)) if !newest.is_completed => older(),
        (None, Some(newest)) => {
            let overruled = job.retried.is_some_and(|(_, after)| after >= newest.n);
            // The end of an attempt that was cancelled, of a job that a person sent on: its row names it.
            let is_noted = job.last_attempt == told;
            if newest.goes_on || overruled || is_noted { None } else { older() }
        }
        _ => None,
    }
}

/// What people did is told without a gap, and the row agrees with it.
fn acts(census: &Census, place: i64, job: &JobFacts, attempts: &[AttemptFacts], has_one_clock: bool) -> Option<String> {
    let acts = census.acts.get(&place).map_or(&[][..], Vec::as_slice);
    let whole = acts.iter().zip(1..).all(|(act, seq)| act.seq == seq);
    // The row has the time of the newest retry, which is moved along where the wall clock was set.
    let retries_agree = match (acts.iter().rfind(|act| !act.is_cancel), job.retried) {
        (Some(newest), Some((at_ms, _))) => !has_one_clock || newest.at_ms == at_ms,
        (newest, retried) => newest.is_none() && retried.is_none(),
    };
    let is_cancelled = job.end_state.as_deref() == Some("cancelled");
    let agrees = match acts.last() {
        Some(last) if last.is_cancel => is_cancelled && job.finished_ms == Some(last.at_ms),
        _ => !is_cancelled || attempts.last().is_some_and(|attempt| attempt.is_cancelled),
    };
    (!(whole && retries_agree && agrees)).then(|| "what people did to it does not agree with its row".to_owned())
}
