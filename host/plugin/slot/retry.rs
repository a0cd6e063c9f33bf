//! When what failed for the host's own reasons is tried again: by a look through the folder, ever more seldom, and never
//! so often that it costs much.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::lock::lock;

use super::super::LoadError;
use super::super::folder::Found;
use super::{Slot, Standing};

/// How long is waited after the first failure. It doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// How long is waited after many.
const CAP: Duration = Duration::from_secs(60);
/// How many times as long as the try took is waited at least: what fails late fails at the price of a compilation.
const TIMES_TAKEN: u32 = 4;
/// How long is waited at most, whatever it took.
const MOST: Duration = Duration::from_secs(300);

/// The next try of what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    failures: u32,
    at: UnixMs,
}

/// What is being tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// The plugin's file and what it names.
    pub(super) file: bool,
    /// The component.
    pub(super) component: bool,
}

impl Retry {
    fn is_due(self, now: UnixMs) -> bool {
        now >= self.at
    }
}

/// How long is waited after so many failures, of which the last took so long to come about.
fn pause(failures: u32, took: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(CAP).max(took.saturating_mul(TIMES_TAKEN)).min(MOST)
}

impl Slot {
    /// Whether the time has come to try again what failed, or the component was to be looked at by somebody who is gone;
    /// and nobody is at it.
    pub(in super::super) fn is_retry_due(&self) -> bool {
        let now = self.place.clock.now();
        // Whoever is about to serve is at it.
        if lock(&self.coming).is_one_ready() {
            return false;
        }
        self.state.try_lock().is_ok_and(|standing| {
            let is_owed = self.is_component_due(&standing, &self.accepted());
            is_owed || standing.retry.is_some_and(|retry| retry.is_due(now))
        })
    }

    /// When what failed is tried again. None while somebody is at it: that ends with a time of its own.
    pub(super) fn retry_at(&self) -> Option<UnixMs> {
        self.state.try_lock().ok().and_then(|standing| standing.retry).map(|retry| retry.at)
    }
}

impl Standing {
    /// What was found is taken up: also what failed, where it is the same and its time has come.
    pub(super) fn begin(&mut self, found: &Found, now: UnixMs) {
        let is_due = self.retry.is_some_and(|retry| retry.is_due(now));
        let failed = |error: &Option<LoadError>| is_due && error.as_ref().is_some_and(LoadError::is_hosts_own);
        let taken = &self.taken;
        let is_same_component = found.component == taken.component && found.signature == taken.signature;
        self.again = Again {
            file: failed(&self.file_error) && found.grants == taken.grants,
            component: failed(&self.component_error) && is_same_component,
        };
    }

    /// It was taken up, or was not to be. What failed for the host's own reasons is given its next time: also what was due
    /// and could not be tried, as its file of grants is not right.
    pub(super) fn end(&mut self, was_tried: bool, began: UnixMs, now: UnixMs) {
        let Again { file, component } = std::mem::take(&mut self.again);
        let errors = [&self.component_error, &self.file_error];
        let failures = match self.retry {
            _ if !errors.into_iter().flatten().any(LoadError::is_hosts_own) => return self.retry = None,
            Some(retry) if !was_tried && !retry.is_due(now) => return,
            Some(retry) if file || component => retry.failures.saturating_add(1),
            _ => 1,
        };
        self.retry = Some(Retry { failures, at: now.after(pause(failures, now.since(began))) });
    }
}

/// Whether the log is to be told of an error, where the last one was that. What fails again as before is no news.
pub(super) fn is_news(is_again: bool, last: Option<&LoadError>, error: &LoadError) -> bool {
    !is_again || last != Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_are_longer_where_trying_costs_more() {
        let secs = |failures, took_secs| pause(failures, Duration::from_secs(took_secs)).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 8, 1_000].map(|failures| secs(failures, 0)), [1, 2, 4, 32, 60, 60, 60]);
        assert_eq!([1, 2, 10, 30, 75, 900].map(|took_secs| secs(1, took_secs)), [4, 8, 40, 120, 300, 300]);
        assert_eq!(secs(7, 2), 60);
        assert_eq!(secs(0, 0), 1);
    }
}
