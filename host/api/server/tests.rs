//! The listener, over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;
use crate::api::testing::Api;
use crate::job::units::TimeSpan;

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    stop_now: CancellationToken,
    serving: JoinHandle<()>,
}

async fn serve_with(edit: impl FnOnce(&mut Config)) -> Served {
    let mut config = Config::default();
    edit(&mut config);
    let api = Api::with_config(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stopping) = (listener.local_addr().unwrap(), Stopping::default());
    let Stopping { begin: stop, now: stop_now } = stopping.clone();
    let serving =
        tokio::spawn(serve(listener, api.router(), api.state.door.clone(), api.state.config.clone(), stopping));
    Served { address, stop, stop_now, serving }
}

/// Reads until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn answered(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut buffer = [0; 1_024];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_connection_is_kept_and_a_stop_ends_it() {
    let served = serve_with(|_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        assert!(answered(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    served.stop.cancel();
    served.serving.await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn half_a_head_does_not_hold_a_server_that_is_to_stop_now() {
    let served = serve_with(|_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    answered(&mut stream).await;
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(&GET[..15]).await.unwrap();
    // It is accepted before this one.
    let mut last = TcpStream::connect(served.address).await.unwrap();
    last.write_all(GET).await.unwrap();
    answered(&mut last).await;
    // From here on no time passes but by waiting for it.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    served.stop.cancel();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!served.serving.is_finished(), "it waits for the request");
    served.stop_now.cancel();
    served.serving.await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let served = serve_with(|_| {}).await;
    let io = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{}/healthz", served.address);
    let request = hyper::Request::builder().uri(uri).body(Body::empty()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_head_is_cut_off() {
    let served = serve_with(|config| config.server.header_timeout = TimeSpan::from_ms(20)).await;
    for head in [&b""[..], b"P", b"GET /healthz HTTP/1.1\r\nhost: local"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head).await.unwrap();
        let text = rest(&mut stream).await;
        assert!(!text.contains(" 200 "), "{text:?}");
    }
}

#[tokio::test]
async fn so_many_connections_and_further_ones_are_told() {
    let served = serve_with(|config| config.server.connections = 1).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(GET).await.unwrap();
    answered(&mut first).await;
    let mut second = TcpStream::connect(served.address).await.unwrap();
    second.write_all(GET).await.unwrap();
    let text = rest(&mut second).await;
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: 1") && text.contains("x-request-id: "));
    assert!(text.contains("problem:overloaded") && text.contains("server.connections"), "{text}");
    first.write_all(GET).await.unwrap();
    assert!(answered(&mut first).await.starts_with("HTTP/1.1 200"), "who is in stays in");
    drop(first);
    loop {
        let mut third = TcpStream::connect(served.address).await.unwrap();
        third.write_all(GET).await.unwrap();
        if answered(&mut third).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn a_large_body_that_is_refused_still_learns_why() {
    let served = serve_with(|_| {}).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{}/v1/jobs", served.address));
    let answer = request.header("content-type", "application/json").body(vec![b'x'; 16 << 20]).send().await;
    assert_eq!(answer.unwrap().status(), 413);
}
