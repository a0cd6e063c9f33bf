//! When a failed job is tried again: the policy, and the decision after an attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::OutcomeKind;
use super::units::TimeSpan;
use crate::clock::UnixMs;

/// How the delay is spread, so that jobs which failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Not at all: the delay is d.
    None,
    /// Drawn from d/2 to d.
    Equal,
    /// Drawn from 0 to d.
    Full,
}

/// A whole, valid retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// The delay after the first failed attempt.
    pub base: TimeSpan,
    /// By how much each further delay is longer.
    pub factor: f64,
    /// The longest delay, and the most that a downstream's wish for a pause can bring about.
    pub cap: TimeSpan,
    /// How the delay is spread.
    pub jitter: Jitter,
    /// How many counted attempts a job has in all.
    pub max_attempts: u32,
}

/// What a plugin's file or a job says of its retry policy; what it leaves out comes from the next wider one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryOverride {
    /// See [`RetryPolicy::base`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2s")]
    pub base: Option<TimeSpan>,
    /// See [`RetryPolicy::factor`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1.0, maximum = 100.0)]
    pub factor: Option<f64>,
    /// See [`RetryPolicy::cap`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub cap: Option<TimeSpan>,
    /// See [`RetryPolicy::jitter`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// See [`RetryPolicy::max_attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_attempts: Option<u32>,
}

/// The most attempts that a policy may allow.
pub const MAX_ATTEMPTS_CEILING: u32 = 10_000;
/// The steepest factor that a policy may have.
pub const FACTOR_CEILING: f64 = 100.0;

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: TimeSpan::from_secs(2),
            factor: 2.0,
            cap: TimeSpan::from_secs(300),
            jitter: Jitter::Equal,
            max_attempts: 20,
        }
    }
}

impl RetryOverride {
    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks each value by itself.
    ///
    /// # Errors
    /// Names the first member that is out of its range, and the range.
    pub fn validate(&self) -> Result<(), String> {
        if self.factor.is_some_and(|factor| !(1.0..=FACTOR_CEILING).contains(&factor)) {
            return Err(format!("retry.factor must lie between 1.0 and {FACTOR_CEILING}"));
        }
        if self.max_attempts.is_some_and(|most| !(1..=MAX_ATTEMPTS_CEILING).contains(&most)) {
            return Err(format!("retry.max_attempts must lie between 1 and {MAX_ATTEMPTS_CEILING}"));
        }
        Ok(())
    }
}

impl RetryPolicy {
    /// This policy, with what `narrower` says instead of its own.
    #[must_use]
    pub fn overridden(self, narrower: &RetryOverride) -> Self {
        Self {
            base: narrower.base.unwrap_or(self.base),
            factor: narrower.factor.unwrap_or(self.factor),
            cap: narrower.cap.unwrap_or(self.cap),
            jitter: narrower.jitter.unwrap_or(self.jitter),
            max_attempts: narrower.max_attempts.unwrap_or(self.max_attempts),
        }
    }

    /// This policy for a job of which so many counted attempts failed. One that is owed an attempt, as a person's retry
    /// promised it, has one more, whatever the policy says.
    #[must_use]
    pub fn owing(self, owed: bool, failed: u32) -> Self {
        let least = if owed { failed.saturating_add(1) } else { 0 };
        Self { max_attempts: self.max_attempts.max(least), ..self }
    }

    /// min(cap, base × factor^(n−1)) for the n-th failed attempt, before jitter.
    #[must_use]
    pub fn backoff(&self, failed_attempts: u32) -> Duration {
        let exponent = i32::try_from(failed_attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay_secs = self.base.0.as_secs_f64() * self.factor.powi(exponent);
        // Not the minimum of two floats: an overflow is infinite or, from 0 × ∞, not a number.
        if delay_secs < self.cap.0.as_secs_f64() {
            Duration::from_secs_f64(delay_secs)
        } else {
            self.cap_for(delay_secs)
        }
    }

    fn cap_for(&self, delay_secs: f64) -> Duration {
        if delay_secs.is_nan() { Duration::ZERO } else { self.cap.0 }
    }

    /// The delay after the n-th failed attempt, spread by `draw` from 0 to 1.
    #[must_use]
    pub fn delay(&self, failed_attempts: u32, draw: f64) -> Duration {
        let whole = self.backoff(failed_attempts);
        let draw = draw.clamp(0.0, 1.0);
        match self.jitter {
            Jitter::None => whole,
            Jitter::Equal => whole.mul_f64(0.5 + 0.5 * draw),
            Jitter::Full => whole.mul_f64(draw),
        }
    }
}

/// What becomes of a job after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is done.
    Complete,
    /// It is given up.
    Discard,
    /// It is called off.
    Cancel,
    /// It is tried again, no earlier than `at`.
    Retry {
        /// When.
        at: UnixMs,
        /// Whether the attempt that failed counts against the policy's most.
        counted: bool,
    },
    /// It waits, uncounted, until the operator edits the plugin's grants.
    Hold,
}

/// What [`decide`] needs to know of the attempt.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// What the attempt ended in.
    pub kind: OutcomeKind,
    /// How long the downstream asked to be left alone.
    pub delay_ms: Option<u32>,
    /// How many counted attempts had failed before this one.
    pub failed_before: u32,
    /// When the attempt ended.
    pub at: UnixMs,
    /// Its failure is not held against the job: it was sent to see whether the downstream is back, or the downstream
    /// asked everybody to wait.
    pub is_free: bool,
}

