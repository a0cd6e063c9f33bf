//! `GET /openapi.json`: the API's own description, made from the code that serves it.

use std::sync::LazyLock;

use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::OpenApi;

use super::{State, downstreams, health, jobs, metrics, plugins};

mod door;

/// Everything that the document lists. What is referred to comes along.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Windlass",
        description = "A durable job runner. Errors are RFC 9457 problem documents with a stable `type`; times are RFC \
                       3339 in UTC with milliseconds; durations are texts such as `250ms`, `2s`, `5m`.",
    ),
    tags(
        (name = "jobs", description = "Units of work"),
        (name = "plugins", description = "Components that do the work"),
        (name = "downstreams", description = "The systems that jobs call"),
        (name = "host", description = "The process itself"),
    ),
    paths(
        jobs::list, jobs::enqueue, jobs::batch, jobs::show, jobs::attempt, jobs::cancel, jobs::retry, plugins::list,
        plugins::show, plugins::put, plugins::remove, plugins::pause, plugins::resume, downstreams::list, downstreams::show,
        downstreams::hold, downstreams::release, downstreams::probe, downstreams::limit,
        health::healthz, health::readyz, metrics::metrics, openapi,
    ),
)]
struct Document;

/// The document of a host that asks for tokens.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    document_where(true)
}

/// The document of a host that asks for tokens, or of one that does not.
fn document_where(tokens_are_needed: bool) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    door::describe(&mut document, tokens_are_needed);
    document
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", tag = "host",
    responses((status = 200, description = "An OpenAPI document", body = serde_json::Value)),
)]
pub(super) async fn openapi(Shared(state): Shared<State>) -> Response {
    static GUARDED: LazyLock<Bytes> = LazyLock::new(|| text(true));
    static OPEN: LazyLock<Bytes> = LazyLock::new(|| text(false));
    let text = if state.door.needs_tokens() { &GUARDED } else { &OPEN };
    ([(CONTENT_TYPE, "application/json")], Bytes::clone(text)).into_response()
}

fn text(tokens_are_needed: bool) -> Bytes {
    match document_where(tokens_are_needed).to_pretty_json() {
        Ok(text) => text.into(),
        Err(error) => {
            tracing::error!(%error, "the API's description cannot be written");
            Bytes::from_static(b"{}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::api::testing::Api;

    const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

    /// Method and path of every route, read from the router's own lines.
    fn routes() -> BTreeSet<(String, String)> {
        let mut routes = BTreeSet::new();
        for line in include_str!("router.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once('"').unwrap();
            for method in METHODS {
                if handlers.contains(&format!("{method}(")) {
                    routes.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
        routes
    }

    async fn told() -> Value {
        Api::new().get("/openapi.json").await.json()
    }

    #[tokio::test]
    async fn every_route_is_described_and_nothing_else() {
        let told = told().await;
        let mut described = BTreeSet::new();
        for (path, operations) in told["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())) {
                described.insert((method.clone(), path.clone()));
            }
        }
        assert!(routes().len() >= 18, "{:?}", routes());
        assert_eq!(described, routes());
    }

    #[tokio::test]
    async fn the_bodies_of_acts_are_described() {
        let told = told().await;
        for act in ["hold", "release", "probe", "limit"] {
            let body = &told["paths"][format!("/v1/downstreams/{{key}}/{act}")]["post"]["requestBody"];
            assert!(body["content"]["application/json"]["schema"].is_object(), "{act}: {body}");
        }
    }

    #[tokio::test]
    async fn who_reads_json_says_that_other_bodies_are_refused() {
        let told = told().await;
        let mut read = 0;
        for (path, operations) in told["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if operation["requestBody"]["content"]["application/json"].is_object() {
                    assert!(operation["responses"]["415"].is_object(), "{method} {path}");
                    read += 1;
                }
            }
        }
        assert!(read >= 6, "{read}");
    }

    #[tokio::test]
    async fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let told = told().await;
        let mut found = Vec::new();
        references(&told, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            assert!(told.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_told_beforehand() {
        let told = told().await;
        let schema = |name: &str, member: &str| told["components"]["schemas"][name]["properties"][member].clone();
        let limit = &told["paths"]["/v1/jobs"]["get"]["parameters"][4];
        assert_eq!((limit["name"].as_str(), limit["schema"]["maximum"].as_u64()), (Some("limit"), Some(500)));
        assert_eq!(schema("LimitRequest", "concurrency")["minimum"], 1);
        assert_eq!(schema("RetryOverride", "max_attempts")["maximum"], 10_000);
        assert_eq!(schema("JobRequest", "limit_key")["maxLength"], 200);
        let put = &told["paths"]["/v1/plugins/{name}"]["put"];
        assert!(
            put["parameters"][0]["schema"]["pattern"].as_str().is_some_and(|text| text.contains("{0,62}")),
            "{put:#}"
        );
        let component = &put["requestBody"]["content"]["application/wasm"]["schema"];
        assert_eq!((&component["type"], &component["format"]), (&"string".into(), &"binary".into()), "{put:#}");
    }

    #[tokio::test]
    async fn every_operation_says_what_it_does_and_every_member_what_it_is() {
        let told = told().await;
        for (path, operations) in told["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path}");
            }
        }
        for (name, schema) in told["components"]["schemas"].as_object().unwrap() {
            for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
                let text = schema.to_string();
                assert!(text.contains("description") || text.contains("$ref"), "{name}.{member} is not described");
            }
        }
    }
}
