//! More at once than there is room for: connections, requests, waits, bodies.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Answer, Place, Server, plugin, rest};
use crate::common::{Value, until};

/// Asks, and keeps the connection: nothing is read.
async fn begin(server: &Server, text: &str) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn above_the_bound_of_connections_a_client_is_told_to_come_back() {
    let place = Place::new("[server]\nconnections = 3\n");
    let server = place.serve(&[]).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        let mut stream = begin(&server, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(stream.read_u8().await.is_ok(), "it is in");
        inside.push(stream);
    }
    for _ in 0..20 {
        let answer = Answer::of(&server.raw("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
        assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
        assert!(answer.head.contains("retry-after: 1") && answer.head.contains("connection: close"), "{answer:?}");
    }
    drop(inside);
    until("there is room again", || async {
        (server.ask("GET", "/healthz", None, None).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn waits_have_places_of_their_own() {
    let place = Place::new("[server]\nwaits = 2\nrequests = 4\n");
    plugin(&place, "http");
    let server = place.serve(&[]).await;
    let later = "{\"plugin\":\"http\",\"payload\":{\"url\":\"http://127.0.0.1:9/\"},\"delay\":\"1h\"}";
    let job = server.ask("POST", "/v1/jobs", None, Some(later)).await;
    let id = serde_json::from_str::<Value>(&job.body).unwrap()["id"].as_str().unwrap().to_owned();
    // Of three that come at once one is told that there is no room.
    let wait = format!("GET /v1/jobs/{id}?wait=5m HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut stream = begin(&server, &wait).await;
        waiting.spawn(async move { rest(&mut stream).await });
    }
    let answer = Answer::of(&waiting.join_next().await.unwrap().unwrap());
    assert!(answer.problem() == "overloaded" && answer.body.contains("server.waits"), "{answer:?}");
    let short = format!("/v1/jobs/{id}?wait=1ms");
    assert_eq!(server.ask("GET", &short, None, None).await.status, 503);
    assert_eq!(server.ask("GET", &format!("/v1/jobs/{id}"), None, None).await.status, 200);

    // Of five that send a body for ever four take the places of requests, and not those of the watchers.
    let slow =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut bodies = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut stream = begin(&server, slow).await;
        bodies.spawn(async move { rest(&mut stream).await });
    }
    let answer = Answer::of(&bodies.join_next().await.unwrap().unwrap());
    assert!(answer.problem() == "overloaded" && answer.body.contains("server.requests"), "{answer:?}");
    let answer = server.ask("GET", "/v1/jobs", None, None).await;
    assert!(answer.problem() == "overloaded" && answer.head.contains("retry-after"), "{answer:?}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.ask("GET", path, None, None).await.status, 200, "{path}");
    }
    drop((waiting, bodies));
    until("there is room again", || async {
        (server.ask("GET", &short, None, None).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_bodies_does_not_fill_the_memory() {
    const FLOOD: usize = 120;
    let place = Place::new("[server]\nbodies = \"16MiB\"\n");
    plugin(&place, "http");
    let server = place.serve(&[]).await;
    let before = server.peak_bytes();
    // No whole batch, so that it stays in memory until the client goes.
    let head = "POST /v1/jobs/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 4194305\r\n\r\n";
    let body = std::sync::Arc::new(vec![b' '; 4 << 20]);
    let refused = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let mut clients = Vec::new();
    for _ in 0..FLOOD {
        let (mut stream, body, refused) = (begin(&server, head).await, body.clone(), refused.clone());
        clients.push(tokio::spawn(async move {
            let _: Result<(), _> = stream.write_all(&body).await;
            let answer = rest(&mut stream).await;
            if answer.starts_with("HTTP/1.1 503") {
                assert!(Answer::of(&answer).head.contains("retry-after"), "{answer}");
                refused.add_permits(1);
            }
        }));
    }
    // Some fit; nearly all others are told so, and the rest are cut off while they still send.
    until("the flood is refused", || async { (refused.available_permits() > FLOOD / 2).then_some(()) }).await;
    assert_eq!(server.ask("GET", "/v1/jobs", None, None).await.status, 200, "what needs no body goes on");
    let grown = server.peak_bytes() - before;
    assert!(grown < 120 << 20, "{FLOOD} bodies of 4 MiB took {grown} bytes");
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    until("there is room again", || async {
        let answer = server.ask("POST", "/v1/jobs/batch", None, Some("{\"jobs\":[]}")).await;
        (answer.problem() == "member-invalid").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_says_much_and_sends_nothing_keeps_nobody_out() {
    let place = Place::new("");
    plugin(&place, "http");
    let server = place.serve(&[]).await;
    // As much as all bodies may be, and a byte of each.
    let head = "POST /v1/jobs/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 67108864\r\n\r\n{";
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(begin(&server, head).await);
    }
    for _ in 0..20 {
        let job = "{\"plugin\":\"http\",\"payload\":{\"url\":\"http://127.0.0.1:9/\"},\"delay\":\"1h\"}";
        assert_eq!(server.ask("POST", "/v1/jobs", None, Some(job)).await.status, 202);
    }
    drop(idle);
}
