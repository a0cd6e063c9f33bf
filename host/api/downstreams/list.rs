//! `GET /v1/downstreams`: all of them, by key, page by page.

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::{Query, cursor, limit, read_cursor};
use super::document::DownstreamDocument;
use super::parts;

/// The longest page, and its length where none is asked for.
const LIMIT_MAX: usize = 1_000;

/// A page of downstreams.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DownstreamList {
    /// Those with unfinished jobs, and those of which anything is known, by key.
    pub downstreams: Vec<DownstreamDocument>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// List downstreams
///
/// By key. Each page is told as things stand when it is asked for. A parameter that is empty is as if it were not there.
#[utoipa::path(
    get, path = "/v1/downstreams", tag = "downstreams",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The length of a page, 1 to 1000; 1000 where it is not said"),
        ("cursor" = Option<String>, Query, description = "Where the page begins: `next` of the one before"),
    ),
    responses(
        (status = 200, description = "A page", body = DownstreamList),
        (status = 400, description = "The query is invalid", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn list(
    Shared(state): Shared<State>,
    query: Query,
) -> Result<Json<DownstreamList>, Problem> {
    query.only(&["limit", "cursor"])?;
    let most = query.one("limit", limit(LIMIT_MAX))?.unwrap_or(LIMIT_MAX);
    let is_key = |key: &String| crate::config::downstream_key(key).is_ok();
    let behind = query.one("cursor", |text| read_cursor(text, |key| Some(key).filter(is_key)))?;
    let (downstreams, next) = parts::page(&state, behind.as_deref(), most).await;
    Ok(Json(DownstreamList { downstreams, next: next.as_deref().map(cursor) }))
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use super::super::parts::STEP;
    use crate::api::testing::{Api, json};
    use crate::job::health::{Act, ActKind};
    use crate::job::{Lane, gates::LaneRef};

    #[tokio::test]
    async fn jobs_are_counted_by_what_they_call() {
        let api = Api::new().plugin("a").plugin("b");
        for (plugin, downstream, delay) in
            [("a", "erp", "0s"), ("a", "erp", "1h"), ("b", "erp", "0s"), ("b", "x", "0s")]
        {
            let job = json!({"plugin": plugin, "downstream": downstream, "payload": 1, "delay": delay});
            api.enqueue(job).await;
        }
        api.send("POST", "/v1/plugins/b/pause", None).await;
        let told = api.get("/v1/downstreams").await.json();
        let nothing = json!(null);
        let expected = json!({"downstreams": [
            {"key": "erp", "breaker": "closed", "since": nothing, "next_probe": nothing, "held_until": nothing,
                "error_rate": nothing, "running": 0, "waiting": 2, "plugins": [
                {"plugin": "a", "running": 0, "waiting": 1, "held": 0, "later": 1, "breaker": "closed"},
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "breaker": "closed", "blocked": {"reason": "paused"}},
            ]},
            {"key": "x", "breaker": "closed", "since": nothing, "next_probe": nothing, "held_until": nothing,
                "error_rate": nothing, "running": 0, "waiting": 1, "plugins": [
                {"plugin": "b", "running": 0, "waiting": 1, "held": 0, "later": 0, "breaker": "closed", "blocked": {"reason": "paused"}},
            ]},
        ], "next": null});
        assert_eq!(told, expected);
    }

    /// Pages of that length: the keys of each, and how many plugins each of them has.
    async fn pages(api: &Api, limit: usize) -> Vec<Vec<(String, usize)>> {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/downstreams?limit={limit}&cursor={cursor}")).await.json();
            let told = page["downstreams"].as_array().unwrap();
            let told = told
                .iter()
                .map(|one| (one["key"].as_str().unwrap().to_owned(), one["plugins"].as_array().unwrap().len()));
            pages.push(told.collect());
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return pages,
            }
        }
    }

    #[tokio::test]
    async fn pages_tell_each_downstream_once_be_it_called_or_only_known() {
        let api = Api::new().plugin("a").plugin("b").plugin("c");
        for (plugin, downstream) in [("b", "x"), ("a", "x"), ("a", "x1"), ("c", "y"), ("a", "z")] {
            api.enqueue(json!({"plugin": plugin, "downstream": downstream, "payload": 1})).await;
        }
        for (plugin, downstream) in [("a", "w"), ("c", "x"), ("b", "y1")] {
            let act = Act { at: crate::clock::UnixMs(1), what: ActKind::Release };
            api.state.gates().act(&Lane::new(plugin, downstream), act);
        }
        let all = [("w", 1), ("x", 3), ("x1", 1), ("y", 1), ("y1", 1), ("z", 1)];
        let all: Vec<_> = all.into_iter().map(|(key, plugins)| (key.to_owned(), plugins)).collect();
        for limit in 1..8 {
            let pages = pages(&api, limit).await;
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "{pages:?}");
            assert_eq!(pages.concat(), all, "pages of {limit}");
        }
    }

    #[tokio::test]
    async fn however_many_there_are_few_are_looked_at_while_others_wait() {
        let api = Api::new().plugin("a").plugin("b");
        let count = 3 * STEP + 10;
        for n in 0..count {
            let act = Act { at: crate::clock::UnixMs(1), what: ActKind::Release };
            api.state.gates().act(&Lane::new("a", &format!("d{n:05}")), act);
            if n % 3 == 0 {
                api.enqueue(json!({"plugin": "b", "downstream": format!("d{n:05}"), "payload": 1})).await;
            }
        }
        let pages = pages(&api, 500).await;
        let expected: Vec<_> = (0..count).map(|n| (format!("d{n:05}"), if n % 3 == 0 { 2 } else { 1 })).collect();
        assert_eq!(pages.concat(), expected);
        assert_eq!(api.store.lanes_asked(), STEP);
        let one = api.get("/v1/downstreams/d00300").await.json();
        assert_eq!(one["plugins"].as_array().unwrap().len(), 2);
        let first = LaneRef { plugin: "", downstream: "d00777", limit_key: None };
        assert_eq!(
            &**api.state.gates().known_from(first).next().unwrap().0,
            "d00777",
            "found without a look at the others"
        );
    }

    #[tokio::test]
    async fn an_invalid_query_is_refused() {
        let api = Api::new();
        for query in ["limit=0", "limit=1001", "limit=many", "cursor=!", "state=open"] {
            let problem = api.get(&format!("/v1/downstreams?{query}")).await.problem(ProblemKind::QueryInvalid);
            assert!(problem.detail.contains(query.split('=').next().unwrap()), "{problem:?}");
        }
    }
}
