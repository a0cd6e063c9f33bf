//! `wasi:http`: the standard interface, over the same grants, client, limits and records as our own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

use crate::config::is_host_owned;

use super::attempt::{Attempt, HandedOver};
use super::egress::{self, Answered, Egress, InUse, Recorder, SendBody, SendFailure, Unreachable};
use super::heads;
use super::host_http::{body_refused, is_bodiless, method, one_more, patience, permit, remember, way_out};
use super::secrets::{Mask, Window};

/// What a guest may hand over at once of a request's body.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// How long a guest may take to say that a request which has no body has none.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

mod held;
mod narrow;

use held::Untaken;
pub(super) use held::{Held, fields_bytes_max};
pub(super) use narrow::narrow;

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
        let (attempt, handed_over) = (self.attempt.clone(), HandedOver::now(self.attempt.clone()));
        // Here, where the guest pays for it and has its turn. What is a task of its own is on nobody's account.
        let (asked, going) = Asked::judged(attempt, request);
        Box::new(async move {
            let _handed_over = handed_over;
            asked.answered(going?, options.unwrap_or_default()).await
        })
    }
}

/// The guest may say how long its body is: the body is held to that.
fn is_forbidden(name: &HeaderName) -> bool {
    name != http::header::CONTENT_LENGTH && is_host_owned(name.as_str())
}

/// A request that a guest handed over. Where it is dropped the guest can still write the rest of its body.
struct Asked {
    attempt: Arc<Attempt>,
    recorder: Recorder,
    body: SendBody,
    /// What the guest must not see of its answer: what the host put into it.
    cover: Option<Arc<Mask>>,
}

/// One that may leave.
struct Going {
    egress: Arc<Egress>,
    head: Parts,
    permit: OwnedSemaphorePermit,
}

impl Asked {
    /// Whether it may leave, and the record of it where not.
    fn judged(attempt: Arc<Attempt>, request: Request<WasiBody>) -> (Self, Result<Going, Error>) {
        let counted = one_more(&attempt);
        let url = request.uri().to_string();
        let (shown, target) = attempt.grants.admit(&url);
        let recorder = Recorder::begin(attempt.clone(), request.method().as_str(), shown);
        let (mut head, body) = request.into_parts();
        let stated = heads::stated_length(&head.headers);
        let stated_bytes = stated.as_ref().ok().copied().flatten();
        let body = SendBody::guest(body, recorder.sent(), attempt.clone(), stated_bytes);
        attempt.passed(heads::size(&head.headers) + url.len() as u64);
        let mut asked = Self { attempt, recorder, body, cover: None };
        let judge = || {
            let attempt = &asked.attempt;
            let egress = way_out(attempt)?.clone();
            head.method = method(head.method.as_str())?;
            check(&head.headers, attempt)?;
            stated.map_err(SendFailure::Invalid)?;
            let target = target?;
            let cover = attempt.grants.inject(&target, &mut head.headers)?;
            head.uri = target.uri;
            counted?;
            Ok((Going { egress, head, permit: permit(attempt)? }, cover))
        };
        let going = match judge() {
            Ok((going, cover)) => {
                asked.cover = cover;
                Ok(going)
            }
            Err(failure) => Err(asked.failed(failure)),
        };
        (asked, going)
    }

    /// Sends it, and waits for the head of its answer.
    async fn answered(mut self, going: Going, options: RequestOptions) -> Answer {
        let Going { egress, mut head, permit } = going;
        let method = head.method.clone();
        if is_bodiless(&method) {
            let is_empty =
                tokio::time::timeout(patience(&self.attempt, Some(BODY_PATIENCE)), self.body.is_empty()).await;
            if !is_empty.unwrap_or(false) {
                return Err(self.failed(body_refused(&method)));
            }
            head.headers.remove(http::header::CONTENT_LENGTH);
        }
        let longest = options
            .connect_timeout
            .unwrap_or(Duration::MAX)
            .saturating_add(options.first_byte_timeout.unwrap_or(Duration::MAX));
        self.recorder.leaves();
        let Self { attempt, mut recorder, body, cover } = self;
        let answer = egress.send(Request::from_parts(head, body), patience(&attempt, Some(longest))).await;
        let Answered { response, in_use } =
            answer.map_err(|failure| failed(&attempt, &mut recorder, cover.as_deref(), failure))?;
        recorder.head(response.status(), response.headers());
        attempt.passed(heads::size(response.headers()));
        if let Some(why) = heads::too_large(response.headers(), &attempt.limits) {
            recorder.failed(&SendFailure::TooLarge(why));
            return Err(Error::HttpResponseHeaderSectionSize(None));
        }
        let unread = Untaken::body(&attempt, egress::unread_bytes_max(&response));
        let (mut head, body) = response.into_parts();
        let untaken = Untaken::head(&attempt, &head.headers);
        egress::veil(cover.as_ref(), &mut head.headers);
        let left_bytes = attempt.limits.response.0;
        let window = cover.map(Window::new);
        let has_body = !egress::has_no_body(&method, head.status);
        let body = answer_body(Reading {
            attempt,
            has_body,
            body,
            recorder,
            left_bytes,
            between: options.between_bytes_timeout,
            out: Some((permit, in_use)),
            window,
            last: None,
            _unread: unread,
        });
        head.extensions.insert(untaken);
        Ok((Response::from_parts(head, body), Box::new(async { Ok(()) })))
    }

    fn failed(&mut self, failure: SendFailure) -> Error {
        failed(&self.attempt, &mut self.recorder, self.cover.as_deref(), failure)
    }
}

