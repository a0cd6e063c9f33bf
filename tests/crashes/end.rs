//! The last life of the host: everything comes to its end, and all of it is looked at.

use std::collections::BTreeSet;

use super::super::audit::judge_ledger;
use super::super::book::Act;
use super::super::common::{Value, until};
use super::World;

/// A job as lists tell it.
struct Listed {
    name: String,
    id: String,
    state: String,
}

impl World {
    /// Every job on the host, by the name that it bears.
    async fn listed(&self) -> Vec<Listed> {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.host.get(&format!("/v1/jobs?limit=500&cursor={cursor}")).await;
            for job in page["jobs"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (name, id, state) = (text(&job["labels"]["name"]), text(&job["id"]), text(&job["state"]));
                listed.push(Listed { name, id, state });
            }
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return listed,
            }
        }
    }

    /// Brings everything to its end, and looks at all of it.
    pub async fn conclude(&mut self) {
        self.ready().await;
        let listed = self.listed().await;
        self.judge_listed(&listed);
        // What is due in an hour is wanted now.
        for Listed { name, state, .. } in &listed {
            if state == "scheduled" {
                self.clients.act(name, Act::Retry).await;
            }
        }
        for state in ["scheduled", "retryable", "available", "running"] {
            until(&format!("no job is {state}"), || async {
                let page = self.host.get(&format!("/v1/jobs?state={state}&limit=1")).await;
                (page["jobs"] == Value::Array(Vec::new()) && page["next"].is_null()).then_some(())
            })
            .await;
        }
        self.audit(usize::MAX).await;
        self.repeat_keys().await;
        self.note_broken();
        self.judge_ledger();
    }

    /// Nothing is there that nobody asked for, nothing twice, and of a batch all or nothing.
    fn judge_listed(&mut self, listed: &[Listed]) {
        let mut pages = self.clients.book.pages();
        let mut seen = BTreeSet::new();
        for Listed { name, id, state } in listed {
            let Some(wanted) = pages.jobs.get_mut(name) else {
                self.findings.broken.push(format!("nobody asked for {id}, named {name:?}"));
                continue;
            };
            if !seen.insert(name) || wanted.id().is_some_and(|known| known != id) {
                self.findings.broken.push(format!("{name} is there as {id} too: {wanted:?}"));
            }
            wanted.found = Some(id.clone());
            if wanted.settled.as_ref().is_some_and(|ended| ended != state) {
                self.findings.broken.push(format!("{name} had come to its end, and is {state}: {wanted:?}"));
            }
        }
        for (name, wanted) in pages.jobs.iter().filter(|(name, _)| !seen.contains(name)) {
            if wanted.settled.as_deref() == Some("discarded") {
                self.findings.broken.push(format!("{name} is gone, and should be kept for days: {wanted:?}"));
            }
        }
        let calls = self.clients.ledger.calls();
        for batch in 1..=pages.batches {
            let members: Vec<_> = pages.jobs.iter().filter(|(_, wanted)| wanted.batch == Some(batch)).collect();
            let is_there = |name: &String| seen.contains(name) || calls.contains_key(name);
            let there = members.iter().filter(|(name, wanted)| wanted.settled.is_some() || is_there(name)).count();
            if there != 0 && there != members.len() {
                self.findings.broken.push(format!("of batch {batch} there are {there} of {}", members.len()));
            }
        }
    }

    /// Each key is known still, to the end, and long after its job may be gone.
    async fn repeat_keys(&self) {
        let names: Vec<_> = {
            let pages = self.clients.book.pages();
            let keyed = pages.jobs.iter().filter(|(_, wanted)| wanted.key.is_some() && wanted.id().is_some());
            keyed.map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            self.clients.enqueue(&name).await;
        }
    }

    fn judge_ledger(&mut self) {
        let pages = self.clients.book.pages();
        let calls = self.clients.ledger.calls();
        judge_ledger(&calls, |name| pages.jobs.get(name), &self.boots, &mut self.findings);
        let unsettled = pages.jobs.iter().filter(|(_, wanted)| wanted.settled.is_none() && wanted.id().is_some());
        for (name, wanted) in unsettled {
            self.findings.broken.push(format!("{name} came to no end: {wanted:?}"));
        }
    }
}
