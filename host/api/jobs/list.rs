//! `GET /v1/jobs`: jobs, newest first, page by page.

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::{Query, cursor, invalid, limit, read_cursor};
use super::JobSummary;
use crate::store::ListFilter;

/// The length of a page where none is asked for.
const LIMIT_DEFAULT: usize = 50;
/// The longest page.
const LIMIT_MAX: usize = 500;
/// The most labels to filter by: as many as a job can have.
const LABELS_MAX: usize = 32;

/// A page of jobs.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobPage {
    /// The jobs, newest first. A page can be shorter than its limit though there is a next one.
    pub jobs: Vec<JobSummary>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<String>,
}

/// List jobs
///
/// Newest first, without payloads, results and attempts. A parameter that is empty is as if it were not there.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs",
    params(
        ("state" = Option<crate::job::State>, Query, description = "Only those in this state"),
        ("plugin" = Option<String>, Query, description = "Only those of this plugin"),
        ("downstream" = Option<String>, Query, description = "Only those of this downstream"),
        ("label" = Option<Vec<String>>, Query, description = "Only those with this label, as name:value; may be repeated"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "The length of a page, 1 to 500; 50 where it is not said"),
        ("cursor" = Option<String>, Query, description = "Where the page begins: `next` of the one before"),
    ),
    responses(
        (status = 200, description = "A page", body = JobPage),
        (status = 400, description = "The query is invalid", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn list(Shared(state): Shared<State>, query: Query) -> Result<Json<JobPage>, Problem> {
    let page = state.store.list(read(&query)?, state.now()).await?;
    Ok(Json(JobPage {
        jobs: page.jobs.iter().map(|job| JobSummary::of(&state, job)).collect(),
        next: page.next.map(|id| cursor(&id.to_string())),
    }))
}

fn read(query: &Query) -> Result<ListFilter, Problem> {
    query.only(&["state", "plugin", "downstream", "label", "limit", "cursor"])?;
    Ok(ListFilter {
        state: query.one("state", str::parse)?,
        plugin: query.one("plugin", |name| Ok(name.to_owned()))?,
        downstream: query.one("downstream", |key| Ok(key.to_owned()))?,
        labels: labels(query)?,
        before: query.one("cursor", |text| read_cursor(text, |id| id.parse().ok()))?,
        limit: query.one("limit", limit(LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT),
    })
}

fn labels(query: &Query) -> Result<Vec<(String, String)>, Problem> {
    let read = |text: &str| {
        let (name, value) = text.split_once(':').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    let labels: Option<Vec<_>> = query.all("label").map(read).collect();
    labels
        .ok_or_else(|| invalid("label", "write it as name:value"))
        .and_then(|labels| if labels.len() > LABELS_MAX { Err(invalid("label", "at most 32")) } else { Ok(labels) })
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};

    async fn with_seven() -> (Api, Vec<String>) {
        let api = Api::new().plugin("echo").plugin("other");
        let mut ids = Vec::new();
        for n in 0..7 {
            let plugin = if n % 2 == 0 { "echo" } else { "other" };
            let labels = json!({"n": n.to_string(), "all": "yes"});
            let job = json!({"plugin": plugin, "payload": n, "downstream": format!("d{}", n % 3), "labels": labels});
            ids.insert(0, api.enqueue(job).await);
        }
        (api, ids)
    }

    async fn listed(api: &Api, query: &str) -> Vec<String> {
        let page = api.get(&format!("/v1/jobs?{query}")).await.json();
        page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn the_newest_stand_first_and_filters_add_up() {
        let (api, ids) = with_seven().await;
        assert_eq!(listed(&api, "").await, ids);
        assert_eq!(listed(&api, "plugin=other").await.len(), 3);
        assert_eq!(listed(&api, "plugin=other&downstream=d1").await.len(), 1);
        assert_eq!(listed(&api, "label=n:3&label=all:yes").await, [ids[3].clone()]);
        assert_eq!(listed(&api, "label=n:3&label=all:no").await, [] as [String; 0]);
        assert_eq!(listed(&api, "label=&state=&label=n:3").await, [ids[3].clone()]);
        assert_eq!(listed(&api, "state=running").await, [] as [String; 0]);
    }

    #[tokio::test]
    async fn pages_follow_each_other_without_payloads() {
        let (api, ids) = with_seven().await;
        let (mut paged, mut next) = (Vec::new(), String::new());
        loop {
            let page = api.get(&format!("/v1/jobs?limit=3&cursor={next}")).await.json();
            let jobs = page["jobs"].as_array().unwrap();
            assert!(jobs.len() <= 3 && jobs.iter().all(|job| job.get("payload").is_none()), "{page:#}");
            paged.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(cursor) => next = cursor.to_owned(),
                None => break,
            }
        }
        assert_eq!(paged, ids);
    }

    #[tokio::test]
    async fn an_invalid_query_is_refused() {
        let api = Api::new();
        for query in ["state=done", "limit=0", "limit=501", "limit=many", "cursor=x", "label=x", "label=:x", "color=1"]
        {
            let problem = api.get(&format!("/v1/jobs?{query}")).await.problem(ProblemKind::QueryInvalid);
            assert!(problem.detail.contains(query.split('=').next().unwrap()), "{problem:?}");
        }
    }
}
