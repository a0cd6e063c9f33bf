//! A connection in memory, and what the server heard on it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::lock::lock;

/// So many turns without a byte read or written, and the server waits for the client.
const IDLE_TURNS: u32 = 4;
/// No exchange takes so many turns.
const TURNS_MAX: u32 = 200_000;

/// Serves one connection: the client sends everything, listens until the server has nothing more to say, and hangs up.
/// Answers what the server sent.
///
/// # Panics
/// Where the server does not come to an end.
pub(super) async fn exchange<F: Future<Output = ()>>(input: &[u8], serve: impl FnOnce(Wire) -> F) -> Vec<u8> {
    let wire = Wire::default();
    wire.ends().to_read = Bytes::copy_from_slice(input);
    let mut connection = std::pin::pin!(serve(wire.clone()));
    let (mut idle_turns, mut seen) = (0, (0, 0));
    for _ in 0..TURNS_MAX {
        let turn = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
        let (now, has_hung_up) = wire.ends().progress();
        idle_turns = if now == seen { idle_turns + 1 } else { 0 };
        seen = now;
        if turn.is_ready() || idle_turns > IDLE_TURNS && has_hung_up {
            return std::mem::take(&mut wire.ends().written);
        }
        if idle_turns > IDLE_TURNS {
            (wire.ends().has_hung_up, idle_turns) = (true, 0);
        }
        tokio::task::yield_now().await;
    }
    panic!("the server comes to no end");
}

/// Both ends of it.
#[derive(Default)]
struct Ends {
    to_read: Bytes,
    has_hung_up: bool,
    written: Vec<u8>,
}

impl Ends {
    /// What is left to read and what was written, and whether the client is gone.
    fn progress(&self) -> ((usize, usize), bool) {
        ((self.to_read.len(), self.written.len()), self.has_hung_up)
    }
}

/// The server's end.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Ends>>);

impl Wire {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        lock(&self.0)
    }
}

/// Nobody is woken: whoever waits is asked again.
impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let mut ends = self.ends();
        if ends.to_read.is_empty() && !ends.has_hung_up {
            return Poll::Pending;
        }
        let count = ends.to_read.len().min(into.remaining());
        into.put_slice(&ends.to_read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.ends().written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request as it came to the router.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) is_chunked: bool,
    /// As far as it was read.
    pub(super) body: Vec<u8>,
    /// Whether it was read to its end.
    pub(super) is_whole: bool,
}

impl Heard {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            is_chunked: request.headers().contains_key(axum::http::header::TRANSFER_ENCODING),
            body: Vec::new(),
            is_whole: request.body().is_end_stream(),
        }
    }
}

/// A body that is written down as it is read.
pub(super) struct Tee {
    body: Body,
    ledger: Arc<Mutex<Vec<Heard>>>,
    place: usize,
}

impl Tee {
    pub(super) fn new(body: Body, ledger: Arc<Mutex<Vec<Heard>>>, place: usize) -> Self {
        Self { body, ledger, place }
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let mut ledger = lock(&self.ledger);
        if let Some(heard) = ledger.get_mut(self.place) {
            match &frame {
                None => heard.is_whole = true,
                Some(Ok(frame)) => heard.body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(_)) => {}
            }
        }
        drop(ledger);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
