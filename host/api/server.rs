//! The listener: HTTP/1.1 and HTTP/2 (prior knowledge) on one port, with a bound on everything that a client can make
//! last: connections, heads, bodies, and the goodbye.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::config::Config;

/// The largest head of a request.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// Requests at once on one connection.
const STREAMS_MAX: u32 = 128;
/// How often an idle HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long to leave the listener alone when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stopping server lets answers that have begun go out.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves until `stop` fires; then takes no more connections, lets the answers that have begun go out for a short while,
/// and returns.
pub async fn serve(listener: TcpListener, router: Router, config: Arc<Config>, stop: CancellationToken) {
    let permits =
        Arc::new(Semaphore::new(usize::try_from(config.server.connections).unwrap_or(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let hurry = CancellationToken::new();
    let connections = Connections { builder: builder(&config), router, config, hurry: hurry.clone() };
    while let Some((stream, permit)) = next(&listener, &permits, &stop).await {
        tokio::spawn(connections.clone().run(stream, permit, graceful.watcher()));
    }
    drop(listener);
    if tokio::time::timeout(GOODBYE, graceful.shutdown()).await.is_err() {
        tracing::warn!("clients that were slow to read their answers were cut off");
    }
    hurry.cancel();
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.server.header_timeout.0)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// The next connection, once there is room for it; none when the server stops.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        // Closed never; further clients wait in the system's queue.
        let permit = permits.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await.flatten()
}

/// What every connection needs.
#[derive(Clone)]
struct Connections {
    builder: Builder<TokioExecutor>,
    router: Router,
    config: Arc<Config>,
    /// Fires when the goodbye is over.
    hurry: CancellationToken,
}

impl Connections {
    /// Serves one connection to its end.
    async fn run(self, stream: TcpStream, _permit: OwnedSemaphorePermit, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection is gone already");
            return;
        }
        let (router, begun) = (self.router, CancellationToken::new());
        let seen = begun.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            seen.cancel();
            let mut router = router.clone();
            async move {
                Ok::<_, Infallible>(router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke off");
                }
            }
            () = silent(&begun, self.config.server.header_timeout.0) => {}
            () = self.hurry.cancelled() => {}
        }
    }
}

/// Ends when no whole head has come in time. Before the version of HTTP is known, no other timer runs.
async fn silent(begun: &CancellationToken, timeout: Duration) {
    if tokio::time::timeout(timeout, begun.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::api::testing::Api;
    use crate::job::units::TimeSpan;

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        serving: JoinHandle<()>,
    }

    async fn serve_with(edit: impl FnOnce(&mut Config)) -> Served {
        let mut config = Config::default();
        edit(&mut config);
        let api = Api::with_config(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, api.router(), api.state.config.clone(), stop.clone()));
        Served { address, stop, serving }
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
    async fn so_many_connections_and_no_more() {
        let served = serve_with(|config| config.server.connections = 1).await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        first.write_all(GET).await.unwrap();
        answered(&mut first).await;
        let mut second = TcpStream::connect(served.address).await.unwrap();
        second.write_all(GET).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), second.readable()).await;
        assert!(early.is_err(), "the second waits");
        drop(first);
        assert!(answered(&mut second).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_large_body_that_is_refused_still_learns_why() {
        let served = serve_with(|_| {}).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://{}/v1/jobs", served.address));
        let answer = request.header("content-type", "application/json").body(vec![b'x'; 16 << 20]).send().await;
        assert_eq!(answer.unwrap().status(), 413);
    }
}
