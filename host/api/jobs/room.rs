//! Whether there is room for more jobs: in all, and for their plugin beside the others.

use super::super::State;
use super::super::error::{Problem, ProblemKind};

/// Refuses what would go over the high-water mark, and what would leave other plugins no room below it: so many more
/// jobs of each plugin.
pub(super) fn has_room<'a>(state: &State, more: impl Iterator<Item = (&'a str, u64)> + Clone) -> Result<(), Problem> {
    let (most, new) = (state.config.queue.high_water, more.clone().map(|(_, count)| count).sum::<u64>());
    let (unfinished, _) = state.store.unfinished("");
    let free = most.saturating_sub(unfinished);
    if new > free {
        return Err(refusal(format!(
            "{unfinished} jobs are unfinished and {new} more would go over the high-water mark of {most} \
             (queue.high_water)"
        )));
    }
    if !state.gates().has_several_plugins() {
        return Ok(());
    }
    let share = state.config.fairness.policy();
    for (plugin, count) in more {
        let (_, held) = state.store.unfinished(plugin);
        // The last one of them must fit beside the others.
        let last = count.saturating_sub(1);
        if !share.admits(held + last, free.saturating_sub(last)) {
            return Err(refusal(format!(
                "the plugin {plugin} has {held} unfinished jobs, and {count} more would go over its share of the \
                 {most} that there may be (queue.high_water, fairness.share)"
            )));
        }
    }
    Ok(())
}

fn refusal(why: String) -> Problem {
    Problem::new(ProblemKind::HighWater, format!("{why}; nothing was stored"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::testing::Api;
    use crate::config::Config;

    #[tokio::test]
    async fn one_plugin_does_not_fill_the_queue_beside_others() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("flood").plugin("modest");
        let post = async |plugin: &str, count: usize| {
            let job = json!({"plugin": plugin, "payload": 1});
            api.post("/v1/jobs/batch", json!({"jobs": vec![job; count]})).await
        };
        assert_eq!(post("flood", 17).await.status, 202);
        let problem = post("flood", 2).await.problem(ProblemKind::HighWater);
        assert!(problem.detail.contains("the plugin flood has 17"), "{problem:?}");
        assert_eq!(post("flood", 1).await.status, 202);
        post("flood", 1).await.problem(ProblemKind::HighWater);
        assert_eq!(post("modest", 1).await.status, 202);
        post("modest", 2).await.problem(ProblemKind::HighWater);
    }

    #[tokio::test]
    async fn a_plugin_that_is_alone_may_fill_it() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("only");
        let job = json!({"plugin": "only", "payload": 1});
        assert_eq!(api.post("/v1/jobs/batch", json!({"jobs": vec![job; 20]})).await.status, 202);
    }
}
