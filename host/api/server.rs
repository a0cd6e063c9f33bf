//! The listener: HTTP/1.1 and HTTP/2 on one port, over TLS where there is a certificate, with a bound on everything that a
//! client can make last: connections, handshakes, heads, bodies, answers, and the goodbye.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{HeaderValue, Method, Version};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::Door;
use super::error::{Problem, ProblemKind};
use super::guard::{HEADERS_MAX, REQUEST_ID, new_request_id};
use crate::config::Config;

mod heads;
mod pulse;
pub(super) mod tls;
mod transport;
mod turned_away;

use heads::{Heads, Strict};
use pulse::Pulse;
use transport::Transport;
use turned_away::TurnedAway;
pub use turned_away::told_max;

/// The largest head of a request; the guard refuses earlier, and says why.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// Requests at once on one connection.
const STREAMS_MAX: u32 = 128;
/// How much of all bodies of an HTTP/2 connection is taken before somebody reads it.
const WINDOW_BYTES: u32 = 256 << 10;
/// How many streams that a client resets may wait to be noticed.
const RESETS_PENDING_MAX: usize = 20;
/// How often an idle HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long to leave the listener alone when the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stopping server lets answers that have begun go out.
const GOODBYE: Duration = Duration::from_secs(5);

/// When a server ends.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// Fires when it takes no more connections.
    pub begin: CancellationToken,
    /// Fires when no client is waited for.
    pub now: CancellationToken,
}

/// Serves until it is to stop; then takes no more connections, lets the answers that have begun go out for a short while,
/// or not at all where that is said, and returns.
pub async fn serve(listener: TcpListener, router: Router, door: Arc<Door>, config: Arc<Config>, stopping: Stopping) {
    let Stopping { begin: stop, now } = stopping;
    let places = usize::try_from(config.server.connections).unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(places));
    let graceful = GracefulShutdown::new();
    let hurry = CancellationToken::new();
    let turned_away = TurnedAway::new(&config);
    let connections =
        Connections { builder: builder(&config), router, door, config, stop: stop.clone(), hurry: hurry.clone() };
    while let Some(stream) = stop.run_until_cancelled(next(&listener)).await {
        match permits.clone().try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(connections.clone().run(stream, permit, graceful.watcher()));
            }
            Err(_) => turned_away.overloaded(stream),
        }
    }
    drop(listener);
    tokio::select! {
        biased;
        () = graceful.shutdown() => {}
        () = now.cancelled() => tracing::warn!("the host stops now: clients that were still connected were cut off"),
        () = tokio::time::sleep(GOODBYE) => {
            tracing::warn!("clients that were slow to send a request or to read an answer were cut off");
        }
    }
    hurry.cancel();
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.server.header_timeout.0)
        .max_headers(HEADERS_MAX * 2)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// The next connection.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Connections {
    builder: Builder<TokioExecutor>,
    router: Router,
    door: Arc<Door>,
    config: Arc<Config>,
    /// Fires when the server stops.
    stop: CancellationToken,
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
        let answer_timeout = self.config.server.answer_timeout.0;
        let Some(certificates) = &self.door.certificates else {
            return self.speak(Transport::new(stream, answer_timeout), watcher).await;
        };
        let stop = self.stop.clone();
        // A goodbye waits for requests, not for handshakes.
        match stop.run_until_cancelled(certificates.accept(stream, answer_timeout)).await.flatten() {
            Some(stream) => self.speak(stream, watcher).await,
            None => tracing::debug!("a handshake failed"),
        }
    }

    /// Speaks HTTP over whatever carries it.
    async fn speak<I>(self, io: I, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, begun) = (self.router, CancellationToken::new());
        let (heads, pulse) = (Heads::default(), Pulse::default());
        let (seen, watched, beating) = (begun.clone(), heads.clone(), pulse.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            seen.cancel();
            let (mut router, heads, pulse) = (router.clone(), watched.clone(), beating.clone());
            async move {
                if let Some(why) = heads.fault() {
                    return Ok::<_, Infallible>(ambiguous(why));
                }
                // What follows chunks is not looked at, and what follows CONNECT is not ours: nothing does.
                let is_last = request.version() <= Version::HTTP_11
                    && (request.headers().contains_key(TRANSFER_ENCODING) || request.method() == Method::CONNECT);
                let beat = (request.version() == Version::HTTP_2).then(|| pulse.begin());
                let mut answer = router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
                if is_last {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(match beat {
                    Some(beat) => answer.map(|body| beat.answered(body)),
                    None => answer,
                })
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(Strict::new(io, heads)), service).into_owned();
        let server = &self.config.server;
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke off");
                }
            }
            () = silent(&begun, server.header_timeout.0) => {}
            why = pulse.stopped(server.answer_timeout.0, server.idle_timeout.0) => {
                tracing::debug!(why, "a connection was closed");
            }
            () = self.hurry.cancelled() => {}
        }
    }
}

/// Serves one connection over whatever carries it, to its end.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) async fn serve_one<I>(io: I, router: Router, door: Arc<Door>, config: Arc<Config>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let connections = Connections { builder: builder(&config), router, door, config, stop, hurry };
    connections.speak(io, GracefulShutdown::new().watcher()).await;
}

/// The answer to a request that another server may have read otherwise. No handler sees such a one.
fn ambiguous(why: &str) -> axum::response::Response {
    let mut response = Problem::new(ProblemKind::RequestAmbiguous, why).into_response();
    response.headers_mut().insert(REQUEST_ID, new_request_id(0));
    response
}

/// Ends when no whole head has come in time. Before the version of HTTP is known, no other timer runs.
async fn silent(begun: &CancellationToken, timeout: Duration) {
    if tokio::time::timeout(timeout, begun.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
