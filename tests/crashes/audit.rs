//! Holding what the host says against the client's book and the downstream's ledger.

use std::collections::BTreeSet;

use super::book::{Act, Ends, Wanted};
use super::boots::Boots;
use super::common::{Value, ms};
use super::ledger::{Call, Calls};

/// How soon after the host is ready an interrupted job is runnable again: the promise, in milliseconds.
const RECOVERY_MS: i64 = 1_000;
/// What is allowed beside it for a machine that is busy with other things: so much, and so many times the longest that
/// this test itself was kept from running meanwhile.
const ROOM_MS: i64 = 500;
const ROOM_STALLS: i64 = 4;
/// The beginning of an attempt is on disk a few milliseconds later, on a disk that is not busy: an attempt that is older
/// than this at a kill must be known afterwards, but for what the machine was slow by.
const UNRECORDED_START_MS: i64 = 250;
/// The same for its end, and for whatever else is seen late.
pub const UNRECORDED_MS: i64 = 1_000;
/// The host and this test read the same clock at different moments.
const CLOCKS_MS: i64 = 20;

/// What came out.
#[derive(Debug, Default)]
pub struct Findings {
    pub broken: Vec<String>,
    /// Attempts that the host says it was killed in.
    pub interrupted: usize,
    /// The longest that such a job waited while a host was ready, in milliseconds.
    pub recovery_worst_ms: i64,
    /// Calls that took effect though an earlier one had.
    pub duplicates: usize,
    /// Calls of attempts of which the host knew nothing afterwards.
    pub unrecorded: usize,
}

/// An attempt as the host tells it.
struct Attempt {
    n: u64,
    started: i64,
    finished: i64,
    outcome: String,
}

/// A job under examination.
pub struct Case<'a> {
    pub name: &'a str,
    pub wanted: &'a Wanted,
    pub calls: &'a [Call],
    pub boots: &'a Boots,
}

impl Case<'_> {
    fn breaks(&self, findings: &mut Findings, what: &str) {
        findings.broken.push(format!("{}: {what}\n  {:?}\n  {:?}", self.name, self.wanted, self.calls));
    }

    /// Judges a job that is final.
    pub fn judge(&self, job: &Value, findings: &mut Findings) {
        let attempts = attempts(job);
        let mut check = |holds: bool, what: &str| {
            if !holds {
                self.breaks(findings, &format!("{what}: {job}"));
            }
        };
        check(self.may_end_in(&job["state"]), "it ended as it must not");
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.n).collect();
        check(numbers == (1..=attempts.len() as u64).collect::<Vec<_>>(), "a number is missing or was given twice");
        check(job["attempt"] == attempts.len(), "attempts are miscounted");
        let completed = attempts.iter().filter(|attempt| attempt.outcome == "completed").count();
        check(completed == usize::from(job["state"] == "completed"), "it was completed once, and then it ends");
        check(attempts.windows(2).all(|pair| pair[0].finished <= pair[1].started), "two attempts at once");
        check(self.acts_are_kept(job), "an act that was acknowledged is not there, or one that nobody asked for is");
        self.judge_calls(&attempts, findings);
        self.judge_recovery(&attempts, findings);
    }

    fn may_end_in(&self, state: &Value) -> bool {
        let Ends { completed, discarded, cancelled } = self.wanted.ends();
        match state.as_str() {
            Some("completed") => completed,
            Some("discarded") => discarded,
            Some("cancelled") => cancelled,
            _ => false,
        }
    }

    fn acts_are_kept(&self, job: &Value) -> bool {
        [Act::Cancel, Act::Retry].into_iter().all(|act| {
            let kept = job["acts"].as_array().into_iter().flatten().filter(|kept| kept["what"] == act.name()).count();
            let asked = || self.wanted.acts.iter().filter(|asked| asked.act == act);
            let acknowledged = asked().filter(|asked| asked.status == Some(200)).count();
            let unanswered = asked().filter(|asked| asked.status.is_none()).count();
            (acknowledged..=acknowledged + unanswered).contains(&kept)
        })
    }

    /// Each call is the one call of one attempt; or the attempt began so shortly before a kill that nobody knows of it.
    fn judge_calls(&self, attempts: &[Attempt], findings: &mut Findings) {
        let mut of_attempt: Vec<Option<&Call>> = vec![None; attempts.len()];
        // From the last one on, and first those within an attempt's own time: that an attempt ended late does not make a
        // later one's call its own, nor does that of which nobody knows.
        let mut open: Vec<&Call> = self.calls.iter().rev().collect();
        for late_ms in [CLOCKS_MS, UNRECORDED_MS] {
            open.retain(|call| {
                let is_of = |attempt: &Attempt| {
                    (attempt.started - CLOCKS_MS..=attempt.finished.saturating_add(late_ms)).contains(&call.at)
                };
                let place = (0..attempts.len()).rfind(|place| of_attempt[*place].is_none() && is_of(&attempts[*place]));
                if let Some(place) = place {
                    of_attempt[place] = Some(call);
                }
                place.is_none()
            });
        }
        for call in open {
            if self.boots.killed_soon_after(call.at, UNRECORDED_START_MS, ROOM_STALLS) {
                findings.unrecorded += 1;
            } else {
                self.breaks(findings, &format!("nothing accounts for the call at {}", call.at));
            }
        }
        let completed = attempts.iter().position(|attempt| attempt.outcome == "completed");
        if completed.is_some_and(|place| !of_attempt[place].is_some_and(Call::succeeded)) {
            self.breaks(findings, "it is said to be completed, and its downstream does not know of it");
        }
    }

    fn judge_recovery(&self, attempts: &[Attempt], findings: &mut Findings) {
        for attempt in attempts.iter().filter(|attempt| attempt.outcome == "interrupted") {
            findings.interrupted += 1;
            if self.boots.killed_between(attempt.started - CLOCKS_MS, attempt.finished).is_none() {
                self.breaks(findings, &format!("attempt {} was interrupted by nothing", attempt.n));
            }
        }
        let pairs = attempts.windows(2).filter(|pair| pair[0].outcome == "interrupted");
        for pair in pairs {
            let (waited, stall) = self.boots.up_between(pair[0].finished, pair[1].started);
            findings.recovery_worst_ms = findings.recovery_worst_ms.max(waited);
            if waited > RECOVERY_MS + ROOM_MS + ROOM_STALLS * stall {
                let n = pair[1].n;
                self.breaks(findings, &format!("attempt {n} came {waited} ms after the host was ready"));
            }
        }
    }

    /// Judges a job that the host no longer knows: it must have come to an end that is deleted after `kept_ms`.
    pub fn judge_gone(&self, now: i64, kept_ms: i64, findings: &mut Findings) {
        let Ends { completed, cancelled, .. } = self.wanted.ends();
        let done = self.calls.iter().filter(|call| completed && call.succeeded()).filter_map(|call| call.effect).max();
        let age = now - done.map_or(0, |(at, _)| at);
        if done.is_none() && !cancelled {
            self.breaks(findings, "it was acknowledged, and is lost");
        } else if age < kept_ms - CLOCKS_MS {
            self.breaks(findings, &format!("it was deleted {age} ms after it had been done"));
        }
    }
}

