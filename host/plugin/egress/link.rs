//! A connection that knows how old it is, how many use it, and whose socket it holds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Extensions;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::sockets::Socket;
use super::usage::Usage;

/// From this age on a connection takes no further request: a name may lead elsewhere by now.
pub(super) const AGE_MAX: Duration = Duration::from_secs(300);

/// A connection to an address that was judged.
#[derive(Debug)]
pub(super) struct Link {
    stream: TokioIo<TcpStream>,
    socket: Socket,
}

/// How a connection is used, as the connection says of itself. The client clones that for each request, when it has chosen
/// the connection and before it hands the request over, and for each answer; the first one stays with the connection. So
/// each clone is a user of the connection until it is dropped.
struct Made {
    usage: Arc<Usage>,
    /// It was counted.
    is_user: bool,
}

/// The connection that an answer comes over. To be dropped when the answer is there: while this is, or another of the same
/// connection, it is not closed for who waits for a socket.
#[derive(Debug)]
pub(in crate::plugin) struct InUse {
    /// With it what was cloned for the request.
    connection: CaptureConnection,
}

impl Link {
    /// One that was made just now.
    pub(super) fn new(stream: TcpStream, socket: Socket) -> Self {
        // Without it small requests wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Self { stream: TokioIo::new(stream), socket }
    }

    fn usage(&self) -> &Usage {
        &self.socket.usage
    }
}

impl Clone for Made {
    fn clone(&self) -> Self {
        Self { is_user: self.usage.enter(), usage: self.usage.clone() }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_user {
            self.usage.leave();
        }
    }
}

impl InUse {
    /// The one that this answer comes over. Where it is too old it takes no further request.
    pub(super) fn note(connection: CaptureConnection, answer: &mut Extensions, age_max: Duration) -> Self {
        // The guest may keep the head of the answer for longer than the answer takes.
        let made = answer.remove::<Made>();
        if let (Some(connected), Some(made)) = (connection.connection_metadata().as_ref(), made) {
            made.usage.answered();
            if made.usage.made().elapsed() > age_max {
                connected.poison();
            }
        }
        Self { connection }
    }

    /// No more comes over it, though more was to come: it takes no further request. One that carries nothing else is closed
    /// anyway; one of HTTP/2 would be used for ever, and be silent to everybody.
    pub(in crate::plugin) fn distrust(&self) {
        if let Some(connected) = self.connection.connection_metadata().as_ref() {
            connected.poison();
        }
    }
}

/// How that connection is used.
pub(super) fn usage(connected: &Connected) -> Option<Arc<Usage>> {
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    extras.get::<Made>().map(|made| made.usage.clone())
}

impl Connection for Link {
    /// Asked once, when all is ready for the first request.
    fn connected(&self) -> Connected {
        self.usage().ready();
        Connected::new().extra(Made { usage: self.socket.usage.clone(), is_user: false })
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.usage().has_ended() {
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if read.is_pending() {
            self.usage().read_by(context.waker());
            if self.usage().has_ended() {
                return Poll::Ready(Ok(()));
            }
        }
        read
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.usage().write();
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
        self.usage().write();
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