/// Writes down why a request came to nothing, and says it as the standard does.
fn failed(attempt: &Attempt, recorder: &mut Recorder, cover: Option<&Mask>, failure: SendFailure) -> Error {
    recorder.failed(&failure);
    remember(attempt, &failure);
    told(failure.veiled(cover))
}

/// What the guest set, as the other way to HTTP would check it. That names and values have no line breaks was seen when
/// they were set.
fn check(headers: &HeaderMap, attempt: &Attempt) -> Result<(), SendFailure> {
    if let Some(why) = heads::too_large(headers, &attempt.limits) {
        return Err(SendFailure::Invalid(why));
    }
    let unfit = headers.iter().find(|(_, value)| value.to_str().ok().and_then(egress::checked).is_none());
    unfit.map_or(Ok(()), |(name, _)| {
        let why = "has a control character, or one that is not ASCII: encode it";
        Err(SendFailure::Invalid(format!("the value of the header {name} {why}")))
    })
}

/// An answer that is being read. The record is closed when it ends or when the guest lets go of it.
struct Reading {
    attempt: Arc<Attempt>,
    has_body: bool,
    body: Incoming,
    recorder: Recorder,
    left_bytes: u64,
    between: Option<Duration>,
    /// Its place among the attempt's requests and its connection. None once all of it came.
    out: Option<(OwnedSemaphorePermit, InUse)>,
    /// Covers what the guest must not see; none where it may see all.
    window: Option<Window>,
    /// What comes after the bytes that the window still held.
    last: Option<Frame<Bytes>>,
    /// What may lie there unread.
    _unread: Untaken,
}

/// What the guest is given next, and what there is to go on with.
type Step = (Result<Frame<Bytes>, Error>, Option<Reading>);

fn answer_body(mut reading: Reading) -> WasiBody {
    if !reading.has_body || reading.body.is_end_stream() {
        reading.recorder.answered();
        return StreamBody::new(stream::empty()).boxed_unsync();
    }
    StreamBody::new(stream::unfold(Some(reading), next_frame)).boxed_unsync()
}

async fn next_frame(reading: Option<Reading>) -> Option<Step> {
    let mut reading = reading?;
    if let Some(last) = reading.last.take() {
        return Some((Ok(last), Some(reading)));
    }
    loop {
        // What is left for the guest shrinks from frame to frame.
        let idle = patience(&reading.attempt, reading.between);
        match tokio::time::timeout(idle, reading.body.frame()).await {
            Ok(None) if egress::is_cut_short(&reading.body) => {
                let why = "the answer broke off before its end".to_owned();
                return Some(reading.failed(SendFailure::Unanswered(why), Error::HttpResponseIncomplete));
            }
            Ok(None) => return reading.end(),
            Ok(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                reading.recorder.received(bytes);
                if let Some((_, in_use)) = &reading.out {
                    in_use.given(bytes);
                }
                let Some(left_bytes) = reading.left_bytes.checked_sub(bytes as u64) else {
                    let why = "the answer is larger than limits.response allows".to_owned();
                    return Some(reading.failed(SendFailure::TooLarge(why), Error::HttpResponseBodySize(None)));
                };
                reading.left_bytes = left_bytes;
                // A guest need not ask for what comes after its end.
                if frame.is_trailers() || reading.body.is_end_stream() {
                    reading.whole();
                }
                if let Some(frame) = reading.covered(frame) {
                    return Some((Ok(frame), Some(reading)));
                }
            }
            Ok(Some(Err(error))) => {
                let why = format!("the answer broke off: {error}");
                return Some(reading.failed(SendFailure::Unanswered(why), Error::HttpResponseIncomplete));
            }
            Err(_) => {
                if let Some((_, in_use)) = &reading.out {
                    in_use.distrust();
                }
                let why = "the answer stopped coming".to_owned();
                return Some(reading.failed(SendFailure::Silent(why), Error::ConnectionReadTimeout));
            }
        }
    }
}

impl Reading {
    /// The frame as the guest may see it; none where all of it has to wait for what follows.
    fn covered(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let is_last = self.body.is_end_stream();
        let Some(window) = &mut self.window else { return Some(frame) };
        match frame.into_data() {
            Ok(bytes) => {
                let mut seen = window.feed(&bytes);
                if is_last {
                    seen.extend(window.end());
                }
                (!seen.is_empty()).then(|| Frame::data(seen.into()))
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().ok()?;
                egress::veil(Some(window.mask()), &mut trailers);
                let (rest, trailers) = (window.end(), Frame::trailers(trailers));
                if rest.is_empty() {
                    return Some(trailers);
                }
                self.last = Some(trailers);
                Some(Frame::data(rest.into()))
            }
        }
    }

    /// No more of it is given, and why.
    fn failed(mut self, failure: SendFailure, told: Error) -> Step {
        self.recorder.failed(&failure);
        (Err(told), None)
    }

    /// The whole answer came.
    fn whole(&mut self) {
        self.recorder.answered();
        self.out = None;
    }

    /// Nothing more comes. What was held back leaves now.
    fn end(mut self) -> Option<Step> {
        let rest = self.window.as_mut().map(Window::end).unwrap_or_default();
        self.whole();
        (!rest.is_empty()).then(|| (Ok(Frame::data(rest.into())), None))
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
        SendFailure::Crowded(_) => Error::ConnectionLimitReached,
        SendFailure::Unanswered(_) => Error::HttpResponseIncomplete,
        SendFailure::Silent(_) => Error::HttpResponseTimeout,
        SendFailure::TooLarge(_) => Error::HttpResponseBodySize(None),
    }
}

#[cfg(test)]
mod tests;
