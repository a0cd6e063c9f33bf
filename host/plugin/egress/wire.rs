//! What requests go over: a connection as it is, or TLS over one. Here it is seen what was said over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};

use super::link::{Link, looking};
use super::pace::Work;
use super::usage::Usage;

/// One of the two.
#[derive(Debug)]
pub(super) struct Wire {
    way: Way,
    usage: Arc<Usage>,
}

/// The state of TLS is a thousand bytes and more, which a plain connection neither keeps nor carries about while it is made.
#[derive(Debug)]
enum Way {
    Plain(Link),
    Tls(Box<(MaybeHttpsStream<Link>, Option<Frames>)>),
}

/// The frames of HTTP/2 in what was read (RFC 9113, section 4.1), as far as it was read.
#[derive(Debug, Default)]
struct Frames {
    /// So much of the next frame's head was read.
    head_bytes: usize,
    /// What it says of its payload's length, which is still to come when all of it was read.
    payload_bytes: usize,
}

/// The head of a frame. Its first three bytes are the length of what follows.
const HEAD_BYTES: usize = 9;
const LENGTH_BYTES: usize = 3;

impl Frames {
    /// How many have their heads end in these bytes.
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some((byte, rest)) = bytes.split_first() {
            if self.head_bytes < HEAD_BYTES {
                if self.head_bytes < LENGTH_BYTES {
                    self.payload_bytes = self.payload_bytes << 8 | usize::from(*byte);
                }
                self.head_bytes += 1;
                count += usize::from(self.head_bytes == HEAD_BYTES);
                bytes = rest;
            } else {
                let here = self.payload_bytes.min(bytes.len());
                self.payload_bytes -= here;
                bytes = &bytes[here..];
            }
            if self.head_bytes == HEAD_BYTES && self.payload_bytes == 0 {
                *self = Self::default();
            }
        }
        count
    }
}

/// Does the same with whichever it is.
macro_rules! either {
    ($wire:expr, $inner:ident => $what:expr) => {
        match $wire {
            Way::Plain($inner) => $what,
            Way::Tls(both) => {
                let $inner = &mut both.0;
                $what
            }
        }
    };
}

impl Wire {
    /// What was made, and how it is used.
    pub(super) fn new(made: MaybeHttpsStream<Link>, usage: Arc<Usage>) -> Self {
        let way = match made {
            MaybeHttpsStream::Http(link) => Way::Plain(link),
            MaybeHttpsStream::Https(tls) => {
                let is_http2 = tls.inner().get_ref().1.alpn_protocol() == Some(b"h2");
                Way::Tls(Box::new((MaybeHttpsStream::Https(tls), is_http2.then(Frames::default))))
            }
        };
        Self { way, usage }
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match &self.way {
            Way::Plain(link) => link.connected(),
            Way::Tls(both) => both.0.connected(),
        }
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { way, usage } = self.get_mut();
        match way {
            Way::Plain(link) => {
                let look = |read: &[u8]| usage.read(Work::Text(read.len()));
                looking(into, |into| Pin::new(link).poll_read(context, into), look)
            }
            Way::Tls(both) => {
                let (tls, frames) = &mut **both;
                let look = |read: &[u8]| {
                    usage.read(match frames {
                        Some(frames) => Work::Frames(frames.count(read)),
                        None => Work::Text(read.len()),
                    });
                };
                looking(into, |into| Pin::new(tls).poll_read(context, into), look)
            }
        }
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut self.get_mut().way, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.get_mut().way, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.get_mut().way, inner => Pin::new(inner).poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.way {
            Way::Plain(link) => link.is_write_vectored(),
            Way::Tls(both) => both.0.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.get_mut().way, inner => Pin::new(inner).poll_write_vectored(context, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let frame = |payload: usize| {
            let mut frame = u32::try_from(payload << 8).unwrap().to_be_bytes()[..LENGTH_BYTES].to_vec();
            frame.extend([9; HEAD_BYTES - LENGTH_BYTES]);
            frame.resize(HEAD_BYTES + payload, 0xff);
            frame
        };
        let lengths = [0, 0, 1, 8, 300, 0, 16_384, 70_000, 5];
        let bytes: Vec<_> = lengths.into_iter().flat_map(frame).collect();
        for piece in [1, 2, 3, 7, 9, 10, 100, 16_384, bytes.len()] {
            let mut frames = Frames::default();
            assert_eq!(bytes.chunks(piece).map(|piece| frames.count(piece)).sum::<usize>(), lengths.len(), "{piece}");
        }
    }
}
