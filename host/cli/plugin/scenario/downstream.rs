//! A downstream on loopback that does as a scenario says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::content::Bodies;
use super::{Answer, Fault};
use crate::clock::{Clock, UnixMs};
use crate::lock::lock;

/// A certificate that no authority has signed, for tests of exactly that, and its key.
const UNTRUSTED: (&[u8], &[u8]) = (include_bytes!("untrusted.der"), include_bytes!("untrusted-key.der"));
/// What [`Fault::Garbage`] answers.
const GARBAGE: &[u8] = b"\x00\x01 this is not HTTP\r\n\r\n";

/// One request, and the body that it was answered with.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
    pub(super) answered: Bytes,
}

impl Seen {
    /// The value of that header; several of one name are joined by commas (RFC 9110, 5.2).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }
}

/// A running downstream. It ends with this value.
pub(super) struct Downstream {
    /// What a plugin calls: scheme, address and port.
    pub(super) base: String,
    script: Arc<Script>,
    listening: Listening,
}

enum Listening {
    Accepts(JoinHandle<()>),
    /// Bound, so that nobody else gets the port, and not listening.
    Refuses(#[expect(dead_code, reason = "it only has to be there")] TcpSocket),
}

struct Script {
    answers: Vec<Answer>,
    payload: Bytes,
    seen: Mutex<Vec<Seen>>,
    clock: Arc<dyn Clock>,
}

impl Downstream {
    /// Starts one, for a job whose payload may depend on where it is.
    ///
    /// # Errors
    /// Where there is no port to be had.
    pub(super) fn start(
        answers: &[Answer],
        payload: impl FnOnce(&str) -> Vec<u8>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let has = |fault| answers.iter().any(|answer| answer.fault == Some(fault));
        let socket = TcpSocket::new_v4().and_then(|socket| {
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            Ok(socket)
        });
        let socket = socket.context("cannot have a port for the downstream")?;
        let address = socket.local_addr()?;
        let (refuses, tls) = (has(Fault::Refuse), has(Fault::BadTls));
        let scheme = if tls { "https" } else { "http" };
        let base = format!("{scheme}://{address}");
        let (answers, payload) = (answers.to_vec(), payload(&base).into());
        let script = Arc::new(Script { answers, payload, seen: Mutex::default(), clock });
        if refuses {
            return Ok(Self { base, script, listening: Listening::Refuses(socket) });
        }
        let tls = tls.then(untrusted_tls).transpose()?;
        let listener = socket.listen(64).context("the downstream cannot listen")?;
        let accepting = tokio::spawn(accept(listener, tls, script.clone()));
        Ok(Self { base, script, listening: Listening::Accepts(accepting) })
    }

    /// The job's payload.
    pub(super) fn payload(&self) -> Bytes {
        self.script.payload.clone()
    }

    /// What it was asked.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.script.seen().clone()
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        if let Listening::Accepts(accepting) = &self.listening {
            accepting.abort();
        }
    }
}

fn untrusted_tls() -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = (CertificateDer::from(UNTRUSTED.0), PrivateKeyDer::try_from(UNTRUSTED.1));
    let key = key.map_err(|why| anyhow::anyhow!("the test key: {why}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, script: Arc<Script>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, script) = (tls.clone(), script.clone());
        connections.spawn(async move {
            match tls {
                // A client that trusts nobody blindly goes away during the handshake.
                Some(tls) => drop(tls.accept(stream).await),
                None => script.serve(stream).await,
            }
        });
    }
}