fn attempts(job: &Value) -> Vec<Attempt> {
    let read = |attempt: &Value| Attempt {
        n: attempt["n"].as_u64().expect("a number"),
        started: ms(&attempt["started_at"]),
        finished: if attempt["finished_at"].is_null() { i64::MAX } else { ms(&attempt["finished_at"]) },
        outcome: attempt["outcome"].as_str().unwrap_or("none").to_owned(),
    };
    job["attempts"].as_array().into_iter().flatten().map(read).collect()
}

/// Judges the whole ledger: who called, under which key, what overlapped, what was done more than once.
pub fn judge_ledger<'a>(
    calls: &Calls,
    wanted: impl Fn(&str) -> Option<&'a Wanted>,
    boots: &Boots,
    findings: &mut Findings,
) {
    for (name, calls) in calls {
        let Some(wanted) = wanted(name) else {
            findings.broken.push(format!("nobody asked for the calls of {name}: {calls:?}"));
            continue;
        };
        let case = Case { name, wanted, calls, boots };
        let keys: BTreeSet<_> = calls.iter().map(|call| call.key.as_str()).collect();
        let expected = wanted.key.as_deref().or(wanted.id());
        if keys.len() != 1 || expected.is_some_and(|expected| !keys.contains(expected)) {
            case.breaks(findings, &format!("it was called under {keys:?}, not under {expected:?}"));
        }
        judge_order(&case, findings);
        judge_cancelled(&case, findings);
    }
}

/// Two calls at once, or two effects, are there only where a kill came between, and where the host could not know yet.
fn judge_order(case: &Case<'_>, findings: &mut Findings) {
    for pair in case.calls.windows(2) {
        let is_over = pair[0].answered.is_some_and(|answered| answered <= pair[1].at);
        // A caller that was killed or told to stop is gone at once; that it is, is seen a little later.
        let was_given_up = case.wanted.asked(Act::Cancel);
        if !is_over && !was_given_up && case.boots.killed_between(pair[0].at, pair[1].at).is_none() {
            case.breaks(findings, "it was called twice at once");
        }
    }
    let effects: Vec<_> = case.calls.iter().filter(|call| call.succeeded()).collect();
    for pair in effects.windows(2) {
        findings.duplicates += 1;
        let known_by = pair[0].answered.map_or(i64::MAX, |answered| answered + UNRECORDED_MS);
        if case.boots.killed_between(pair[0].at, pair[1].at.min(known_by)).is_none() {
            case.breaks(findings, "it was done twice, and no kill accounts for that");
        }
    }
}

fn judge_cancelled(case: &Case<'_>, findings: &mut Findings) {
    let Some(last) = case.wanted.acts.last() else { return };
    if last.act == Act::Cancel && last.status == Some(200) {
        let late = case.calls.iter().any(|call| call.at > last.answered_at + UNRECORDED_MS);
        if late {
            case.breaks(findings, "it was called after it had been cancelled");
        }
    }
}
