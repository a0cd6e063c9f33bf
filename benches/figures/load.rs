//! Clients that enqueue over HTTP as fast as they are answered, each over a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;

use crate::machine::{cpu, now};

/// What each client sends again and again.
#[derive(Clone)]
pub struct Sent {
    /// Where to.
    pub path: &'static str,
    /// JSON.
    pub body: Bytes,
}

/// What came of it.
pub struct Load {
    /// Answers a second.
    pub rate: f64,
    /// CPU microseconds of the server for each.
    pub cpu_us: f64,
    /// How long each took.
    pub latencies_ms: Vec<f64>,
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Loads a server with so many connections for so long; a sixth more before, which does not count.
pub async fn run(address: SocketAddr, pid: u32, connections: usize, sent: &Sent, length: Duration) -> Load {
    let phase = Arc::new(AtomicU8::new(WARMING_UP));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, sent.clone(), phase.clone()));
    }
    tokio::time::sleep(length / 6).await;
    let (started, cpu_before) = (now(), cpu(pid));
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(length).await;
    phase.store(OVER, Ordering::Relaxed);
    let (seconds, cpu_used) = (started.elapsed().as_secs_f64(), cpu(pid) - cpu_before);
    let latencies_ms: Vec<f64> = clients.join_all().await.concat();
    let answers = latencies_ms.len() as f64;
    Load { rate: answers / seconds, cpu_us: cpu_used.as_secs_f64() * 1e6 / answers, latencies_ms }
}

async fn client(address: SocketAddr, sent: Sent, phase: Arc<AtomicU8>) -> Vec<f64> {
    let mut sender = connect(address).await;
    let mut latencies_ms = Vec::new();
    loop {
        let asked = now();
        post(&mut sender, &sent).await;
        match phase.load(Ordering::Relaxed) {
            WARMING_UP => {}
            MEASURING => latencies_ms.push(asked.elapsed().as_secs_f64() * 1e3),
            _ => return latencies_ms,
        }
    }
}

/// A connection to a server.
pub async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    sender
}

/// Sends it and waits for the whole answer, which must be 202.
pub async fn post(sender: &mut SendRequest<Full<Bytes>>, sent: &Sent) {
    let request = hyper::Request::post(sent.path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(sent.body.clone()))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    answer.into_body().collect().await.expect("a whole answer");
}
