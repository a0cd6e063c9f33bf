//! Clients that take their time: to say what they want, to send it, and to take the answer.

use tokio::io::AsyncWriteExt as _;

use super::support::{Answer, Http2, Place, plugin, rest};
use crate::common::until;

const HASTE: &str =
    "[server]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\nanswer_timeout = \"1s\"\nidle_timeout = \"1s\"\n";

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_cut_off() {
    let place = Place::new(HASTE);
    let server = place.serve(&[]).await;
    for head in ["", "G", "GET /v1/jobs HTTP/1.1\r\nhost: local", "PRI * HTTP/2.0\r\n\r\nS"] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{head:?}: {answer}");
    }
    let mut stream = server.connect().await;
    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer::of(&rest(&mut stream).await);
    assert_eq!((answer.status, answer.problem().as_str()), (408, "body-timeout"));
    // Byte by byte is no faster.
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let drip = async {
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::common::PATIENCE, drip).await.expect("the server ends the connection");
}

#[tokio::test]
async fn an_act_that_says_nothing_for_ever_is_cut_off_too() {
    let place = Place::new(HASTE);
    let server = place.serve(&[]).await;
    for length in ["content-length: 1", "transfer-encoding: chunked", "content-length: 5"] {
        let head = format!("POST /v1/downstreams/x/release HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(Answer::of(&rest(&mut stream).await).status, 408, "{length}");
    }
}

/// The id of a job with a large payload.
async fn large_job(server: &super::support::Server) -> String {
    let payload = "x".repeat(900 << 10);
    let payload = format!("{{\"url\":\"http://127.0.0.1:9/\",\"body\":\"{payload}\"}}");
    let body = format!("{{\"plugin\":\"http\",\"payload\":{payload},\"delay\":\"1h\"}}");
    let answer = server.ask("POST", "/v1/jobs", None, Some(&body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    serde_json::from_str::<crate::common::Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_the_connection() {
    let place = Place::new(HASTE);
    plugin(&place, "http");
    let server = place.serve(&[("WINDLASS_LOG", "debug")]).await;
    let id = large_job(&server).await;
    let mut stream = server.connect().await;
    // Far more than the system's buffers hold.
    let request = format!("GET /v1/jobs/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(40);
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the server gives up", || async { (server.logged("a connection broke off") > 0).then_some(()) }).await;
    drop(stream);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_an_http2_connection_too() {
    let place = Place::new(HASTE);
    plugin(&place, "http");
    let server = place.serve(&[("WINDLASS_LOG", "windlass=debug")]).await;
    let id = large_job(&server).await;
    let mut client = Http2::connect(&server, Some(1_000)).await;
    let answer = client.get(&format!("/v1/jobs/{id}"), &[]).await.unwrap();
    // The connection answers every ping, and the body is never read.
    until("the server gives up", || async { (server.logged("did not take an answer") > 0).then_some(()) }).await;
    drop(answer);
    let _ = client.connection.await;

    let mut client = Http2::connect(&server, None).await;
    assert_eq!(client.get("/healthz", &[]).await.unwrap().status(), 200);
    until("an idle connection is closed", || async { (server.logged("asked nothing for long") > 0).then_some(()) })
        .await;
    let _ = client.connection.await;
}

#[tokio::test]
async fn who_sends_half_a_head_does_not_hold_a_host_that_is_told_twice_to_stop() {
    let place = Place::new("");
    let mut server = place.serve(&[]).await;
    let mut half = server.connect().await;
    half.write_all(b"GET /healthz HT").await.unwrap();
    // That one was accepted before this is answered.
    assert_eq!(server.ask("GET", "/healthz", None, None).await.status, 200);
    server.terminate();
    until("the signal is taken", || async { (server.logged("windlass stops") > 0).then_some(()) }).await;
    server.stop().await;
    until("the log is read", || async { (server.logged("windlass has stopped") > 0).then_some(()) }).await;
    assert_eq!(server.logged("the host stops now"), 1, "{}", server.log());
    assert!(server.log().lines().last().is_some_and(|line| line.contains("windlass has stopped")), "{}", server.log());
}
