//! Requests that another server in the way may read otherwise, and other malformed ones: refused, and at most once answered.

use super::support::{Answer, Http2, Place};
use crate::common::PATIENCE;
use tokio::io::AsyncWriteExt as _;

/// A second request, which must not be seen by anybody.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    let post = |headers: &str, body: &str| format!("POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}");
    for (request, kind) in [
        (post("content-length: 6\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), "request-ambiguous"),
        (post("transfer-encoding: chunked\r\ncontent-length: 6\r\n", "0\r\n\r\n"), "request-ambiguous"),
        (post("content-length: 5\r\ncontent-length: 5\r\n", "12345"), "request-ambiguous"),
        ("GET /v1/jobs HTTP/1.1\nhost: localhost\n\n".to_owned(), "request-ambiguous"),
        (post("x: 1\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), "request-ambiguous"),
        (post("content-length:                                             5\r\n", "12345"), "request-ambiguous"),
    ] {
        let answers = server.raw(&format!("{request}{HIDDEN}")).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answers}");
        assert_eq!(Answer::of(&answers).problem(), kind, "{request:?}");
    }
    // What the parser refuses never reaches anybody who could explain it.
    for request in [
        post("content-length: 5\r\ncontent-length: 6\r\n", "123456"),
        post("content-length: +5\r\n", "12345"),
        post("content-length: 5, 6\r\n", "123456"),
        post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        post("transfer-encoding: x\r\n", "0\r\n\r\n"),
        post("x: 1\r\n obsolete folding\r\n", ""),
        post("x: a\rb\r\n", ""),
        post("x: a\0b\r\n", ""),
        post("x : 1\r\n", ""),
        "GET /v1/jobs HTTP/1.1\r\n host: localhost\r\n\r\n".to_owned(),
        "GET  /v1/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "GET /v1/jobs HTTP/3.0\r\nhost: localhost\r\n\r\n".to_owned(),
    ] {
        let answers = server.raw(&format!("{request}{HIDDEN}")).await;
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{request:?}: {answers}");
        assert!(answers.is_empty() || Answer::of(&answers).status == 400, "{request:?}: {answers}");
    }
    assert!(!server.log().contains("hidden"), "nobody saw the second request");
}

#[tokio::test]
async fn chunks_are_the_last_of_a_connection() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    let request = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let answers = server.raw(&format!("{request}{HIDDEN}")).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    let answer = Answer::of(&answers);
    assert!(answer.problem() == "member-invalid" && answer.head.contains("connection: close"), "{answer:?}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n")
    };
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    for (request, status, kind) in [
        (get(&format!("/v1/jobs?label={}", "x".repeat(9_000)), ""), 414, "uri-too-long"),
        (get("/v1/jobs", &many(120)), 431, "headers-too-large"),
        (get("/v1/jobs", &format!("x: {}\r\n", "y".repeat(40_000))), 431, "headers-too-large"),
        (get("/v1/jobs", &many(300)), 431, ""),
        (get("/v1/jobs", &format!("x: {}\r\n", "y".repeat(200_000))), 431, ""),
        (get(&format!("/{}", "x".repeat(70_000)), ""), 414, ""),
    ] {
        let answer = Answer::of(&server.raw(&request).await);
        // The listener's own limits lie above those that are explained, and come without a document.
        let is_refused = answer.status == status || kind.is_empty() && matches!(answer.status, 414 | 431);
        assert!(is_refused, "{}: {answer:?}", &request[..60]);
        if !kind.is_empty() {
            assert_eq!(answer.problem(), kind);
        }
    }
}

