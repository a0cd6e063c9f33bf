//! What an attempt says of its downstream.

use std::time::Duration;

use crate::job::outcome::{Calls, Evidence, Outcome, OutcomeKind};

/// What an attempt says of its downstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered, be it that this job is wrong.
    Well,
    /// It did not do its part; why, for people.
    Ill(String),
    /// It asked everybody to wait; for how long, where it said so, and no longer than the plugin's policy allows.
    Busy(Option<Duration>, String),
    /// The plugin failed by itself: it trapped, or used up what it may.
    Unfit(String),
    /// Nothing: the plugin answered without calling it.
    Silent,
    /// Nothing: the attempt was ended from outside.
    Nothing,
}

impl Sign {
    /// Reads it from what an attempt ended in. Nobody is held for longer than `cap`.
    #[must_use]
    pub fn of(outcome: &Outcome, evidence: &Evidence, cap: Duration) -> Self {
        let Calls { made, unanswered, retry_after_ms, .. } = evidence.calls;
        let called = made > 0;
        // Also where the plugin did not say so.
        let seen = retry_after_ms.filter(|ms| *ms > 0);
        let asked = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()).min(cap));
        let why = || outcome.message().unwrap_or_default().to_owned();
        match outcome.kind() {
            // What the host had no room for says nothing of anybody.
            OutcomeKind::TryAgain | OutcomeKind::Reject | OutcomeKind::UnknownOutcome | OutcomeKind::Deadline
                if evidence.crowded && seen.is_none() =>
            {
                Self::Nothing
            }
            // One whose result is too large did what it was to do.
            OutcomeKind::Completed | OutcomeKind::Reject | OutcomeKind::ResultTooLarge if called => Self::Well,
            OutcomeKind::RateLimited => Self::Busy(asked(outcome.delay_ms().max(seen)), why()),
            OutcomeKind::TryAgain if seen.is_some() => Self::Busy(asked(seen), why()),
            OutcomeKind::TryAgain | OutcomeKind::UnknownOutcome if called => Self::Ill(why()),
            // Where the plugin was waiting for an answer, it is the downstream that was slow.
            OutcomeKind::Deadline if unanswered => Self::Ill(why()),
            OutcomeKind::Trap
            | OutcomeKind::Exit
            | OutcomeKind::Deadline
            | OutcomeKind::CpuBudget
            | OutcomeKind::Memory
            | OutcomeKind::Start
            | OutcomeKind::ResultTooLarge
            | OutcomeKind::HostCalls => Self::Unfit(why()),
            OutcomeKind::Completed | OutcomeKind::Reject | OutcomeKind::TryAgain | OutcomeKind::UnknownOutcome => {
                Self::Silent
            }
            OutcomeKind::Denied | OutcomeKind::Interrupted | OutcomeKind::Cancelled => Self::Nothing,
        }
    }
}
