//! Attempts that can no longer be read, and which jobs they may have been of.
//!
//! A retry writes the row of the attempt and nothing else. Where that row is lost, nothing says that there was one: a job
//! that goes on looks as it did before. Only that something is lost there is known, between which numbers, and about when.

use std::collections::BTreeMap;

use super::census::{AttemptFacts, Census, JobFacts};
use super::pages::Pages;

/// How much later than the end of an attempt it is written, at most: numbers are drawn when attempts are written, their
/// times when they end.
const WRITTEN_WITHIN_MS: i64 = 3_600_000;

/// Where attempts may be lost.
pub(super) struct Unread {
    /// The last number of each stretch of numbers that are not there, in order, and the moment up to which attempts of it,
    /// or of a later stretch, may have ended.
    stretches: Vec<(i64, i64)>,
}

impl Unread {
    pub(super) fn of(pages: &Pages, census: &Census) -> Self {
        if census.attempts_unread.is_empty() {
            return Self { stretches: Vec::new() };
        }
        let known: BTreeMap<i64, i64> =
            census.attempts.values().flatten().map(|attempt| (attempt.seq, attempt.finished_ms)).collect();
        Self::among(&known, &census.attempts_unread, census.has_one_clock(pages))
    }

    /// `known` are the attempts that are there, with their ends.
    fn among(known: &BTreeMap<i64, i64>, unread: &[(i64, i64)], has_one_clock: bool) -> Self {
        let latest = |last: i64| {
            let next = known.range(last.saturating_add(1)..).next().filter(|_| has_one_clock);
            next.map_or(i64::MAX, |(_, finished_ms)| finished_ms.saturating_add(WRITTEN_WITHIN_MS))
        };
        let mut stretches = Vec::new();
        let numbers = unread.iter().map(|(above, up_to)| (*above.max(&0), *up_to));
        for (above, up_to) in numbers.filter(|(above, up_to)| above < up_to) {
            let mut before = above;
            for seq in known.range(above + 1..=up_to).map(|(seq, _)| *seq) {
                if seq > before + 1 {
                    stretches.push((seq - 1, latest(seq - 1)));
                }
                before = seq;
            }
            if before < up_to {
                stretches.push((up_to, latest(up_to)));
            }
        }
        stretches.sort_unstable();
        let mut later = i64::MIN;
        for (_, latest) in stretches.iter_mut().rev() {
            later = later.max(*latest);
            *latest = later;
        }
        Self { stretches }
    }

    /// Whether one of them may have been of that job, later than the newest of its own that is there.
    pub(super) fn may_hold_one_of(&self, job: &JobFacts, newest: Option<&AttemptFacts>) -> bool {
        // The end of a job is written on its row.
        job.end_state.is_none() && self.may_hold(newest.map_or(0, |newest| newest.seq), not_before(job, newest))
    }

    fn may_hold(&self, behind: i64, not_before_ms: i64) -> bool {
        let from = self.stretches.partition_point(|(last, _)| *last <= behind);
        self.stretches.get(from).is_some_and(|(_, latest)| *latest >= not_before_ms)
    }
}

/// Before that moment there was no attempt after the newest that is there.
fn not_before(job: &JobFacts, newest: Option<&AttemptFacts>) -> i64 {
    let due = match newest {
        None if job.retried.is_none() => job.run_at_ms,
        Some(newest) if job.retried.is_none_or(|(_, after)| after < newest.n) => newest.next_run_ms.unwrap_or(0),
        _ => 0,
    };
    due.max(job.created_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = WRITTEN_WITHIN_MS;

    /// Attempts 3, 4, 7, 8 and 12, that ended in as many hours.
    fn unread(ranges: &[(i64, i64)], has_one_clock: bool) -> Unread {
        Unread::among(&[3, 4, 7, 8, 12].map(|seq| (seq, seq * HOUR)).into(), ranges, has_one_clock)
    }

    #[test]
    fn only_numbers_that_are_not_there_and_cannot_be_read_are_in_doubt() {
        assert_eq!(unread(&[(3, 4), (7, 7), (6, 8)], true).stretches, []);
        assert_eq!(unread(&[(4, 6)], true).stretches, [(6, 8 * HOUR)]);
        assert_eq!(unread(&[(3, 7)], true).stretches, [(6, 8 * HOUR)]);
        let all = [(2, i64::MAX), (6, i64::MAX), (11, i64::MAX), (i64::MAX, i64::MAX)];
        assert_eq!(unread(&[(i64::MIN, i64::MAX)], true).stretches, all);
    }

    #[test]
    fn a_job_is_in_doubt_where_its_next_attempt_may_have_been() {
        let unread = unread(&[(4, 6)], true);
        assert!(unread.may_hold(0, 0) && unread.may_hold(4, 8 * HOUR));
        // It has a later attempt; it was not due yet.
        assert!(!unread.may_hold(7, 0) && !unread.may_hold(4, 8 * HOUR + 1));
    }

    #[test]
    fn times_of_two_clocks_are_not_compared() {
        assert!(unread(&[(4, 6)], false).may_hold(4, i64::MAX));
    }
}
