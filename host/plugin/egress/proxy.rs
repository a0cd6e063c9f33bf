//! The way through a proxy: a tunnel to the very address that was resolved and judged here.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::connect::ConnectError;
use super::failure::Unreachable;
use super::race::{self, Miss};
use super::resolve::Resolver;

/// The largest head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// How long the proxy may take to reach the address: it has to connect too.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);

/// A proxy, and what it asks for. It is the operator's: its own address is not judged.
#[derive(Clone, PartialEq)]
pub(super) struct Tunnel {
    pub(super) host: String,
    pub(super) port: u16,
    /// `user:password`
    pub(super) credentials: Option<Zeroizing<String>>,
}

impl Tunnel {
    /// Its own addresses.
    pub(super) async fn addresses(&self, resolver: &Resolver) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses = resolver.addresses(&self.host, self.port).await;
        addresses.map_err(|error| self.failed(Unreachable::Name, &format!("cannot be resolved: {error}")))
    }

    /// A connection by one of its `addresses` that ends at `target`. Two of them are dialled at once where `may_race` gives
    /// leave.
    pub(super) async fn open(
        &self,
        addresses: &[SocketAddr],
        target: SocketAddr,
        may_race: impl FnMut() -> bool,
    ) -> Result<TcpStream, ConnectError> {
        let made = race::first(addresses, may_race, TcpStream::connect).await;
        let mut stream = made.map_err(|miss| match miss {
            Miss::NoAddress => self.failed(Unreachable::Name, "has no address"),
            Miss::Lacking(_, error) => {
                let (host, port) = (&self.host, self.port);
                ConnectError::Lacking(format!("cannot connect to the proxy {host}:{port} from here: {error}"))
            }
            Miss::Refused(_, error) => self.failed(Unreachable::Refused, &format!("cannot be reached: {error}")),
            Miss::TimedOut(_) => self.failed(Unreachable::TimedOut, "cannot be reached in time"),
        })?;
        let asked = tokio::time::timeout(TUNNEL_TIMEOUT, self.ask(&mut stream, target)).await;
        match asked {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(error)) => Err(self.failed(Unreachable::Refused, &format!("made no tunnel to {target}: {error}"))),
            Err(_) => {
                let why = format!("made no tunnel to {target} within {TUNNEL_TIMEOUT:?}");
                Err(self.failed(Unreachable::TimedOut, &why))
            }
        }
    }

    async fn ask(&self, stream: &mut TcpStream, target: SocketAddr) -> io::Result<()> {
        let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(credentials) = &self.credentials {
            let encoded = Zeroizing::new(STANDARD.encode(credentials.as_bytes()));
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&encoded);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        match status(&head(stream).await?) {
            Some(status) if status.is_success() => Ok(()),
            // Its words may be those that it was told.
            Some(status) => Err(io::Error::other(format!("it answered {}", status.as_u16()))),
            None => Err(io::Error::other("it does not speak HTTP/1.1")),
        }
    }

    fn failed(&self, what: Unreachable, why: &str) -> ConnectError {
        ConnectError::Unreachable(what, format!("the proxy {}:{} {why}", self.host, self.port))
    }
}

/// The head of the answer and not a byte more: what follows is the target's. It is short, and read once a connection.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The number in `HTTP/1.x NNN …`; none where it is something else.
fn status(head: &[u8]) -> Option<StatusCode> {
    match head.strip_prefix(b"HTTP/1.")? {
        [_, b' ', number @ ..] if !matches!(number.get(3), Some(b'0'..=b'9')) => {
            StatusCode::from_bytes(number.get(..3)?).ok()
        }
        _ => None,
    }
}

/// Without the password.
impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnel({}:{})", self.host, self.port)
    }
}
