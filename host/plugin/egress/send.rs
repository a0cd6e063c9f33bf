//! Sending one request and classifying what became of it.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::capture_connection;

use crate::causes::cause;

use super::super::heads;
use super::brief;
use super::call::Call;
use super::connect::ConnectError;
use super::failure::{SendFailure, Unreachable, chain};
use super::usage::Usage;
use super::{Egress, HEAD_BYTES_MAX, InUse, Recorder, STREAM_WINDOW_BYTES, SendBody, link};

/// An answer whose head is there.
pub(in crate::plugin) struct Answered {
    /// The head, and the body as it comes.
    pub(in crate::plugin) response: Response<Incoming>,
    /// To be dropped with the body, or when all of it has come.
    pub(in crate::plugin) in_use: InUse,
}

impl Egress {
    /// Sends a request and waits so long for the head of the answer. The request is the client's at once: who waits for
    /// the answer holds no more of it.
    pub(in crate::plugin) fn send(
        &self,
        mut request: Request<SendBody>,
        patience: Duration,
    ) -> impl Future<Output = Result<Answered, SendFailure>> + Send {
        let connection = capture_connection(&mut request);
        let uri = request.uri().clone();
        let sent = self.client().request(request);
        async move {
            let call = Call::default();
            let mut sent = std::pin::pin!(call.of(sent));
            match tokio::time::timeout(patience, &mut sent).await {
                Ok(Ok(mut response)) => {
                    let age_max = if self.brief.holds(&uri) { Duration::ZERO } else { self.outside.age_max };
                    let in_use = InUse::note(connection, response.extensions_mut(), age_max);
                    in_use.given(usize::try_from(heads::size(response.headers())).unwrap_or(usize::MAX));
                    Ok(Answered { in_use, response })
                }
                Ok(Err(error)) => {
                    let usage = connection.connection_metadata().as_ref().and_then(link::usage);
                    let failure = failed(classify(&error), usage.as_deref());
                    let was_kept = usage.is_some_and(|usage| usage.was_kept());
                    if matches!(failure, SendFailure::Unanswered(_)) && was_kept && is_lost(&error) {
                        self.lost(&uri);
                    }
                    Err(failure)
                }
                Err(_) => match connection.connection_metadata().as_ref() {
                    // Once it has a connection, the request may be on its way. Over HTTP/2 others would follow it.
                    Some(connected) => {
                        connected.poison();
                        Err(SendFailure::Silent(format!("no answer within {patience:.1?}")))
                    }
                    None => Err(self.no_connection(&call, patience)),
                },
            }
        }
    }

    /// A connection to that origin that was kept is gone, with a request on it.
    fn lost(&self, uri: &Uri) {
        // First, so that who comes now keeps none.
        self.brief.note(uri);
        self.outside.sockets.retire(&self.plugin, &brief::origin(uri));
    }

    /// Asked while the request is still there, and in line where it is for want of a socket that it has none.
    fn no_connection(&self, call: &Call, patience: Duration) -> SendFailure {
        if call.is_in_line() {
            let why = self.outside.sockets.why_waiting(&self.plugin);
            return SendFailure::Crowded(format!("no connection could be made within {patience:.1?}: {why}"));
        }
        SendFailure::Unreachable(Unreachable::TimedOut, format!("no connection within {patience:.1?}"))
    }
}

/// What became of a request that failed like that, over a connection that is used like that where it had one.
pub(super) fn failed(failure: SendFailure, usage: Option<&Usage>) -> SendFailure {
    match (failure, usage) {
        // Who is counted keeps it open: this one came when it had ended, and none of it was written.
        (SendFailure::Unanswered(_), Some(usage)) if usage.is_closed() => {
            SendFailure::Crowded("the connection was closed just before the call".to_owned())
        }
        (failure, _) => failure,
    }
}

/// Whether the connection is gone: it ended, broke, or was silent for too long. A stream of HTTP/2 that is reset leaves it
/// as it was, and what cannot be understood says nothing of the others.
fn is_lost(error: &Error) -> bool {
    match cause::<h2::Error>(error) {
        Some(error) => error.is_io() || (error.is_go_away() && error.is_remote()),
        None => {
            let is_end =
                |error: &hyper::Error| error.is_incomplete_message() || error.is_closed() || error.is_timeout();
            cause::<hyper::Error>(error).is_some_and(is_end) || cause::<std::io::Error>(error).is_some()
        }
    }
}

