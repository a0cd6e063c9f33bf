//! Connections that are not served: they are told why, shortly, where they can be.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::super::error::{Problem, ProblemKind};
use super::super::guard::new_request_id;
use super::transport::Transport;
use crate::config::Config;

/// How many are told at once, of those that come while so many are served: one for each eight, from 16 to 256. Each takes
/// a socket. What comes beyond is closed without a word.
pub const fn told_max(connections: u32) -> u32 {
    match connections / 8 {
        few if few < 16 => 16,
        many if many > 256 => 256,
        told => told,
    }
}

/// How long one may take to ask, and to be told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells those that there is no room for.
pub(super) struct TurnedAway {
    permits: Arc<Semaphore>,
    connections: u32,
    /// Under TLS nothing can be told before a handshake.
    is_plain: bool,
}

impl TurnedAway {
    pub(super) fn new(config: &Config) -> Self {
        let (connections, is_plain) = (config.server.connections, config.server.tls.is_none());
        Self { permits: Arc::new(Semaphore::new(told_max(connections) as usize)), connections, is_plain }
    }

    /// Above the bound of connections.
    pub(super) fn overloaded(&self, stream: TcpStream) {
        let Some(permit) = self.permits.clone().try_acquire_owned().ok().filter(|_| self.is_plain) else { return };
        let detail = format!("{} connections are open (server.connections); try again soon", self.connections);
        tokio::spawn(async move {
            tell(stream, Problem::new(ProblemKind::Overloaded, detail)).await;
            drop(permit);
        });
    }
}

/// Waits until the client asks for something, as many take no answer before that, and answers with the problem.
pub(super) async fn tell(mut stream: TcpStream, problem: Problem) {
    let told = async {
        let mut first = [0; 1];
        if stream.read(&mut first).await? == 0 {
            return Ok(());
        }
        let mut transport = Transport::new(stream, PATIENCE);
        transport.write_all(&text(problem).await).await?;
        transport.shutdown().await
    };
    if !matches!(tokio::time::timeout(2 * PATIENCE, told).await, Ok(Ok(()))) {
        tracing::debug!("a client that was turned away did not hear why");
    }
}

/// The problem as it goes over the wire.
async fn text(problem: Problem) -> Vec<u8> {
    let mut response = problem.into_response();
    response.headers_mut().insert(super::REQUEST_ID, new_request_id(0));
    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut text = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", head.status, body.len()).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    text
}