/// Decides what becomes of a job. `draw`, from 0 to 1, spreads the delay.
#[must_use]
pub fn decide(policy: &RetryPolicy, verdict: Verdict, draw: f64) -> Disposition {
    let failed = verdict.failed_before.saturating_add(1);
    match verdict.kind {
        OutcomeKind::Completed => Disposition::Complete,
        // The work is done, and would be done again.
        OutcomeKind::Reject | OutcomeKind::ResultTooLarge => Disposition::Discard,
        OutcomeKind::Cancelled => Disposition::Cancel,
        OutcomeKind::Denied => Disposition::Hold,
        _ if failed >= policy.max_attempts && !verdict.is_free => Disposition::Discard,
        // The host's fault, not the downstream's: there is nothing to leave alone.
        OutcomeKind::Interrupted => Disposition::Retry { at: verdict.at, counted: true },
        OutcomeKind::TryAgain
        | OutcomeKind::RateLimited
        | OutcomeKind::UnknownOutcome
        | OutcomeKind::Trap
        | OutcomeKind::Exit
        | OutcomeKind::Deadline
        | OutcomeKind::CpuBudget
        | OutcomeKind::Memory
        | OutcomeKind::Start
        | OutcomeKind::HostCalls => {
            let asked = Duration::from_millis(verdict.delay_ms.unwrap_or(0).into()).min(policy.cap.0);
            let delay = policy.delay(failed, draw).max(asked);
            Disposition::Retry { at: verdict.at.after(ceil_ms(delay)), counted: !verdict.is_free }
        }
    }
}

/// Up to the next millisecond: a retry never starts early.
fn ceil_ms(delay: Duration) -> Duration {
    let ms = delay.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Equal), Just(Jitter::Full)];
        (0..=600_000_u64, 1.0..=FACTOR_CEILING, 0..=86_400_000_u64, jitter, 1..=MAX_ATTEMPTS_CEILING).prop_map(
            |(base, factor, cap, jitter, max_attempts)| RetryPolicy {
                base: TimeSpan::from_ms(base),
                factor,
                cap: TimeSpan::from_ms(cap),
                jitter,
                max_attempts,
            },
        )
    }

    fn kinds() -> impl Strategy<Value = OutcomeKind> {
        prop::sample::select(OutcomeKind::NAMES.map(|(kind, _)| kind).to_vec())
    }

    proptest! {
        #[test]
        fn a_delay_lies_in_its_jitters_range(policy in policies(), failed in 1..=u32::MAX, draw in 0.0..=1.0) {
            let (whole, delay) = (policy.backoff(failed), policy.delay(failed, draw));
            prop_assert!(whole <= policy.cap.0);
            prop_assert!(delay <= whole);
            match policy.jitter {
                Jitter::None => prop_assert_eq!(delay, whole),
                Jitter::Equal => prop_assert!(delay >= whole.mul_f64(0.5)),
                Jitter::Full => {}
            }
        }

        #[test]
        fn backoff_never_shrinks(policy in policies(), failed in 1..5_000_u32) {
            prop_assert!(policy.backoff(failed) <= policy.backoff(failed + 1));
        }

        #[test]
        fn a_decision_ends_in_bounded_time_and_never_early(
            policy in policies(), kind in kinds(), delay_ms in prop::option::of(any::<u32>()),
            failed_before in 0..20_000_u32, draw in 0.0..=1.0,
        ) {
            let at = UnixMs(1_000_000);
            let verdict = Verdict { kind, delay_ms, failed_before, at, is_free: false };
            if let Disposition::Retry { at: next, counted } = decide(&policy, verdict, draw) {
                prop_assert!(next >= at);
                prop_assert!(next <= at.after(policy.cap.0 + Duration::from_millis(1)));
                prop_assert!(!counted || failed_before + 1 < policy.max_attempts);
                if kind != OutcomeKind::Interrupted {
                    let asked = Duration::from_millis(delay_ms.unwrap_or(0).into()).min(policy.cap.0);
                    prop_assert!(next >= at.after(asked), "sooner than the downstream asked");
                }
            }
        }
    }

    #[test]
    fn the_seeds_policy_doubles_from_two_seconds_to_five_minutes() {
        let policy = RetryPolicy::default();
        let seconds: Vec<_> = (1..=10).map(|n| policy.backoff(n).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_downstreams_wish_is_heard_up_to_the_cap() {
        let policy = RetryPolicy { jitter: Jitter::None, ..RetryPolicy::default() };
        let after = |delay_ms| {
            let verdict =
                Verdict { kind: OutcomeKind::RateLimited, delay_ms, failed_before: 0, at: UnixMs(0), is_free: false };
            decide(&policy, verdict, 0.5)
        };
        let retry = |ms| Disposition::Retry { at: UnixMs(ms), counted: true };
        assert_eq!(after(None), retry(2_000));
        assert_eq!(after(Some(500)), retry(2_000), "the later of the two");
        assert_eq!(after(Some(9_000)), retry(9_000));
        assert_eq!(after(Some(u32::MAX)), retry(300_000), "clamped by the cap");
    }

    #[test]
    fn the_last_attempt_discards() {
        let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        let verdict =
            Verdict { kind: OutcomeKind::Trap, delay_ms: None, failed_before: 2, at: UnixMs(0), is_free: false };
        assert_eq!(decide(&policy, verdict, 0.0), Disposition::Discard);
    }

    #[test]
    fn a_narrower_policy_wins_member_by_member() {
        let file = RetryOverride { max_attempts: Some(8), base: Some(TimeSpan::from_secs(1)), ..Default::default() };
        let job = RetryOverride { base: Some(TimeSpan::from_ms(10)), ..Default::default() };
        let policy = RetryPolicy::default().overridden(&file).overridden(&job);
        assert_eq!((policy.base, policy.max_attempts), (TimeSpan::from_ms(10), 8));
        assert_eq!(policy.cap, RetryPolicy::default().cap);
    }
}
