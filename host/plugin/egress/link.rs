//! A connection that knows how old it is, how many use it, and whose socket it holds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Extensions;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::pace::{Leave, Work};
use super::sockets::Socket;
use super::usage::Usage;

/// From this age on a connection takes no further request: a name may lead elsewhere by now.
pub(super) const AGE_MAX: Duration = Duration::from_secs(300);
/// A connection that brings too much is not looked at for so long at least.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// A connection to an address that was judged.
#[derive(Debug)]
pub(super) struct Link {
    stream: TokioIo<TcpStream>,
    socket: Socket,
    /// Until when nothing is read; none where there was leave when it was read last.
    pause: Option<Pin<Box<Sleep>>>,
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
    usage: Option<Arc<Usage>>,
}

impl Link {
    /// One that was made just now.
    pub(super) fn new(stream: TcpStream, socket: Socket) -> Self {
        // Without it small requests wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Self { stream: TokioIo::new(stream), socket, pause: None }
    }

    fn usage(&self) -> &Usage {
        &self.socket.usage
    }

    /// Whether there is leave to read.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(wait) = self.usage().wait() {
            let pause = self.pause.insert(Box::pin(tokio::time::sleep(wait.max(PAUSE_MIN))));
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.pause = None;
        Poll::Ready(())
    }

    /// Counts what was written.
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.usage().give(Leave::Sent(bytes));
        }
        written
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
        if let (Some(connected), Some(made)) = (connection.connection_metadata().as_ref(), &made) {
            made.usage.answered();
            if made.usage.made().elapsed() > age_max {
                connected.poison();
            }
        }
        Self { connection, usage: made.map(|made| made.usage.clone()) }
    }

    /// The head, or a piece of the body, of so many bytes is handed on: more is read in its place.
    pub(in crate::plugin) fn given(&self, bytes: usize) {
        if let Some(usage) = &self.usage {
            usage.give(Leave::Given(bytes));
        }
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

/// Reads, and looks at what was read.
pub(super) fn looking(
    mut into: ReadBufCursor<'_>,
    read: impl FnOnce(ReadBufCursor<'_>) -> Poll<io::Result<()>>,
    look: impl FnOnce(&[u8]),
) -> Poll<io::Result<()>> {
    // SAFETY: nothing is uninitialised in it; it is written to only.
    let mut own = ReadBuf::uninit(unsafe { into.as_mut() });
    let done = read(own.unfilled());
    let filled = own.filled();
    look(filled);
    let bytes = filled.len();
    // SAFETY: so many were filled, in the same place.
    unsafe { into.advance(bytes) };
    done
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.usage().has_ended() {
            return Poll::Ready(Ok(()));
        }
        let has_leave = self.poll_leave(context).is_ready();
        let Self { stream, socket, .. } = &mut *self;
        let read = if has_leave {
            let look = |read: &[u8]| socket.usage.read(Work::Bytes(read.len()));
            looking(into, |into| Pin::new(stream).poll_read(context, into), look)
        } else {
            Poll::Pending
        };
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(written)
    }
}
