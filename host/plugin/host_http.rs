//! `windlass:plugin/http`: one call at a time, each with an exact account of what became of it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use tokio::sync::OwnedSemaphorePermit;

use crate::clock::Stopwatch;
use crate::config::{AttemptLimits, is_host_owned};

use super::attempt::Attempt;
use super::bindings::windlass::plugin::http::{self as wit, Host, SendError};
use super::egress::{self, Answered, Egress, Oversize, Recorder, SendBody, SendFailure, Target};
use super::heads;
use super::ledger::Scarce;
use super::secrets::{Mask, Secrets};
use super::state::State;

/// A guest that waits for an answer needs a moment to say that none came: a tenth of what is left, at most this.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// The longest text of a guest that is repeated to it.
const QUOTED_BYTES_MAX: usize = 128;
/// The longest method.
const METHOD_BYTES_MAX: usize = 32;

impl Host for State {
    async fn send(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, SendError>> {
        let answer = sent(self, request, Oversize::Refused).await?;
        Ok(answer.map(|answer| answer.response))
    }

    async fn send_bounded(
        &mut self,
        request: wit::Request,
    ) -> wasmtime::Result<Result<wit::BoundedResponse, SendError>> {
        sent(self, request, Oversize::Cut).await
    }
}

async fn sent(
    guest: &mut State,
    request: wit::Request,
    oversize: Oversize,
) -> wasmtime::Result<Result<wit::BoundedResponse, SendError>> {
    let attempt = guest.attempt.clone();
    attempt.passed(size(&request.headers) + (request.url.len() + request.body.len()) as u64);
    guest.called()?;
    // Beside the guest: how deep it goes is none of its stack's business.
    let sender = attempt.clone();
    let answer = attempt.aside.run(move || send(sender, request, oversize)).await;
    if let Ok(answer) = &answer {
        attempt.passed(size(&answer.response.headers));
    }
    Ok(answer.map_err(told))
}

async fn send(
    attempt: Arc<Attempt>,
    request: wit::Request,
    oversize: Oversize,
) -> Result<wit::BoundedResponse, SendFailure> {
    let counted = one_more(&attempt);
    let (shown, target) = attempt.grants.admit(&request.url);
    let mut recorder = Recorder::begin(attempt.clone(), &request.method, shown);
    let target = target.and_then(|target| counted.map(|()| target));
    let begun = target.and_then(|target| begin(&attempt, request, target, &recorder));
    let (answer, cover) = match begun {
        Ok((sending, cover)) => (exchange(&attempt, sending, cover.as_ref(), oversize, &mut recorder).await, cover),
        Err(failure) => (Err(failure), None),
    };
    match &answer {
        Ok((_, None)) => recorder.answered(),
        Ok((_, Some(excess))) => recorder.cut(excess),
        Err(failure) => {
            recorder.failed(failure);
            remember(&attempt, failure);
        }
    }
    answer.map(|(answer, _)| answer).map_err(|failure| failure.veiled(cover.as_deref()))
}

/// What is covered in the answer.
type Cover = Option<Arc<Mask>>;

/// A request that was checked and handed over, while its answer is waited for.
struct Sending<Sent> {
    sent: Sent,
    method: Method,
    patience: Duration,
    watch: Stopwatch,
    _permit: OwnedSemaphorePermit,
}

fn begin<'a>(
    attempt: &'a Attempt,
    request: wit::Request,
    target: Target,
    recorder: &Recorder,
) -> Result<(Sending<impl Future<Output = Result<Answered, SendFailure>> + Send + use<'a>>, Cover), SendFailure> {
    let egress = way_out(attempt)?;
    let permit = permit(attempt)?;
    let (body_bytes, most) = (request.body.len() as u64, attempt.limits.request);
    if body_bytes > most.0 {
        return Err(SendFailure::Invalid(format!(
            "the body is {body_bytes} bytes, the limit is {most} (limits.request)"
        )));
    }
    let patience = patience(attempt, request.timeout_ms.map(|ms| Duration::from_millis(u64::from(ms))));
    let watch = Stopwatch::start();
    let (request, cover) = outgoing(attempt, request, target, recorder)?;
    let method = request.method().clone();
    Ok((Sending { sent: egress.send(request, patience), method, patience, watch, _permit: permit }, cover))
}

