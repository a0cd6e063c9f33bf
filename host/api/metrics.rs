//! `GET /metrics`: the numbers, for Prometheus.

use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::State;
use crate::telemetry::Snapshot;

/// The format that prometheus-client writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics in the OpenMetrics text format
#[utoipa::path(
    get, path = "/metrics", tag = "host",
    responses((status = 200, description = "The numbers", body = String, content_type = "application/openmetrics-text")),
)]
pub(super) async fn metrics(Shared(state): Shared<State>) -> Response {
    let plugins = state.loader.all();
    let snapshot = Snapshot {
        counts: state.store.counts(),
        plugins: plugins.iter().map(|plugin| (plugin.name().to_owned(), plugin.load_error().is_some())).collect(),
        down: state.gates().down().clone(),
        store_writable: state.store.health().is_ok(),
    };
    ([(CONTENT_TYPE, OPENMETRICS)], state.metrics.encode(&snapshot)).into_response()
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Api, json};

    #[tokio::test]
    async fn what_happens_is_counted() {
        let api = Api::new().plugin("echo");
        api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        api.get("/v1/jobs/x").await;
        let answer = api.get("/metrics").await;
        assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for line in [
            "windlass_jobs_enqueued_total{plugin=\"echo\"} 1",
            "windlass_jobs{plugin=\"echo\",state=\"available\"} 1",
            "windlass_plugin_load_error{plugin=\"echo\"} 0",
            "windlass_http_requests_total{method=\"POST\",route=\"/v1/jobs\",status=\"202\"} 1",
            "windlass_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}\",status=\"404\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
