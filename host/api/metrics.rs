//! `GET /metrics`: the numbers, for Prometheus.

use std::fmt::Write as _;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};

use super::State;
use crate::telemetry::Snapshot;

/// The format that prometheus-client writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The format that everybody reads.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics in the text format of Prometheus
///
/// Or in OpenMetrics, for who accepts that no less.
#[utoipa::path(
    get, path = "/metrics", tag = "host",
    responses((status = 200, description = "The numbers", content(
        (String = "text/plain"), (String = "application/openmetrics-text")))),
)]
pub(super) async fn metrics(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let plugins = state.loader.all();
    let snapshot = Snapshot {
        counts: state.store.counts(),
        plugins: plugins.iter().map(|plugin| (plugin.name().to_owned(), plugin.load_error().is_some())).collect(),
        down: state.gates().down().clone(),
        store_writable: state.store.takes_writes(),
    };
    let open = state.metrics.encode(&snapshot);
    let (format, text) =
        if prefers_openmetrics(&headers) { (OPENMETRICS, open) } else { (PROMETHEUS, prometheus(&open)) };
    ([(CONTENT_TYPE, format), (VARY, "accept")], text).into_response()
}

/// Whether OpenMetrics is accepted, and plain text is not preferred.
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let best = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => &mut open,
            "text/plain" => &mut plain,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        *best = best.max(weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)));
    }
    open > 0.0 && open >= plain
}

/// The text format 0.0.4 of Prometheus, from OpenMetrics: there a counter is described under the name that its numbers
/// have, and nothing marks the end.
fn prometheus(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + 1_024);
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let Some((name, rest)) = described.and_then(|described| described.split_once(' ')) else {
            if !matches!(line, "# EOF") {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let is_counter =
            |line: &str| line.strip_prefix("# TYPE ").is_some_and(|it| it.split_once(' ') == Some((name, "counter")));
        let total = if is_counter(line) || lines.peek().copied().is_some_and(is_counter) { "_total" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}{name}{total} {rest}", &line[.."# HELP ".len()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Api, json};
    use crate::store::StoreError;

    #[tokio::test]
    async fn what_happens_is_counted() {
        let api = Api::new().plugin("echo");
        api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        api.get("/v1/jobs/x").await;
        let accept = [("host", "localhost"), ("accept", "application/openmetrics-text; version=1.0.0")];
        let answer = api.send_with("GET", "/metrics", &accept, None).await;
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
        assert!(text.contains("# TYPE windlass_jobs_enqueued counter\n"), "{text}");
    }

    #[tokio::test]
    async fn a_store_that_had_no_room_is_told_of() {
        let api = Api::new();
        for (failure, line) in [
            (None, "windlass_store_writable 1"),
            (Some(StoreError::Full(String::new())), "windlass_store_writable 0"),
            (Some(StoreError::Failed(String::new())), "windlass_store_writable 0"),
        ] {
            api.store.fail_with(failure);
            let text = String::from_utf8(api.get("/metrics").await.body.to_vec()).unwrap();
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn the_format_is_prometheus_text_unless_the_other_is_asked_for() {
        let api = Api::new().plugin("echo");
        api.enqueue(json!({"plugin": "echo", "payload": 1})).await;
        let both = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, is_open) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/plain;version=0.0.4"), false),
            (Some("application/openmetrics-text;q=0, text/plain"), false),
            (Some("text/plain, application/openmetrics-text;q=0.3"), false),
            (Some("application/openmetrics-text"), true),
            (Some(both), true),
        ] {
            let headers: Vec<_> = [("host", "localhost")].into_iter().chain(accept.map(|it| ("accept", it))).collect();
            let answer = api.send_with("GET", "/metrics", &headers, None).await;
            let (wanted, counter) = if is_open {
                ("application/openmetrics-text; version=1.0.0; charset=utf-8", "windlass_jobs_enqueued")
            } else {
                ("text/plain; version=0.0.4; charset=utf-8", "windlass_jobs_enqueued_total")
            };
            assert_eq!(answer.header("content-type"), Some(wanted), "{accept:?}");
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(text.contains(&format!("# TYPE {counter} counter\n")), "{accept:?}: {text}");
            assert!(text.contains(&format!("# HELP {counter} Jobs accepted")), "{accept:?}: {text}");
            assert!(text.contains("windlass_jobs_enqueued_total{plugin=\"echo\"} 1\n"), "{accept:?}: {text}");
            assert!(text.contains("# TYPE windlass_jobs gauge\n"), "{accept:?}: {text}");
            assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept:?}: {text}");
        }
    }
}