/// The answer, and why it is not the whole one where it was cut.
async fn exchange(
    attempt: &Attempt,
    sending: Sending<impl Future<Output = Result<Answered, SendFailure>>>,
    cover: Option<&Arc<Mask>>,
    oversize: Oversize,
    recorder: &mut Recorder,
) -> Result<(wit::BoundedResponse, Option<String>), SendFailure> {
    let Sending { sent, method, patience, watch, _permit } = sending;
    recorder.leaves();
    let Answered { response, in_use } = sent.await?;
    recorder.head(response.status(), response.headers());
    let (mut head, body) = response.into_parts();
    let excess = heads::too_large(&head.headers, &attempt.limits);
    match &excess {
        Some(why) if oversize == Oversize::Refused => return Err(SendFailure::TooLarge(why.clone())),
        Some(_) => head.headers = heads::cut(&head.headers, &attempt.limits),
        None => {}
    }
    egress::veil(cover, &mut head.headers);
    let mut read = egress::Read::default();
    if !egress::has_no_body(&method, head.status) {
        let reading = egress::read(body, attempt.limits.response.0, oversize, &in_use, recorder);
        read = tokio::time::timeout(patience.saturating_sub(watch.elapsed()), reading).await.map_err(|_| {
            in_use.distrust();
            SendFailure::Silent(format!("no whole answer within {patience:.1?}"))
        })??;
    }
    conceal(&mut read, cover, &attempt.grants.secrets);
    let (headers_truncated, body_truncated) = (excess.is_some(), read.excess.is_some());
    let response = wit::Response { status: head.status.as_u16(), headers: headers_of(&head.headers), body: read.bytes };
    Ok((wit::BoundedResponse { response, headers_truncated, body_truncated }, excess.or(read.excess)))
}

/// Covers in a body what the guest must not see. One that was cut loses what may be a part of a secret at its end: there
/// nobody would find it later.
fn conceal(read: &mut egress::Read, cover: Option<&Arc<Mask>>, secrets: &Secrets) {
    let (bytes, is_cut) = (&mut read.bytes, read.excess.is_some());
    match cover {
        Some(cover) if is_cut => cover.blot_beginning(bytes),
        Some(cover) => cover.blot(bytes),
        None => {}
    }
    if is_cut {
        bytes.truncate(bytes.len() - secrets.readable_end(bytes));
    }
}

/// The plugin's client; a component that is only tried has none.
pub(super) fn way_out(attempt: &Attempt) -> Result<&Arc<Egress>, SendFailure> {
    let refusal = || SendFailure::Invalid("a plugin cannot call anybody while it is being loaded".to_owned());
    attempt.egress.as_ref().ok_or_else(refusal)
}

/// Counts a request, whatever becomes of it: to judge one that is refused takes its time too.
pub(super) fn one_more(attempt: &Attempt) -> Result<(), SendFailure> {
    let most = attempt.limits.requests_total;
    let refusal = || SendFailure::Invalid(format!("the attempt has made its {most} requests (limits.requests_total)"));
    attempt.one_more_request().then_some(()).ok_or_else(refusal)
}

/// Leave to have one more request out at the same time.
pub(super) fn permit(attempt: &Attempt) -> Result<OwnedSemaphorePermit, SendFailure> {
    let most = attempt.limits.requests;
    let refusal = |_| SendFailure::Invalid(format!("{most} requests are out at the same time (limits.requests)"));
    attempt.requests.clone().try_acquire_owned().map_err(refusal)
}

/// How long a call may take: what the guest says, and no longer than the attempt.
pub(super) fn patience(attempt: &Attempt, asked: Option<Duration>) -> Duration {
    let left = attempt.left();
    let most = left - (left / 10).min(LAST_MOMENT);
    asked.map_or(most, |asked| asked.min(most))
}

/// A denial is the operator's to mend, and what there is no room for is nobody's fault: the outcome tells it.
pub(super) fn remember(attempt: &Attempt, failure: &SendFailure) {
    match failure {
        SendFailure::Denied(denial) => attempt.deny(&denial.remedy),
        SendFailure::Crowded(why) => attempt.ledger().crowd(Scarce::Connections, why),
        _ => {}
    }
}