/// What the host may hold of the body of an answer that nobody reads, at most. Over HTTP/1.1 that is what is read ahead.
/// Over HTTP/2 it is the window of its stream, and what short frames take beside what is in them: h2 reckons 256 bytes for
/// each, and ends a connection on which that is more than half of its window beyond the bytes themselves. What lies between
/// them in the pieces that were read, and is kept as long as they are, was let through by the connection's pace.
pub(in crate::plugin) fn unread_bytes_max(answer: &Response<Incoming>) -> usize {
    let stated_bytes = answer.body().size_hint().exact().unwrap_or(u64::MAX);
    let stated_bytes = usize::try_from(stated_bytes).unwrap_or(usize::MAX);
    if answer.version() == Version::HTTP_2 {
        let bytes = stated_bytes.min(STREAM_WINDOW_BYTES as usize);
        return bytes + bytes / 2;
    }
    stated_bytes.min(HEAD_BYTES_MAX)
}

/// Whether the answer to that has no body, whatever length it states (RFC 9110, section 6.4.1).
pub(in crate::plugin) fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether less came than was announced. Over HTTP/2 a stream that is reset without an error looks like its end.
pub(in crate::plugin) fn is_cut_short(body: &Incoming) -> bool {
    body.size_hint().lower() > 0
}

/// What becomes of an answer that is larger than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Oversize {
    /// It is a failure.
    Refused,
    /// What fits is taken.
    Cut,
}

/// What was read of a body.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Read {
    /// All of it, or its beginning.
    pub(in crate::plugin) bytes: Vec<u8>,
    /// Why that is only the beginning.
    pub(in crate::plugin) excess: Option<String>,
}

/// Reads a whole body, at most so many bytes of it. What is beyond them is not read.
pub(in crate::plugin) async fn read(
    mut body: Incoming,
    bytes_max: u64,
    oversize: Oversize,
    in_use: &InUse,
    recorder: &mut Recorder,
) -> Result<Read, SendFailure> {
    let excess = || format!("the answer is larger than {bytes_max} bytes (limits.response)");
    let announced_bytes = body.size_hint().lower();
    let is_larger = announced_bytes > bytes_max;
    if is_larger && oversize == Oversize::Refused {
        return Err(SendFailure::TooLarge(excess()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced_bytes.min(bytes_max)).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| SendFailure::Unanswered(format!("the answer broke off: {}", chain(&error))))?;
        let Ok(data) = frame.into_data() else { continue };
        recorder.received(data.len());
        in_use.given(data.len());
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX) - bytes.len();
        // Where more is announced, nobody waits for it.
        if data.len() > room || is_larger && data.len() == room {
            if oversize == Oversize::Refused {
                return Err(SendFailure::TooLarge(excess()));
            }
            bytes.extend_from_slice(&data[..room]);
            return Ok(Read { bytes, excess: Some(excess()) });
        }
        bytes.extend_from_slice(&data);
    }
    if is_cut_short(&body) {
        return Err(SendFailure::Unanswered("the answer broke off before its end".to_owned()));
    }
    Ok(Read { bytes, excess: None })
}

/// What stands in the way of a safe connection.
fn no_tls(error: &Error) -> String {
    match cause::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("no TLS connection: the certificate of the server is not valid: {why}")
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("no TLS connection: the server refused it: {alert:?}"),
        _ => format!("no TLS connection: {}", chain(error)),
    }
}

/// Whether the server said that it did nothing of the request (RFC 9113, section 8.7): it refused its stream, or went away
/// before it. h2 tells streams that are not beyond the last one otherwise.
fn was_not_taken(error: &Error) -> bool {
    let is_refusal = |error: &h2::Error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
    cause::<h2::Error>(error).is_some_and(|error| error.is_remote() && is_refusal(error))
}

/// Only what certainly happened before the first byte of the request, or was done nothing of, counts as unreachable.
fn classify(error: &Error) -> SendFailure {
    if let Some(error) = cause::<ConnectError>(error) {
        return match error {
            ConnectError::Denied(denial) => SendFailure::Denied(denial.clone()),
            ConnectError::Lacking(why) => SendFailure::Crowded(why.clone()),
            ConnectError::Unreachable(what, message) => SendFailure::Unreachable(*what, message.clone()),
        };
    }
    if error.is_connect() {
        return SendFailure::Unreachable(Unreachable::Tls, no_tls(error));
    }
    // hyper says so only of requests that it hands back untouched.
    if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled) {
        return SendFailure::Unreachable(
            Unreachable::Refused,
            format!("the connection closed at once: {}", chain(error)),
        );
    }
    if was_not_taken(error) {
        return SendFailure::Unreachable(
            Unreachable::Refused,
            format!("the server did not take the request: {}", chain(error)),
        );
    }
    if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse_too_large) {
        return SendFailure::TooLarge(format!("the head of the answer is too large: {}", chain(error)));
    }
    SendFailure::Unanswered(format!("no complete answer came: {}", chain(error)))
}
