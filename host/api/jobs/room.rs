//! Whether there is room for more jobs: in all, and for their plugin beside the others.

use super::super::State;
use super::super::error::{Problem, ProblemKind};

/// Refuses what would go over the high-water mark: so many more jobs of each plugin. What is kept above it is for plugins
/// that are beside others.
pub(super) fn has_room<'a>(state: &State, more: impl Iterator<Item = (&'a str, u64)> + Clone) -> Result<(), Problem> {
    let is_alone = !state.gates().has_several_plugins();
    let (unfinished, _) = state.store.unfinished("");
    let held = |plugin: &str| state.store.unfinished(plugin).1;
    let Some(plugin) = state.config.high_water(is_alone).refused(unfinished, more.clone(), held) else { return Ok(()) };
    let (most, new) = (state.config.queue.high_water, more.map(|(_, count)| count).sum::<u64>());
    let beside = if is_alone {
        String::new()
    } else {
        format!(", and the plugin {plugin} has {} of them, too many for what is kept above it", held(plugin))
    };
    Err(Problem::new(
        ProblemKind::HighWater,
        format!(
            "{unfinished} jobs are unfinished and {new} more would go over the high-water mark of {most} \
             (queue.high_water){beside}; nothing was stored"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::testing::Api;
    use crate::config::Config;

    #[tokio::test]
    async fn one_plugin_does_not_fill_the_queue_for_others() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("flood").plugin("modest");
        let post = async |plugin: &str, count: usize| {
            let job = json!({"plugin": plugin, "payload": 1});
            api.post("/v1/jobs/batch", json!({"jobs": vec![job; count]})).await
        };
        assert_eq!(post("flood", 19).await.status, 202);
        post("flood", 2).await.problem(ProblemKind::HighWater);
        assert_eq!(post("flood", 1).await.status, 202);
        let problem = post("flood", 1).await.problem(ProblemKind::HighWater);
        assert!(problem.detail.contains("the plugin flood has 20 of them"), "{problem:?}");
        post("modest", 2).await.problem(ProblemKind::HighWater);
        assert_eq!(post("modest", 1).await.status, 202);
        post("modest", 1).await.problem(ProblemKind::HighWater);
    }

    #[tokio::test]
    async fn a_plugin_that_is_alone_has_what_is_below_the_mark() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("only");
        let jobs = |count: usize| json!({"jobs": vec![json!({"plugin": "only", "payload": 1}); count]});
        api.post("/v1/jobs/batch", jobs(21)).await.problem(ProblemKind::HighWater);
        assert_eq!(api.post("/v1/jobs/batch", jobs(20)).await.status, 202);
        api.post("/v1/jobs/batch", jobs(1)).await.problem(ProblemKind::HighWater);
    }
}
