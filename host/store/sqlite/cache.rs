//! The specs of jobs that are due and were just accepted, or read ahead, so that a claim need not read them back.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::clock::UnixMs;
use crate::job::JobSpec;

/// What a spec takes beside its payload, about.
const SPEC_BYTES: usize = 512;

/// A job's spec, and when it was accepted.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) spec: Arc<JobSpec>,
    pub(super) created_at: UnixMs,
}

/// A bounded cache; the oldest goes first.
#[derive(Debug)]
pub(super) struct SpecCache {
    bytes_max: usize,
    bytes: usize,
    specs: FxHashMap<i64, Known>,
    /// In the order of arrival. Names places that were taken out already, until they are passed.
    order: VecDeque<i64>,
}

impl SpecCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, specs: FxHashMap::default(), order: VecDeque::new() }
    }

    pub(super) fn has(&self, place: i64) -> bool {
        self.specs.contains_key(&place)
    }

    pub(super) fn put(&mut self, place: i64, known: Known) {
        let bytes = size(&known);
        if bytes > self.bytes_max / 4 || self.has(place) {
            return;
        }
        self.bytes += bytes;
        self.specs.insert(place, known);
        self.order.push_back(place);
        // The order is bounded too: it holds at most the places that fit, and as many again that were taken.
        while self.bytes > self.bytes_max || self.order.len() > 2 * self.specs.len() + 1_024 {
            let Some(oldest) = self.order.pop_front() else { break };
            self.take(oldest);
        }
    }

    pub(super) fn take(&mut self, place: i64) -> Option<Known> {
        let known = self.specs.remove(&place)?;
        self.bytes -= size(&known);
        Some(known)
    }
}

fn size(known: &Known) -> usize {
    known.spec.payload.len() + SPEC_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bytes: usize) -> Known {
        let spec = JobSpec { payload: vec![0; bytes].into(), ..JobSpec::plain("p", "d", UnixMs(0)) };
        Known { spec: Arc::new(spec), created_at: UnixMs(0) }
    }

    #[test]
    fn it_stays_within_its_bytes_and_forgets_the_oldest() {
        let mut cache = SpecCache::new(10 * (SPEC_BYTES + 100));
        (0..30).for_each(|place| cache.put(place, known(100)));
        assert!(cache.bytes <= cache.bytes_max);
        assert!(cache.take(19).is_none());
        assert!(cache.take(20).is_some() && cache.take(29).is_some());
        cache.put(99, known(1 << 20));
        assert!(cache.take(99).is_none(), "one large payload would push out all the others");
    }
}
