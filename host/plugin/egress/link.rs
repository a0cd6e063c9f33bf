//! A connection that knows how old it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::clock::Stopwatch;

/// From this age on a connection takes no further request: a name may lead elsewhere by now.
pub(super) const AGE_MAX: Duration = Duration::from_secs(300);

/// A connection to an address that was judged.
#[derive(Debug)]
pub(super) struct Link {
    stream: TokioIo<TcpStream>,
    born: Stopwatch,
}

/// When a connection was made.
#[derive(Clone)]
struct Born(Stopwatch);

impl Link {
    /// One that was made just now.
    pub(super) fn new(stream: TcpStream) -> Self {
        // Without it small requests wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Self { stream: TokioIo::new(stream), born: Stopwatch::start() }
    }
}

/// Takes a connection out of use, where it is too old for the next request.
pub(super) fn retire(connected: &Connected, age_max: Duration) {
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    if extras.get::<Born>().is_some_and(|born| born.0.elapsed() > age_max) {
        connected.poison();
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().extra(Born(self.born))
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
