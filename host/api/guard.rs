//! What every request passes: how large its head is, by which name it calls the host, who asks, whether there is room; and
//! an id for the logs, and the counting of answers.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use url::form_urlencoded;

use super::State;
use super::access::{self, Access, Places};
use super::asked;
use super::error::{Problem, ProblemKind};
use super::tokens::{Caller, Need, Refused};

mod again;
mod names;
mod size;
mod untaken;

use untaken::Seat;

pub(super) use again::Admitted;
pub(super) use size::HEADERS_MAX;
pub(super) use untaken::{always_told, room_before, with_room};

/// The header that ties an answer to the log lines about it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a caller.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// The route whose requests can wait.
const WAITING_ROUTE: &str = "/v1/jobs/{id}";

/// Lets a request pass or refuses it, and sees to the answer.
pub(super) async fn pass(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers(), &state);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let is_read = matches!(method, Method::GET | Method::HEAD);
    let (caller, mut response) = match admit(&state, &mut request, matched.as_ref().map(MatchedPath::as_str)) {
        Ok((admitted, seat)) => {
            let caller = admitted.caller().clone();
            // A broken handler must cost its caller an answer, and nobody else anything.
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
            let answer = asked::by(id.clone(), admitted, answer).await;
            let answer = answer.unwrap_or_else(|_| broke_off(&id, route));
            (Some(caller), untaken::holding(&state.door.room, is_read, answer, seat))
        }
        Err(problem) => (None, problem.into_response()),
    };
    let status = response.status().as_u16();
    state.metrics.request_answered(method_label(&method), route, status);
    let token = caller.as_ref().map_or("-", Caller::id);
    tracing::debug!(request.id = ?id, token.id = token, %method, route, status, "a request was answered");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Who asks and for what, and the place of the request; or why it is refused.
fn admit(state: &State, request: &mut Request, route: Option<&str>) -> Result<(Admitted, Seat), Problem> {
    if let Some(problem) = size::refusal(request).or_else(|| names::refusal(&state.config.server, request)) {
        return Err(problem);
    }
    let access = route.map(|route| access::access(request.method(), route).unwrap_or(Access::Needs(Need::Admin)));
    let caller = match access {
        Some(Access::Open) => Caller::Anybody,
        Some(Access::Needs(_)) | None => {
            state.door.tokens.admit(request.headers(), state.now(), state.clock.wall()).map_err(unauthorized)?
        }
    };
    let need = if let Some(Access::Needs(need)) = access { Some(need) } else { None };
    if let Some(need) = need {
        permit(&caller, need)?;
    }
    // From here on nobody has a use for it.
    request.headers_mut().remove(AUTHORIZATION);
    let room = &state.door.room;
    let seat = match access::places(route, access) {
        Places::None => Seat::None,
        Places::Scrapes => Seat::Apart(room.scrape()?),
        Places::Strangers => Seat::Apart(room.stranger()?),
        Places::Requests => Seat::Shared(room.request(waits(route, request))?),
    };
    Ok((Admitted::new(caller, need), seat))
}

/// Refuses a caller that may not do what is needed, and names the scope.
pub(super) fn permit(caller: &Caller, need: Need<'_>) -> Result<(), Problem> {
    if caller.may(need) {
        return Ok(());
    }
    let scope = need.to_string();
    let detail = format!("this needs the scope {}, which the token does not have", super::error::quoted(&scope));
    // What does not fit a header's quotes is left out of it; the detail has it.
    let is_plain = scope.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b':'));
    let named = if is_plain { format!(", scope=\"{scope}\"") } else { String::new() };
    Err(Problem::new(ProblemKind::ScopeMissing, detail)
        .challenge(format!("Bearer realm=\"windlass\", error=\"insufficient_scope\"{named}")))
}

fn unauthorized(refused: Refused) -> Problem {
    let (kind, detail, error) = match refused {
        Refused::Missing => {
            let detail = "this host asks for a token: send the header Authorization: Bearer TOKEN";
            (ProblemKind::TokenMissing, detail.to_owned(), "")
        }
        Refused::Invalid => {
            let detail = "the token is malformed, unknown, revoked or expired";
            (ProblemKind::TokenInvalid, detail.to_owned(), ", error=\"invalid_token\"")
        }
        // Which file it is concerns the operator alone, and the log tells it.
        Refused::Unreadable(_) => {
            let detail = "the host cannot read its tokens and admits nobody; its log says why";
            return Problem::new(ProblemKind::TokensUnreadable, detail);
        }
    };
    Problem::new(kind, detail).challenge(format!("Bearer realm=\"windlass\"{error}"))
}

/// Whether the request may wait for a job's end.
fn waits(route: Option<&str>, request: &Request) -> bool {
    let query = request.uri().query().unwrap_or("");
    route == Some(WAITING_ROUTE) && form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "wait")
}

fn broke_off(id: &HeaderValue, route: &str) -> Response {
    tracing::error!(request.id = ?id, route, "a handler panicked: please report this");
    Problem::new(ProblemKind::Internal, format!("the host broke off while it answered {route}; its log says where"))
        .into_response()
}

/// Methods that anybody may invent must not become as many time series.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE | Method::PATCH | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}

/// The caller's own id where it is well-formed, else a new one.
fn request_id(headers: &HeaderMap, state: &State) -> HeaderValue {
    let is_sound = |id: &HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(&REQUEST_ID).filter(|id| is_sound(id)).cloned().unwrap_or_else(|| new_request_id(state.now().0))
}

/// A new id.
pub(super) fn new_request_id(now_ms: i64) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{now_ms:x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&id).expect("hexadecimal digits and a hyphen")
}

#[cfg(test)]
mod tests;
