//! Whether there is room for more jobs: in all, and for their plugin beside the others.

use super::super::State;
use super::super::arriving::{Refusal, Ticket};
use super::super::error::{Problem, ProblemKind};

/// Leave for so many more jobs of each plugin; refused is what would go over the high-water mark. What is kept above it
/// is for plugins that are beside others.
pub(super) fn has_room<'a>(
    state: &State,
    more: impl Iterator<Item = (&'a str, u64)> + Clone,
) -> Result<Ticket, Problem> {
    let is_alone = !state.gates().has_several_plugins();
    let unfinished = |plugin: &str| state.store.unfinished(plugin);
    let drawn = state.arriving.draw(state.config.high_water(is_alone), more.clone(), unfinished);
    drawn.map_err(|refusal| {
        refused(state.config.queue.high_water, is_alone, more.map(|(_, count)| count).sum(), refusal)
    })
}

fn refused(mark: u64, is_alone: bool, new: u64, refusal: Refusal<'_>) -> Problem {
    let Refusal { plugin, held, unfinished, arriving } = refusal;
    let there = match arriving {
        0 => format!("{unfinished} jobs are unfinished"),
        _ => format!("{unfinished} jobs are unfinished, {arriving} are on their way into the store,"),
    };
    let beside = match held {
        _ if is_alone => String::new(),
        0 => format!(", and what is free above the mark is too little for the jobs of the plugin {plugin}"),
        _ => format!(", and the plugin {plugin} has {held} of them, too many for what is kept above it"),
    };
    let detail = format!(
        "{there} and {new} more would go over the high-water mark of {mark} (queue.high_water){beside}; nothing was stored"
    );
    Problem::new(ProblemKind::HighWater, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::testing::Api;
    use crate::config::Config;
    use crate::store::StoreError;

    fn jobs(plugin: &str, count: usize) -> Value {
        json!({"jobs": vec![json!({"plugin": plugin, "payload": 1}); count]})
    }

    #[tokio::test]
    async fn what_is_on_its_way_counts_where_many_ask_at_once() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("flood").plugin("modest");
        let post = async |plugin: &str, count| api.post("/v1/jobs/batch", jobs(plugin, count)).await;
        let (pen, refused) = (api.store.pen.write().await, AtomicUsize::new(0));
        let flood = join_all((0..24).map(async |_| {
            let answer = post("flood", 18).await;
            if answer.status == 202 {
                return true;
            }
            refused.fetch_add(1, Ordering::Relaxed);
            assert_eq!(answer.header("retry-after"), Some("5"));
            let problem = answer.problem(ProblemKind::HighWater);
            assert!(problem.detail.contains("18 are on their way into the store"), "{problem:?}");
            false
        }));
        let written = async {
            while refused.load(Ordering::Relaxed) + api.store.enqueues.load(Ordering::Relaxed) < 24 {
                tokio::task::yield_now().await;
            }
            drop(pen);
        };
        let (flood, ()) = tokio::join!(flood, written);
        assert_eq!(flood.into_iter().filter(|it| *it).count(), 1);
        assert_eq!(api.store.len(), 18);
        // What has been written is not counted twice.
        assert_eq!(post("flood", 2).await.status, 202);
        assert_eq!(post("modest", 1).await.status, 202);
    }

    #[tokio::test]
    async fn what_is_on_its_way_counts_for_its_plugin() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("flood").plugin("modest");
        let (pen, answered) = (api.store.pen.write().await, AtomicUsize::new(0));
        let single = async |plugin: &str| {
            let answer = api.post("/v1/jobs", json!({"plugin": plugin, "payload": 1})).await;
            answered.fetch_add(1, Ordering::Relaxed);
            (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
        };
        let come = async |count| {
            while answered.load(Ordering::Relaxed) + api.store.enqueues.load(Ordering::Relaxed) < count {
                tokio::task::yield_now().await;
            }
        };
        let written = async {
            come(1).await;
            let open = async {
                come(3).await;
                drop(pen);
            };
            tokio::join!(single("flood"), single("modest"), open)
        };
        let batch = api.post("/v1/jobs/batch", jobs("flood", 20));
        let (batch, ((flood, told), (modest, _), ())) = tokio::join!(batch, written);
        assert_eq!((batch.status, flood, modest), (202, 429, 202));
        assert!(told.contains("the plugin flood has 20 of them"), "{told}");
    }

    #[tokio::test]
    async fn who_sends_one_after_another_is_not_in_the_way_of_itself() {
        let mut config = Config::default();
        config.queue.high_water = 3;
        let api = Api::with_config(config).plugin("echo");
        let job = json!({"plugin": "echo", "payload": 1});
        for failure in [StoreError::Full(String::new()), StoreError::Busy(String::new())] {
            api.store.fail_with(Some(failure));
            for (path, body) in [("/v1/jobs", job.clone()), ("/v1/jobs/batch", jobs("echo", 3))] {
                assert_eq!(api.post(path, body).await.status, 503);
            }
        }
        api.store.fail_with(None);
        for status in [202, 200, 200, 200] {
            let answer = api.send_with("POST", "/v1/jobs", &[("idempotency-key", "k")], Some(job.clone())).await;
            assert_eq!(answer.status, status);
        }
        for waits in 1..4 {
            let gone = Api::with_config(Config::clone(&api.state.config)).plugin("echo");
            Api::left_after(waits, gone.post("/v1/jobs/batch", jobs("echo", 1))).await;
            assert_eq!(gone.post("/v1/jobs/batch", jobs("echo", 3 - gone.store.len())).await.status, 202);
        }
        assert_eq!(api.post("/v1/jobs", job.clone()).await.status, 202);
        assert_eq!(api.post("/v1/jobs", job.clone()).await.status, 202);
        api.post("/v1/jobs", job).await.problem(ProblemKind::HighWater);
    }

    #[tokio::test]
    async fn who_has_nothing_is_not_told_that_it_has_too_much() {
        let mut config = Config::default();
        config.queue.high_water = 1;
        let api = Api::with_config(config).plugin("a").plugin("b").plugin("c");
        for (plugin, count, status) in [("c", 3, 429), ("a", 1, 202), ("b", 1, 202), ("c", 1, 429)] {
            let answer = api.post("/v1/jobs/batch", jobs(plugin, count)).await;
            assert_eq!(answer.status, status, "{plugin}");
            if status == 429 {
                let told = answer.problem(ProblemKind::HighWater).detail;
                assert!(!told.contains("too many") && !told.contains("has 0"), "{told}");
                assert!(told.contains("the mark is too little for the jobs of the plugin c"), "{told}");
            }
        }
    }

    #[tokio::test]
    async fn one_plugin_does_not_fill_the_queue_for_others() {
        let mut config = Config::default();
        config.queue.high_water = 20;
        let api = Api::with_config(config).plugin("flood").plugin("modest");
        let post = async |plugin: &str, count: usize| api.post("/v1/jobs/batch", jobs(plugin, count)).await;
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
        let post = async |count: usize| api.post("/v1/jobs/batch", jobs("only", count)).await;
        post(21).await.problem(ProblemKind::HighWater);
        assert_eq!(post(20).await.status, 202);
        post(1).await.problem(ProblemKind::HighWater);
    }
}
