//! Names and origins, by way of the router.

use axum::body::Body;

use super::*;
use crate::api::testing::{Api, json};
use crate::config::Config;

fn api(edit: impl FnOnce(&mut config::Server)) -> Api {
    let mut config = Config::default();
    edit(&mut config.server);
    Api::with_config(config).plugin("echo")
}

fn public(server: &mut config::Server) {
    server.listen = "0.0.0.0:7070".parse().unwrap();
}

async fn status(api: &Api, host: &str) -> u16 {
    api.send_with("GET", "/v1/jobs", &[("host", host)], None).await.status
}

#[test]
fn loopback_has_these_names() {
    for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"] {
        assert!(is_loopback_name(name), "{name}");
    }
    for name in
        ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "[::2]", "[::ffff:10.0.0.1]"]
    {
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
    for host in ["localhost", "localhost.", "LocalHost:1", "127.0.0.1:7070", "[::1]:7070"] {
        assert_eq!(status(&api, host).await, 200, "{host}");
    }
}

#[tokio::test]
async fn what_is_no_name_is_malformed() {
    let api = api(public);
    for host in ["", "user@localhost", "user:secret@localhost", "localhost:", "localhost:99999", "a b", "localhost/x"] {
        api.send_with("GET", "/v1/jobs", &[("host", host)], None).await.problem(ProblemKind::HeaderInvalid);
    }
    let twice = [("host", "localhost"), ("host", "localhost")];
    api.send_with("GET", "/v1/jobs", &twice, None).await.problem(ProblemKind::HeaderInvalid);
    let nameless = axum::http::Request::builder().uri("/v1/jobs").body(Body::empty()).unwrap();
    api.request(nameless).await.problem(ProblemKind::HeaderInvalid);
    for target in ["http://user@localhost/v1/jobs", "http://other.example/v1/jobs", "http://localhost:80/v1/jobs"] {
        let answer = api.send_with("GET", target, &[("host", "localhost")], None).await;
        answer.problem(ProblemKind::HeaderInvalid);
    }
    assert_eq!(api.send_with("GET", "http://localhost/v1/jobs", &[("host", "localhost")], None).await.status, 200);
}

#[tokio::test]
async fn an_old_client_may_say_no_name_where_none_is_asked_for() {
    let old = || axum::http::Request::builder().version(Version::HTTP_10).uri("/v1/jobs").body(Body::empty()).unwrap();
    assert_eq!(Api::new().request(old()).await.status, 200);
    let named = api(|server| server.hosts = vec!["windlass.example".parse().unwrap()]);
    named.request(old()).await.problem(ProblemKind::HostRefused);
}

#[tokio::test]
async fn any_name_reaches_a_host_that_serves_others_and_has_none() {
    assert_eq!(status(&api(public), "windlass.example").await, 200);
}

#[tokio::test]
async fn a_host_with_names_answers_to_those() {
    let names = |server: &mut config::Server| {
        server.hosts = vec!["windlass.example".parse().unwrap(), "other.example:8443".parse().unwrap()];
    };
    let near = api(names);
    let far = api(|server| {
        public(server);
        names(server);
    });
    for (host, near_status, far_status) in [
        ("windlass.example", 200, 200),
        ("WINDLASS.example:9", 200, 200),
        ("other.example:8443", 200, 200),
        ("other.example:443", 403, 403),
        ("evil.example", 403, 403),
        ("localhost", 200, 403),
    ] {
        assert_eq!((status(&near, host).await, status(&far, host).await), (near_status, far_status), "{host}");
    }
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
    let both = [("host", "localhost:7070"), ("origin", "http://localhost:7070"), ("origin", "https://evil.example")];
    api.send_with("POST", "/v1/jobs", &both, job()).await.problem(ProblemKind::OriginRefused);
    assert_eq!(api.store.len(), 1);
}

#[tokio::test]
async fn behind_a_proxy_the_names_are_the_origins() {
    let api = api(|server| {
        server.behind_proxy = true;
        server.hosts = vec!["windlass.example".parse().unwrap()];
    });
    for (host, origin, status) in [
        ("windlass.example", "https://windlass.example", 202),
        ("127.0.0.1:7070", "https://windlass.example", 202),
        ("127.0.0.1:7070", "https://windlass.example:444", 403),
        ("windlass.example", "http://windlass.example", 403),
        ("windlass.example", "https://windlass.example.evil", 403),
        ("windlass.example", "https://user@windlass.example", 403),
    ] {
        let job = Some(json!({"plugin": "echo", "payload": 1}));
        let headers = [("host", host), ("origin", origin)];
        assert_eq!(api.send_with("POST", "/v1/jobs", &headers, job).await.status, status, "{host} {origin}");
    }
}

#[tokio::test]
async fn no_page_is_told_that_it_may_read() {
    let headers = [("host", "localhost"), ("origin", "https://evil.example")];
    let answer = Api::new().send_with("GET", "/v1/jobs", &headers, None).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}
