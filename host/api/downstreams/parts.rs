//! Looking through downstreams, a bounded number of plugins' parts at a time: the locks that are held for it are those
//! that the dispatcher waits for, and there may be a downstream for every job.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::State;
use super::super::error::{Problem, ProblemKind};
use super::document::{DownstreamDocument, DownstreamPlugin};
use crate::job::Lane;
use crate::job::gates::LaneRef;
use crate::job::live::Tally;

/// So many parts are looked at while a lock is held.
pub(super) const STEP: usize = 256;
/// Sorts behind every other continuation of a text that it is put at the end of: what follows that text itself.
const NEXT: char = '\0';

/// A place in the order of downstreams and, within one, of plugins.
#[derive(Clone, Debug, Default)]
struct Place {
    downstream: String,
    plugin: String,
}

/// Some parts, in that order, and where the next ones begin, where there are more.
struct Parts {
    lanes: Vec<(Lane, Tally)>,
    next: Option<Place>,
}

/// A page of downstreams, by key: at most so many behind that one. With the key behind which the next page begins, where
/// there is one.
pub(super) async fn page(
    state: &State,
    behind: Option<&str>,
    most: usize,
) -> (Vec<DownstreamDocument>, Option<String>) {
    let mut told: Vec<DownstreamDocument> = Vec::new();
    let mut place = behind.map(Place::behind).unwrap_or_default();
    loop {
        let parts = Parts::from(state, &place);
        for (key, part) in tell(state, &parts.lanes) {
            if told.last().is_none_or(|last| *last.key != *key) {
                if told.len() == most {
                    let last = told.last().map(|last| last.key.clone());
                    return (told, last);
                }
                told.push(DownstreamDocument::new(&key));
            }
            if let Some(last) = told.last_mut() {
                last.add(part);
            }
        }
        match parts.next {
            Some(next) => place = next,
            None => return (told, None),
        }
        tokio::task::yield_now().await;
    }
}

/// One downstream.
pub(super) fn one(state: &State, key: &str) -> Result<DownstreamDocument, Problem> {
    let lanes = of(state, key);
    if lanes.is_empty() {
        return Err(unknown(key));
    }
    let mut told = DownstreamDocument::new(key);
    for lanes in lanes.chunks(STEP) {
        tell(state, lanes).into_iter().for_each(|(_, part)| told.add(part));
    }
    Ok(told)
}

/// The lanes of that key, by plugin: no more than there are plugins.
pub(super) fn of(state: &State, key: &str) -> Vec<(Lane, Tally)> {
    let mut found = Vec::new();
    let mut place = Place { downstream: key.to_owned(), plugin: String::new() };
    loop {
        let parts = Parts::from(state, &place);
        let (before, count) = (found.len(), parts.lanes.len());
        found.extend(parts.lanes.into_iter().take_while(|(lane, _)| *lane.downstream == *key));
        match parts.next {
            Some(next) if found.len() - before == count => place = next,
            _ => return found,
        }
    }
}

/// Nothing is known of that one.
pub(super) fn unknown(key: &str) -> Problem {
    Problem::new(
        ProblemKind::DownstreamUnknown,
        format!("no job calls the downstream {key:?}, and nothing is known of it"),
    )
}

/// What there is to say of these, with the key of each.
fn tell(state: &State, lanes: &[(Lane, Tally)]) -> Vec<(Arc<str>, DownstreamPlugin)> {
    let (now, gates) = (state.now(), state.gates());
    let part =
        |(lane, tally): &(Lane, Tally)| (lane.downstream.clone(), DownstreamPlugin::of(lane, *tally, &gates, now));
    lanes.iter().map(part).collect()
}

impl Parts {
    /// Those with unfinished jobs and those of which anything is known, from that place on.
    fn from(state: &State, place: &Place) -> Self {
        let counted = state.store.lanes(place.first(), STEP);
        let known: Vec<_> = {
            let gates = state.gates();
            gates.known_from(place.first()).take(STEP).map(|(key, plugin)| (key.clone(), plugin.clone())).collect()
        };
        // Of what is full nobody knows how it goes on: both are taken up to the nearer end.
        let (counted_end, known_end) = (
            counted
                .last()
                .filter(|_| counted.len() == STEP)
                .map(|last| (last.lane.downstream.clone(), last.lane.plugin.clone())),
            known.last().filter(|_| known.len() == STEP).cloned(),
        );
        let end = counted_end.into_iter().chain(known_end).min();
        let mut tallies: BTreeMap<_, _> = known.into_iter().map(|key| (key, Tally::default())).collect();
        tallies.extend(counted.into_iter().map(|counts| ((counts.lane.downstream, counts.lane.plugin), counts.tally)));
        if let Some(end) = &end {
            tallies.retain(|key, _| key <= end);
        }
        let lane = |((downstream, plugin), tally)| (Lane { plugin, downstream, limit_key: None }, tally);
        let lanes = tallies.into_iter().map(lane).collect();
        Self { lanes, next: end.map(|(downstream, plugin)| Place::after(&downstream, &plugin)) }
    }
}

impl Place {
    /// Behind all of that downstream.
    fn behind(downstream: &str) -> Self {
        Self { downstream: format!("{downstream}{NEXT}"), plugin: String::new() }
    }

    /// Behind that plugin's part in it.
    fn after(downstream: &str, plugin: &str) -> Self {
        Self { downstream: downstream.to_owned(), plugin: format!("{plugin}{NEXT}") }
    }

    fn first(&self) -> LaneRef<'_> {
        LaneRef { plugin: &self.plugin, downstream: &self.downstream, limit_key: None }
    }
}
