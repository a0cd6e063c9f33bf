//! `GET /v1/downstreams/{key}`: one of them.

use axum::Json;
use axum::extract::State as Shared;

use super::super::State;
use super::super::error::{Problem, ProblemDocument};
use super::super::request::DownstreamPath;
use super::document::DownstreamDocument;
use super::parts;

/// One downstream
#[utoipa::path(
    get, path = "/v1/downstreams/{key}", tag = "downstreams",
    params(("key" = String, Path, description = "The downstream's key")),
    responses(
        (status = 200, description = "The downstream", body = DownstreamDocument),
        (status = 404, description = "No job calls it and nothing is known of it", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn show(
    Shared(state): Shared<State>,
    DownstreamPath(key): DownstreamPath,
) -> Result<Json<DownstreamDocument>, Problem> {
    parts::one(&state, &key).map(Json)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ProblemKind;
    use crate::api::testing::{Api, json};

    #[tokio::test]
    async fn one_is_told_as_in_the_list() {
        let api = Api::new().plugin("a");
        api.enqueue(json!({"plugin": "a", "downstream": "the erp", "payload": 1})).await;
        let told = api.get("/v1/downstreams/the%20erp").await.json();
        assert_eq!(told, api.get("/v1/downstreams").await.json()["downstreams"][0]);
        api.get("/v1/downstreams/nobody").await.problem(ProblemKind::DownstreamUnknown);
    }

    #[tokio::test]
    async fn a_key_that_is_no_text_is_refused_as_everything_else_is() {
        let api = Api::new().plugin("a");
        api.get("/v1/downstreams/e%ee").await.problem(ProblemKind::RouteUnknown);
        for act in ["hold", "release", "probe", "limit"] {
            api.post(&format!("/v1/downstreams/e%ee/{act}"), json!({})).await.problem(ProblemKind::RouteUnknown);
        }
    }
}
