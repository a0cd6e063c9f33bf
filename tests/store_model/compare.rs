//! What people are shown, held against the book.

use windlass::job::State;
use windlass::job::gates::LaneRef;
use windlass::store::{JobView, ListFilter};

use super::{Closed, Trial};
use crate::harness::Harness;
use crate::op::{KEYS, PLUGINS};

impl<H: Harness> Trial<H> {
    /// Whether the store has all unfinished jobs in memory.
    pub(super) fn is_whole(&self) -> bool {
        self.held_jobs_max > 1_000
    }

    /// Every job with its attempts, the whole list, the counts.
    pub(super) async fn compare_all(&self) {
        let store = self.store();
        store.health().expect("nothing was done to it");
        for id in &self.ids {
            let (told, known) = (store.job(*id, self.now).await.unwrap(), self.book.view(*id, self.now));
            assert_eq!(told.as_ref().map(text), known.as_ref().map(text));
        }
        for key in 0..KEYS {
            let key = format!("key-{key}");
            assert_eq!(store.keyed(&key).await.unwrap(), self.book.keyed(&key), "{key}");
        }
        self.compare_attempt().await;
        self.compare_list(ListFilter { limit: 7, ..ListFilter::default() }).await;
        let standings = store.standings().await.unwrap();
        let mut downstreams = standings.downstreams;
        downstreams.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!((standings.paused_plugins, downstreams), {
            let known = self.book.standings();
            (known.paused_plugins, known.downstreams)
        });
        self.compare_counts().await;
    }

    async fn compare_counts(&self) {
        let store = self.store();
        // What has come due is noticed by a claim.
        store.claim(0, self.now, &mut Closed(Vec::new())).await.unwrap();
        let counts = store.counts();
        assert_eq!(counts.unfinished, self.book.unfinished().count() as u64);
        for end in [State::Completed, State::Discarded, State::Cancelled] {
            let known = self.book.ended.get(end.name()).copied().unwrap_or(0);
            assert_eq!(counts.ended.get(end.name()).copied().unwrap_or(0), known, "{end}");
        }
        for plugin in PLUGINS {
            let known = self.book.unfinished().filter(|job| job.spec.plugin == plugin).count() as u64;
            assert_eq!(store.unfinished(plugin), (counts.unfinished, known));
        }
        if !self.is_whole() {
            return;
        }
        let mut told = store.lanes(LaneRef { plugin: "", downstream: "", limit_key: None }, usize::MAX);
        told.retain(|lane| lane.tally.jobs() > 0);
        let known = self.book.lanes(self.now);
        assert_eq!(told, known);
        for (plugin, tally) in &counts.plugins {
            let parts = known.iter().filter(|part| part.lane.plugin == *plugin);
            assert_eq!(tally.jobs(), parts.map(|part| part.tally.jobs()).sum::<u64>(), "{plugin}");
        }
        let waits = self.book.unfinished().filter(|job| !job.held && job.attempt.is_none() && job.ghost.is_none());
        let next = waits.map(|job| job.due).filter(|due| *due > self.now).min();
        assert_eq!(store.next_due().await.unwrap(), next);
    }

    /// The newest attempt of some job, with what belongs to it.
    async fn compare_attempt(&self) {
        for id in self.ids.iter().rev().take(3) {
            for n in 0..4 {
                let told = self.store().attempt(*id, n).await.unwrap().map(|detail| detail.attempt);
                let known = self.book.view(*id, self.now);
                let known = known.and_then(|job| job.attempts.into_iter().find(|attempt| attempt.n == n));
                assert_eq!(told, known, "attempt {n} of {id}");
            }
        }
    }

    /// A list, page by page.
    pub(super) async fn compare_list(&self, mut filter: ListFilter) {
        let known: Vec<_> = self.book.list(&filter, self.now).iter().map(text).collect();
        let mut told = Vec::new();
        loop {
            let page = self.store().list(filter.clone(), self.now).await.unwrap();
            assert!(page.jobs.len() <= filter.limit, "a page of {}", page.jobs.len());
            told.extend(page.jobs.iter().map(text));
            let Some(next) = page.next else { break };
            assert!(filter.before.is_none_or(|before| next < before), "the cursor goes on");
            filter.before = Some(next);
        }
        assert_eq!(told, known, "{filter:?}");
    }
}

/// A view as text, so that a difference can be read.
fn text(view: &JobView) -> String {
    format!("{view:#?}")
}
