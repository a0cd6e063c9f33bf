//! The socket: bounds how long bytes may wait to be taken by the other end, and says goodbye so that a last answer arrives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a closing connection is still read, so that the other end is not reset before it has read its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it still sends is read at once and thrown away.
const DISCARD_BYTES: usize = 16 << 10;

/// A socket with bounds.
pub(in super::super) struct Transport {
    stream: TcpStream,
    answer_timeout: Duration,
    /// Runs from the first byte that was not taken until all are.
    untaken: Option<Pin<Box<Sleep>>>,
    goodbye: Option<Pin<Box<Sleep>>>,
}

impl Transport {
    pub(super) const fn new(stream: TcpStream, answer_timeout: Duration) -> Self {
        Self { stream, answer_timeout, untaken: None, goodbye: None }
    }

    /// A write that was not taken: how long that may last.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let timeout = self.answer_timeout;
        let untaken = self.untaken.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        std::task::ready!(untaken.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not take an answer in time")))
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever writes asks for this when the socket has taken all that there was.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.untaken = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.goodbye.is_none() {
            std::task::ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.goodbye = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        let mut thrown_away = [0; DISCARD_BYTES];
        loop {
            if self.goodbye.as_mut().is_some_and(|goodbye| goodbye.as_mut().poll(context).is_ready()) {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
