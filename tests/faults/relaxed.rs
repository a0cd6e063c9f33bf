//! `store.sync = "normal"`: what it gives up, and what not.

use crate::common::{Wish, json};
use crate::support::troubled;

/// One after the other, so that each has a commit of its own.
const JOBS: i64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_relaxed_store_syncs_no_commit_and_loses_nothing_to_a_kill() {
    for (mode, is_synced) in [("full", true), ("normal", false)] {
        let (mut host, trouble) = troubled(&format!("[store]\nsync = \"{mode}\"")).await;
        let before = trouble.number(Wish::Syncs);
        let mut ids = Vec::new();
        for n in 0..JOBS {
            let job = json!({"plugin": "misbehave", "payload": {"do": "echo", "n": n}, "delay": "1h"});
            ids.push(host.enqueue(job).await);
        }
        let syncs = trouble.number(Wish::Syncs) - before;
        assert_eq!(syncs >= JOBS, is_synced, "{mode}: {syncs} syncs for {JOBS} jobs");
        assert_eq!(host.log().contains("store.sync is normal"), !is_synced, "{}", host.log());
        host.kill();
        host.start().await;
        for id in &ids {
            assert_eq!(host.job(id).await["state"], "scheduled", "{mode}");
        }
    }
}
