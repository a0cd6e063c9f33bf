//! What requests go over: a connection as it is, or TLS over one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};

use super::link::Link;

/// Either of the two. The state of TLS is a thousand bytes and more, which a plain connection neither keeps nor carries
/// about while it is made.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Link),
    Tls(Box<MaybeHttpsStream<Link>>),
}

/// Does the same with whichever it is.
macro_rules! either {
    ($wire:expr, $inner:ident => $what:expr) => {
        match $wire {
            Wire::Plain($inner) => $what,
            Wire::Tls($inner) => $what,
        }
    };
}

impl From<MaybeHttpsStream<Link>> for Wire {
    fn from(stream: MaybeHttpsStream<Link>) -> Self {
        match stream {
            MaybeHttpsStream::Http(link) => Self::Plain(link),
            tls @ MaybeHttpsStream::Https(_) => Self::Tls(Box::new(tls)),
        }
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        either!(self, inner => inner.connected())
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_read(context, into))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, inner => inner.is_write_vectored())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(context, bytes))
    }
}
