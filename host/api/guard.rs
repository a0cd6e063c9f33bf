//! What every request passes: who may ask, an id for the logs, and the counting of answers.
//!
//! The API has no authentication yet. What keeps pages of other sites from reaching a host on loopback through a browser
//! stands here: the names it answers to (against DNS rebinding), the refusal of writes from other origins, and the
//! absence of any CORS header.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;

use super::State;
use super::error::{Problem, ProblemKind, quoted};

/// The header that ties an answer to the log lines about it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How browsers say from where a page asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request pass or refuses it, and sees to the answer.
pub(super) async fn pass(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers(), &state);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let mut response = match refusal(&state, &request) {
        Some(problem) => problem.into_response(),
        // A broken handler must cost its caller an answer, and nobody else anything.
        None => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| broke_off(&route)),
    };
    let status = response.status().as_u16();
    state.metrics.request_answered(method_label(&method), &route, status);
    tracing::debug!(request.id = ?id, %method, route, status, "a request was answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn broke_off(route: &str) -> Response {
    tracing::error!(route, "a handler panicked: please report this");
    Problem::new(ProblemKind::Internal, format!("the host broke off while it answered {route}; its log says where"))
        .into_response()
}

/// Methods that anybody may invent must not become as many time series.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE | Method::PATCH | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}

/// The caller's own id where it is well-formed, else a new one.
fn request_id(headers: &HeaderMap, state: &State) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let is_sound = |id: &HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(|id| is_sound(id)).cloned().unwrap_or_else(|| {
        let id = format!("{:x}-{:x}", state.now().0, COUNT.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).expect("hexadecimal digits and a hyphen")
    })
}

fn refusal(state: &State, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    if state.config.server.listen.ip().is_loopback()
        && let Some(host) = hosts(headers, request.uri()).find(|host| !is_loopback_name(host))
    {
        let detail = format!(
            "this host answers to localhost, 127.0.0.1 and [::1], not to {}; set server.listen to a reachable \
             address to serve others",
            quoted(host)
        );
        return Some(Problem::new(ProblemKind::HostRefused, detail));
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let origin = if is_read { None } else { foreign_origin(headers, request.uri()) };
    origin.map(|origin| {
        let detail = format!("a page of {} tried to change something; ask from a program instead", quoted(&origin));
        Problem::new(ProblemKind::OriginRefused, detail)
    })
}

/// Every name under which the request was sent. What is not text is no name of ours.
fn hosts<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> impl Iterator<Item = &'a str> {
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("(not text)")).chain(authority)
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The origin of the page that sent the request, where that is not the host's own.
fn foreign_origin(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    match headers.get(ORIGIN) {
        Some(origin) => {
            let origin = origin.to_str().unwrap_or("(not text)");
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            let is_own = hosts(headers, uri).any(|host| authority == Some(host));
            (!is_own).then(|| origin.to_owned())
        }
        None => {
            let site = headers.get(SEC_FETCH_SITE)?.to_str().unwrap_or("(not text)");
            (!matches!(site, "same-origin" | "none")).then(|| format!("another site ({site})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Api, json};

    #[test]
    fn loopback_has_these_names() {
        for name in ["localhost", "LOCALHOST:7070", "127.0.0.1", "127.0.0.1:80", "127.8.8.8", "[::1]", "[::1]:7070"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["", "evil.example", "localhost.evil.example:7070", "127.0.0.1.nip.io", "10.0.0.1", "[::2]:7070"] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_foreign_name_is_refused_on_loopback() {
        let api = Api::new();
        let answer = api.send_with("GET", "/v1/jobs", &[("host", "evil.example:7070")], None).await;
        assert!(answer.problem(ProblemKind::HostRefused).detail.contains("evil.example"));
        let answer = api.send_with("GET", "http://evil.example/v1/jobs", &[], None).await;
        answer.problem(ProblemKind::HostRefused);
        assert_eq!(api.send_with("GET", "/v1/jobs", &[("host", "[::1]:7070")], None).await.status, 200);
    }

    #[tokio::test]
    async fn any_name_reaches_a_host_that_serves_others() {
        let mut config = crate::config::Config::default();
        config.server.listen = "0.0.0.0:7070".parse().unwrap();
        let api = Api::with_config(config);
        assert_eq!(api.send_with("GET", "/v1/jobs", &[("host", "windlass.example")], None).await.status, 200);
    }

    #[tokio::test]
    async fn a_page_of_another_site_changes_nothing() {
        let api = Api::new().plugin("echo");
        let job = || Some(json!({"plugin": "echo", "payload": 1}));
        for header in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            let headers = [("host", "localhost:7070"), header];
            api.send_with("POST", "/v1/jobs", &headers, job()).await.problem(ProblemKind::OriginRefused);
            assert_eq!(api.send_with("GET", "/v1/jobs", &headers, None).await.status, 200, "reading is harmless");
        }
        let own = [("host", "localhost:7070"), ("origin", "http://localhost:7070"), ("sec-fetch-site", "same-origin")];
        assert_eq!(api.send_with("POST", "/v1/jobs", &own, job()).await.status, 202);
        assert_eq!(api.store.len(), 1);
    }

    #[tokio::test]
    async fn a_request_keeps_its_id_or_gets_one() {
        let api = Api::new();
        let own = api.send_with("GET", "/healthz", &[("x-request-id", "abc-1")], None).await;
        assert_eq!(own.header("x-request-id"), Some("abc-1"));
        for bad in ["with space", &"x".repeat(129)] {
            let answer = api.send_with("GET", "/nothing", &[("x-request-id", bad)], None).await;
            assert!(answer.header("x-request-id").is_some_and(|id| id != bad && !id.is_empty()));
        }
    }

    #[tokio::test]
    async fn no_page_is_told_that_it_may_read() {
        let answer = Api::new().send_with("GET", "/v1/jobs", &[("origin", "https://evil.example")], None).await;
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers() {
        let api = Api::new();
        api.store.panic_at_list();
        api.get("/v1/jobs").await.problem(ProblemKind::Internal);
    }
}
