//! Heads of HTTP/1 that two servers may read in two ways: smuggled requests begin with those. The parser is lenient in a
//! few places where a proxy in front may be lenient otherwise; here every byte of a head is looked at before it, and what
//! is ambiguous is refused.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much of each line is looked at: more than the longest name that matters and its value.
const LINE_BYTES_MAX: usize = 48;
/// How HTTP/2 with prior knowledge begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    BareLineFeed = 1,
    LengthAndEncoding = 2,
    TwoLengths = 3,
    LongLength = 4,
}

impl Fault {
    const ALL: [(Self, &'static str); 4] = [
        (
            Self::BareLineFeed,
            "a line of the head ends in a line feed alone; end lines in carriage return and line feed",
        ),
        (Self::LengthAndEncoding, "the head has Content-Length and Transfer-Encoding; send one of the two"),
        (Self::TwoLengths, "the head has several headers Content-Length; send one"),
        (Self::LongLength, "the header Content-Length is longer than a number"),
    ];
}

/// What was found on a connection so far: shared by the stream, which looks, and the service, which refuses.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicU8>);

impl Heads {
    /// What is wrong, where something was; it stays so for the rest of the connection.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let found = self.0.load(Ordering::Acquire);
        Fault::ALL.into_iter().find(|(fault, _)| *fault as u8 == found).map(|(_, why)| why)
    }
}

/// A stream whose heads are looked at.
pub(super) struct Strict<I> {
    io: I,
    heads: Heads,
    scan: Scan,
}

impl<I> Strict<I> {
    pub(super) fn new(io: I, heads: Heads) -> Self {
        Self { io, heads, scan: Scan::default() }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Strict<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if let Err(fault) = self.scan.feed(&buffer.filled()[before..]) {
            self.heads.0.store(fault as u8, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Strict<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Where in a connection the next byte stands.
#[derive(Debug, Default)]
struct Scan {
    place: At,
    /// The beginning of the present line.
    line: Vec<u8>,
    /// Its length so far.
    line_bytes: usize,
    /// Whether its last byte was a carriage return.
    is_return: bool,
    head: Head,
}

/// What the present head says of its body.
#[derive(Debug, Default)]
struct Head {
    has_line: bool,
    length: Option<u64>,
    is_encoded: bool,
}

#[derive(Debug, Default, PartialEq)]
enum At {
    #[default]
    Head,
    /// So much of a body is still to come.
    Body(u64),
    /// After this nothing more is looked at: HTTP/2, chunks, or a fault.
    Blind,
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            match self.place {
                At::Blind => return Ok(()),
                At::Body(left) => {
                    let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skipped..];
                    let left = left - skipped as u64;
                    self.place = if left == 0 { At::Head } else { At::Body(left) };
                }
                At::Head => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    self.extend(&bytes[..end.unwrap_or(bytes.len())]);
                    let Some(end) = end else { return Ok(()) };
                    bytes = &bytes[end + 1..];
                    if let Err(fault) = self.end_of_line() {
                        self.place = At::Blind;
                        return Err(fault);
                    }
                }
            }
        }
        Ok(())
    }

    fn extend(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        self.line_bytes += part.len();
        if let Some(last) = part.last() {
            self.is_return = *last == b'\r';
        }
    }

    fn end_of_line(&mut self) -> Result<(), Fault> {
        let (is_return, line_bytes) = (std::mem::take(&mut self.is_return), std::mem::take(&mut self.line_bytes));
        let mut line = std::mem::take(&mut self.line);
        if !is_return {
            return Err(Fault::BareLineFeed);
        }
        if line_bytes <= LINE_BYTES_MAX {
            line.pop();
        }
        let is_preface = !self.head.has_line && line == PREFACE;
        // Empty lines before a request are nothing.
        let is_end = line_bytes == 1 && self.head.has_line;
        if is_preface {
            self.place = At::Blind;
        } else if is_end {
            self.place = self.body()?;
        } else if line_bytes > 1 {
            self.header(&line, line_bytes > LINE_BYTES_MAX)?;
        }
        line.clear();
        self.line = line;
        Ok(())
    }

    fn header(&mut self, line: &[u8], is_cut: bool) -> Result<(), Fault> {
        let is_first = !std::mem::replace(&mut self.head.has_line, true);
        let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|_| !is_first) else { return Ok(()) };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if is_cut {
                return Err(Fault::LongLength);
            }
            // What is no number the parser refuses.
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            if self.head.length.replace(length).is_some() {
                return Err(Fault::TwoLengths);
            }
        }
        self.head.is_encoded |= name.eq_ignore_ascii_case(b"transfer-encoding");
        Ok(())
    }

    /// The head is over: what comes then.
    fn body(&mut self) -> Result<At, Fault> {
        let head = std::mem::take(&mut self.head);
        match (head.length, head.is_encoded) {
            (Some(_), true) => Err(Fault::LengthAndEncoding),
            (Some(length), false) if length > 0 => Ok(At::Body(length)),
            (_, true) => Ok(At::Blind),
            _ => Ok(At::Head),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found in these bytes, whichever pieces they come in.
    fn found(text: &str, piece: usize) -> Option<Fault> {
        let mut scan = Scan::default();
        text.as_bytes().chunks(piece).find_map(|piece| scan.feed(piece).err())
    }

    const SOUND: [&str; 6] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na\nb\ncGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\na\n\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\n\0\0",
        "GET /?content-length:1 HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ];

    const AMBIGUOUS: [(&str, Fault); 10] = [
        ("POST / HTTP/1.1\r\nContent-Length:                                           5\r\n\r\n", Fault::LongLength),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Fault::BareLineFeed),
        ("GET / HTTP/1.1\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n", Fault::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLineFeed),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcdeGET / HTTP/1.1\n", Fault::BareLineFeed),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::LengthAndEncoding),
        ("POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\ncontent-length : 5\r\n\r\n", Fault::LengthAndEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nContent-Length: 5\r\n\r\n", Fault::LengthAndEncoding),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Fault::TwoLengths),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Fault::TwoLengths),
    ];

    #[test]
    fn what_can_be_read_in_two_ways_is_found_in_whatever_pieces_it_comes() {
        for piece in [1, 2, 3, 7, 1_000] {
            for text in SOUND {
                assert_eq!(found(text, piece), None, "{text:?}");
            }
            for (text, fault) in AMBIGUOUS {
                assert_eq!(found(text, piece), Some(fault), "{text:?}");
            }
        }
    }

    #[test]
    fn a_long_line_takes_no_memory() {
        let mut scan = Scan::default();
        for _ in 0..1_000 {
            scan.feed(&[b'x'; 1_000]).unwrap();
        }
        assert!(scan.line.capacity() <= 2 * LINE_BYTES_MAX);
        assert_eq!(scan.feed(b"\r\n\n"), Err(Fault::BareLineFeed));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in "[GET/: \r\nConteLghTrasfEcdi0-9-]{0,200}", piece in 1_usize..50) {
            prop_assert_eq!(found(&bytes, piece), found(&bytes, 1_000));
        }
    }
}