fn outgoing(
    attempt: &Attempt,
    request: wit::Request,
    target: Target,
    recorder: &Recorder,
) -> Result<(Request<SendBody>, Cover), SendFailure> {
    let method = method(&request.method)?;
    if is_bodiless(&method) && !request.body.is_empty() {
        return Err(body_refused(&method));
    }
    let mut headers = headers(&request.headers, &attempt.limits)?;
    let cover = attempt.grants.inject(&target, &mut headers)?;
    if request.body.is_empty() && !is_bodiless(&method) && ![Method::DELETE, Method::OPTIONS].contains(&method) {
        // Else there are servers that ask for it (RFC 9110, section 8.6).
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    let mut outgoing = Request::new(SendBody::whole(request.body, recorder.sent()));
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = target.uri;
    *outgoing.headers_mut() = headers;
    Ok((outgoing, cover))
}

/// CONNECT would make a tunnel of the call, and TRACE would send back what the host adds to it.
pub(super) fn method(text: &str) -> Result<Method, SendFailure> {
    let is_known = |known: &Method| text.eq_ignore_ascii_case(known.as_str());
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text.len() <= METHOD_BYTES_MAX && ![Method::CONNECT, Method::TRACE].iter().any(is_known) => {
            Ok(method)
        }
        _ => Err(SendFailure::Invalid(format!("the method {} cannot be sent", quoted(text)))),
    }
}

/// A text of the guest for its error, whole or not at all: what is cut could be half of a secret.
fn quoted(text: &str) -> String {
    if text.len() > QUOTED_BYTES_MAX {
        return format!("of {} bytes", text.len());
    }
    // Not escaped either: what stands there has to be found again.
    format!("\"{}\"", super::text::line(text, QUOTED_BYTES_MAX))
}

/// Whether a request of that method has no body: servers that do not expect one take it for the next request.
pub(super) fn is_bodiless(method: &Method) -> bool {
    [Method::GET, Method::HEAD].iter().any(|known| method.as_str().eq_ignore_ascii_case(known.as_str()))
}

/// Why a body is not sent.
pub(super) fn body_refused(method: &Method) -> SendFailure {
    SendFailure::Invalid(format!("a request with the method {method} carries no body: send POST, or leave it out"))
}

fn headers(guests: &[wit::Header], limits: &AttemptLimits) -> Result<HeaderMap, SendFailure> {
    if let Some(why) = heads::over(guests.len(), size(guests), limits) {
        return Err(SendFailure::Invalid(why));
    }
    let mut headers = HeaderMap::with_capacity(guests.len());
    for header in guests {
        let (name, value) = checked(header)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn checked(header: &wit::Header) -> Result<(HeaderName, HeaderValue), SendFailure> {
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| SendFailure::Invalid(format!("the name {} is no name of a header", quoted(&header.name))))?;
    if is_host_owned(name.as_str()) {
        let alike = if name.as_str().contains('_') { egress::SAME_HEADER } else { "" };
        return Err(SendFailure::Invalid(format!("the header {name} is set by the host alone{alike}")));
    }
    // The value may be a secret: it is not told.
    let value = egress::checked(&header.value).ok_or_else(|| {
        let why = "has a control character, or one that is not ASCII: encode it";
        SendFailure::Invalid(format!("the value of the header {name} {why}"))
    })?;
    Ok((name, value))
}

fn size(headers: &[wit::Header]) -> u64 {
    headers.iter().map(|header| (header.name.len() + header.value.len()) as u64).sum()
}

fn headers_of(headers: &HeaderMap) -> Vec<wit::Header> {
    let header = |(name, value): (&HeaderName, &HeaderValue)| wit::Header {
        name: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(header).collect()
}

fn told(failure: SendFailure) -> SendError {
    match failure {
        SendFailure::Denied(denial) => SendError::Denied(denial.told),
        SendFailure::Invalid(message) => SendError::Invalid(message),
        SendFailure::Unreachable(_, message) | SendFailure::Crowded(message) => SendError::Unreachable(message),
        SendFailure::Unanswered(message) | SendFailure::Silent(message) => SendError::Unanswered(message),
        SendFailure::TooLarge(message) => SendError::TooLarge(message),
    }
}

#[cfg(test)]
mod tests;