impl Script {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        lock(&self.seen)
    }

    /// Serves one connection until it ends. How it ends is the client's affair, or the script's.
    async fn serve(&self, stream: TcpStream) {
        let Ok(mut raw) = second_handle(&stream) else { return };
        let raw = Mutex::new(Some(&mut raw));
        let service = service_fn(async |request| {
            let answer = self.take(request).await?;
            if let Some(delay) = answer.delay {
                tokio::time::sleep(delay.0).await;
            }
            match answer.fault {
                None => return answer.into_response(),
                Some(Fault::Stall) => std::future::pending().await,
                Some(fault) => {
                    let raw = lock(&raw).take();
                    if let Some(raw) = raw {
                        fail(fault, raw, &answer).await?;
                    }
                }
            }
            // hyper closes the connection and says nothing.
            anyhow::bail!("as the script says")
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    /// Reads a request to its end and finds the answer to it.
    async fn take(&self, request: Request<Incoming>) -> anyhow::Result<Prepared> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|before| *before = format!("{before}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let mut seen = self.seen();
        let answer = self.answers.get(seen.len()).or(self.answers.last()).cloned().unwrap_or_default();
        let bodies = Bodies { payload: &self.payload, request: &body, answer: &[] };
        let fill = |text: &str| dates_filled(text, self.clock.now());
        let answered: Bytes = answer.body.as_ref().map(|body| body.bytes(bodies, &fill)).unwrap_or_default().into();
        let mut answer_headers: BTreeMap<_, _> =
            answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), fill(value))).collect();
        if let Some(content) = &answer.body {
            answer_headers.entry("content-type".to_owned()).or_insert_with(|| content.media_type().to_owned());
        }
        seen.push(Seen { method: head.method.to_string(), path, headers, body, answered: answered.clone() });
        Ok(Prepared {
            status: answer.status.unwrap_or(200),
            headers: answer_headers,
            body: answered,
            delay: answer.delay,
            fault: answer.fault,
        })
    }
}

/// An answer with everything filled in.
struct Prepared {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Bytes,
    delay: Option<crate::job::units::TimeSpan>,
    fault: Option<Fault>,
}

impl Prepared {
    fn into_response(self) -> anyhow::Result<Response<Full<Bytes>>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body)).context("the scenario's answer is not HTTP")
    }

    /// The head, and half of the body that it announces.
    fn half(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} OK\r\ncontent-length: {}\r\n", self.status, self.body.len().max(2));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body[..self.body.len() / 2]);
        bytes
    }
}

/// Another handle of the same connection, for what HTTP has no words for.
fn second_handle(stream: &TcpStream) -> std::io::Result<TcpStream> {
    use std::os::fd::AsFd as _;

    TcpStream::from_std(std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?))
}

async fn fail(fault: Fault, raw: &mut TcpStream, answer: &Prepared) -> std::io::Result<()> {
    match fault {
        // Closing a connection that does not linger resets it.
        Fault::Reset => raw.set_zero_linger(),
        Fault::Half => raw.write_all(&answer.half()).await,
        Fault::Garbage => raw.write_all(GARBAGE).await,
        Fault::Refuse | Fault::Close | Fault::Stall | Fault::BadTls => Ok(()),
    }
}

/// `{date+30s}` as the HTTP date (RFC 9110, 5.6.7) that is 30 s ahead; `{date}` as the present one.
pub(super) fn dates_filled(text: &str, now: UnixMs) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{date") {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let Some((inside, after)) = from["{date".len()..].split_once('}') else {
            rest = from;
            break;
        };
        let ahead = inside.strip_prefix('+').map_or(Ok(Default::default()), str::parse::<crate::job::units::TimeSpan>);
        match ahead {
            Ok(ahead) => {
                let moment = now.after(ahead.0).since(UnixMs(0));
                filled.push_str(&httpdate::fmt_http_date(std::time::UNIX_EPOCH + moment));
            }
            Err(_) => filled.push_str(&from[..from.len() - after.len()]),
        }
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_now() {
        let now = UnixMs(784_111_777_000);
        assert_eq!(dates_filled("{date}", now), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(dates_filled("a {date+30s} b", now), "a Sun, 06 Nov 1994 08:50:07 GMT b");
        for untouched in ["{date+soon}", "{date", "{", "date"] {
            assert_eq!(dates_filled(untouched, now), untouched);
        }
    }
}