#[tokio::test]
async fn odd_methods_and_targets_are_told_apart() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    for (line, status) in [
        ("PATCH /v1/jobs", 405),
        ("BREW /v1/jobs", 405),
        ("TRACE /v1/jobs", 405),
        ("OPTIONS *", 404),
        ("CONNECT localhost:80", 404),
        ("GET /v1/../v1/jobs", 404),
        ("GET /v1/jobs/%00", 404),
        ("GET //v1/jobs", 404),
        ("GET /v1/plugins/..%2f..%2fetc", 400),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let request = request.replace(
            "host: localhost\r\n",
            if line.starts_with("CONNECT") { "host: localhost:80\r\n" } else { "host: localhost\r\n" },
        );
        let answer = Answer::of(&server.raw(&request).await);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        answer.problem();
    }
}

#[tokio::test]
async fn deep_bodies_and_floods_of_members_are_refused() {
    let place = Place::new("");
    super::support::plugin(&place, "http");
    let server = place.serve(&[]).await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let many: Vec<_> = (0..100_000).map(|n| format!("\"m{n}\":1")).collect();
    for (path, body, kind) in [
        ("/v1/jobs", format!("{{\"plugin\":\"http\",\"payload\":{}}}", deep(100_000)), "member-invalid"),
        ("/v1/jobs", format!("{{\"plugin\":\"http\",\"payload\":1,\"labels\":{}}}", deep(100_000)), "member-invalid"),
        ("/v1/jobs", deep(100_000), "body-malformed"),
        ("/v1/jobs", format!("{{{}}}", many.join(",")), "body-malformed"),
        ("/v1/jobs/batch", format!("{{\"jobs\":{}}}", deep(1_000_000)), "too-large"),
        ("/v1/jobs/batch", format!("{{\"jobs\":[1{}]}}", ",1".repeat(5_000_000)), "member-invalid"),
        (
            "/v1/jobs/batch",
            format!("{{\"jobs\":[{{\"plugin\":\"http\",\"payload\":\"{}\"}}]}}", "x".repeat(8 << 20)),
            "too-large",
        ),
        ("/v1/downstreams/x/hold", format!("{{\"reason\":{}}}", deep(1_500)), "member-invalid"),
    ] {
        let answer = server.ask("POST", path, None, Some(&body)).await;
        assert_eq!(answer.problem(), kind, "{path} {}", &body[..50]);
    }
    assert!(server.peak_bytes() < 400 << 20, "{} bytes", server.peak_bytes());
}

#[tokio::test]
async fn http2_without_tls_keeps_the_same_rules() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    let mut client = Http2::connect(&server, None).await;
    for (path, headers, status) in [
        ("/v1/jobs".to_owned(), &[][..], 200),
        ("/v1/jobs".to_owned(), &[("host", "evil.example")], 400),
        (format!("/v1/jobs?label={}", "x".repeat(9_000)), &[], 414),
    ] {
        assert_eq!(client.get(&path, headers).await.unwrap().status(), status, "{headers:?}");
    }
    // An upgrade to HTTP/2 is not taken: the request is answered in HTTP/1.1.
    let upgrade = "GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    assert_eq!(Answer::of(&server.raw(upgrade).await).status, 200);
}

#[tokio::test]
async fn a_client_that_resets_what_it_asks_for_is_cut_off() {
    let place = Place::new("");
    super::support::plugin(&place, "http");
    let server = place.serve(&[]).await;
    let later = "{\"plugin\":\"http\",\"payload\":{\"url\":\"http://127.0.0.1:9/\"},\"delay\":\"1h\"}";
    let job = server.ask("POST", "/v1/jobs", None, Some(later)).await;
    let id = serde_json::from_str::<crate::common::Value>(&job.body).unwrap()["id"].as_str().unwrap().to_owned();
    let mut client = Http2::connect(&server, None).await;
    let path = format!("/v1/jobs/{id}?wait=60s");
    let flood = async {
        while client.is_open().await {
            // Long enough for the server to begin, not for its answer.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(2), client.get(&path, &[])).await;
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the server ends the connection");
    assert_eq!(server.ask("GET", "/v1/jobs", None, None).await.status, 200);
    let mut odd = server.connect().await;
    odd.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense, and more of it").await.unwrap();
    super::support::rest(&mut odd).await;
}
