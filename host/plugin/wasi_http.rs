//! `wasi:http`: the standard interface, over the same grants, client, limits and records as our own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

use super::attempt::Attempt;
use super::egress::{Recorder, SendBody, SendFailure, Unreachable};
use super::host_http::{HOST_OWNED, method, patience, remember, way_out};

/// What a guest may hand over at once of a request's body.
const CHUNK_BYTES_MAX: usize = 64 << 10;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Io), Error>;

/// Sends the requests of one attempt.
pub(super) struct Hooks {
    attempt: Arc<Attempt>,
}

impl Hooks {
    /// The hooks of that attempt.
    pub(super) fn new(attempt: Arc<Attempt>) -> Self {
        Self { attempt }
    }
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// The client sets it, from the URL as it was judged.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        Box::new(send(self.attempt.clone(), request, options.unwrap_or_default()))
    }
}

/// The guest may say how long its body is: wasmtime holds it to that.
fn is_forbidden(name: &HeaderName) -> bool {
    name != http::header::CONTENT_LENGTH && HOST_OWNED.contains(&name.as_str())
}

async fn send(attempt: Arc<Attempt>, request: Request<WasiBody>, options: RequestOptions) -> Answer {
    let (shown, target) = attempt.grants.admit(&request.uri().to_string());
    let mut recorder = Recorder::begin(attempt.clone(), request.method().as_str(), shown);
    let (mut head, body) = request.into_parts();
    // Made first: when it is dropped with a failure, the guest can still write the rest of it.
    let body = SendBody::guest(body, recorder.sent_bytes());
    let sent = async {
        let egress = way_out(&attempt)?;
        head.method = method(head.method.as_str())?;
        head.uri = target?.uri;
        let permit = attempt.requests.clone().try_acquire_owned().map_err(|_| too_many())?;
        let longest = options
            .connect_timeout
            .unwrap_or(Duration::MAX)
            .saturating_add(options.first_byte_timeout.unwrap_or(Duration::MAX));
        let response = egress.send(Request::from_parts(head, body), patience(&attempt, Some(longest))).await?;
        Ok::<_, SendFailure>((response, permit))
    };
    match sent.await {
        Ok((response, permit)) => {
            recorder.head(response.status(), response.headers());
            let (head, body) = response.into_parts();
            let idle = patience(&attempt, options.between_bytes_timeout);
            let body = answer_body(Reading { body, recorder, left_bytes: attempt.limits.response.0, idle, permit });
            Ok((Response::from_parts(head, body), Box::new(async { Ok(()) })))
        }
        Err(failure) => {
            recorder.failed(failure.message());
            remember(&attempt, &failure);
            Err(told(failure))
        }
    }
}

fn too_many() -> SendFailure {
    SendFailure::Invalid("too many calls are out at the same time".to_owned())
}

/// An answer that is being read. The record is closed when it ends or when the guest lets go of it.
struct Reading {
    body: Incoming,
    recorder: Recorder,
    left_bytes: u64,
    idle: Duration,
    permit: OwnedSemaphorePermit,
}

fn answer_body(reading: Reading) -> WasiBody {
    if reading.body.is_end_stream() {
        reading.recorder.answered();
        return StreamBody::new(stream::empty()).boxed_unsync();
    }
    StreamBody::new(stream::unfold(Some(reading), next_frame)).boxed_unsync()
}

async fn next_frame(reading: Option<Reading>) -> Option<(Result<Frame<Bytes>, Error>, Option<Reading>)> {
    let mut reading = reading?;
    match tokio::time::timeout(reading.idle, reading.body.frame()).await {
        Ok(None) => {
            reading.recorder.answered();
            drop(reading.permit);
            None
        }
        Ok(Some(Ok(frame))) => {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            reading.recorder.received(bytes);
            match reading.left_bytes.checked_sub(bytes as u64) {
                Some(left_bytes) => {
                    reading.left_bytes = left_bytes;
                    Some((Ok(frame), Some(reading)))
                }
                None => {
                    reading.recorder.failed("the answer is larger than limits.response allows");
                    Some((Err(Error::HttpResponseBodySize(None)), None))
                }
            }
        }
        Ok(Some(Err(error))) => {
            reading.recorder.failed(&format!("the answer broke off: {error}"));
            Some((Err(Error::HttpResponseIncomplete), None))
        }
        Err(_) => {
            reading.recorder.failed("the answer stopped coming");
            Some((Err(Error::ConnectionReadTimeout), None))
        }
    }
}

/// The standard's word for it. Those before the connection mean that nothing was sent.
fn told(failure: SendFailure) -> Error {
    match failure {
        SendFailure::Denied(_) => Error::HttpRequestDenied,
        SendFailure::Invalid(message) => Error::InternalError(Some(message)),
        SendFailure::Unreachable(Unreachable::Name, message) => {
            Error::DnsError { rcode: Some(message), info_code: None }
        }
        SendFailure::Unreachable(Unreachable::Refused, _) => Error::ConnectionRefused,
        SendFailure::Unreachable(Unreachable::TimedOut, _) => Error::ConnectionTimeout,
        SendFailure::Unreachable(Unreachable::Tls, message) if message.contains("certificate") => {
            Error::TlsCertificateError
        }
        SendFailure::Unreachable(Unreachable::Tls, _) => Error::TlsProtocolError,
        SendFailure::Unanswered(_) => Error::HttpResponseIncomplete,
        SendFailure::Silent(_) => Error::HttpResponseTimeout,
        SendFailure::TooLarge(_) => Error::HttpResponseBodySize(None),
    }
}
