//! Every refusal of the API, as `application/problem+json` (RFC 9457). The `type`s are a closed list: [`ProblemKind`].

use std::borrow::Cow;

use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::job::text;
use crate::plugin::{LoadCause, LoadError};
use crate::store::StoreError;

/// What the `type` of every problem begins with.
const TYPE_PREFIX: &str = "urn:windlass:problem:";
/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// How much of a caller's own words is repeated in an answer.
const QUOTED_CHARS_MAX: usize = 80;
/// The longest detail. What says it may have been made from words of a caller's, who can send megabytes of them.
const DETAIL_BYTES_MAX: usize = 1 << 10;
/// Of a long reason, that quotes what it is about, so much is kept of its beginning and of its end.
const REASON_CHARS_MAX: usize = 200;

/// Declares the kinds with their code, status and title in one table.
macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// Why a request was refused. A closed list; programs can rely on the codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The last word of the `type`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The status of the answer.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// The same short words for every problem of the kind.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

problem_kinds! {
    /// The body is not JSON, or not a JSON object.
    BodyMalformed = "body-malformed", BAD_REQUEST, "The body is not a JSON object";
    /// The body broke off.
    BodyIncomplete = "body-incomplete", BAD_REQUEST, "The body broke off";
    /// A member of the body is unknown, missing, of the wrong type or out of its range.
    MemberInvalid = "member-invalid", BAD_REQUEST, "A member of the body is invalid";
    /// A header is malformed, or does not belong to this operation.
    HeaderInvalid = "header-invalid", BAD_REQUEST, "A header is invalid";
    /// A parameter of the query is unknown, repeated, malformed or out of its range.
    QueryInvalid = "query-invalid", BAD_REQUEST, "A query parameter is invalid";
    /// That cannot be the name of a plugin.
    PluginNameInvalid = "plugin-name-invalid", BAD_REQUEST, "Not a plugin's name";
    /// The request is ambiguous, so that another server in its way may read it otherwise.
    RequestAmbiguous = "request-ambiguous", BAD_REQUEST, "The request can be read in two ways";
    /// Plain HTTP was sent to a port that speaks TLS.
    TlsNeeded = "tls-needed", BAD_REQUEST, "This port speaks TLS";
    /// The host asks for a token, and none was sent.
    TokenMissing = "token-missing", UNAUTHORIZED, "A token is needed";
    /// The token is malformed, unknown, revoked or expired.
    TokenInvalid = "token-invalid", UNAUTHORIZED, "The token is not valid";
    /// The token does not have the scope that this needs.
    ScopeMissing = "scope-missing", FORBIDDEN, "The token may not do this";
    /// The host does not answer to the name that the request calls it by: a page of another site may be behind it.
    HostRefused = "host-refused", FORBIDDEN, "Not reachable under this name";
    /// A page of another site tried to change something.
    OriginRefused = "origin-refused", FORBIDDEN, "Not from a page of another site";
    /// There is nothing at this path.
    RouteUnknown = "route-unknown", NOT_FOUND, "Nothing is here";
    /// There is no such job, or no longer.
    JobUnknown = "job-unknown", NOT_FOUND, "No such job";
    /// The job has no such attempt.
    AttemptUnknown = "attempt-unknown", NOT_FOUND, "No such attempt";
    /// There is no such plugin.
    PluginUnknown = "plugin-unknown", NOT_FOUND, "No such plugin";
    /// No job calls that downstream, and nothing is known of it.
    DownstreamUnknown = "downstream-unknown", NOT_FOUND, "No such downstream";
    /// The path does not answer to this method; `Allow` says to which it does.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// The body took too long.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The body took too long";
    /// The job's state does not allow the act.
    StateConflict = "state-conflict", CONFLICT, "The job's state does not allow it";
    /// While the component was being checked and compiled, the plugin's was removed, replaced or put by somebody else.
    ComponentOvertaken = "component-overtaken", CONFLICT, "The component was overtaken";
    /// The payload, the component or the body as a whole is larger than the host takes.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "Too large";
    /// The path and the query are longer than the host reads.
    UriTooLong = "uri-too-long", URI_TOO_LONG, "The target is too long";
    /// The body is not of the media type that the operation reads.
    MediaTypeUnsupported = "media-type-unsupported", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request";
    /// The payload does not fit the plugin's own schema.
    PayloadRefused = "payload-refused", UNPROCESSABLE_ENTITY, "The plugin's schema refuses the payload";
    /// The component is no plugin.
    ComponentRefused = "component-refused", UNPROCESSABLE_ENTITY, "The component is no plugin";
    /// There are more headers, or larger ones, than the host reads.
    HeadersTooLarge = "headers-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large";
    /// There are as many unfinished jobs as `queue.high_water` allows.
    HighWater = "high-water", TOO_MANY_REQUESTS, "Too many unfinished jobs";
    /// The plugins folder cannot be written.
    FolderUnwritable = "folder-unwritable", INTERNAL_SERVER_ERROR, "The plugins folder cannot be written";
    /// What was read from the store is not what was written.
    StoreDamaged = "store-damaged", INTERNAL_SERVER_ERROR, "The store is damaged";
    /// The host broke off while it answered; its log says where.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The host broke off";
    /// There is no room for the request: as many connections, requests, waits or bodies as the settings allow.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The host has too much to do";
    /// The file of tokens cannot be used, so nobody is admitted.
    TokensUnreadable = "tokens-unreadable", SERVICE_UNAVAILABLE, "The tokens cannot be read";
    /// More callers wait for the store than it takes.
    StoreBusy = "store-busy", SERVICE_UNAVAILABLE, "The store is busy";
    /// The disk is full.
    StoreFull = "store-full", SERVICE_UNAVAILABLE, "The store is full";
    /// A write or a sync failed: nothing is accepted until the host is started anew.
    StoreFailed = "store-failed", SERVICE_UNAVAILABLE, "The store failed";
    /// The host lacked something as it was to load the component.
    LoadFailed = "load-failed", SERVICE_UNAVAILABLE, "The host could not load the component";
    /// The host is starting or stopping.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "The host is not ready";
}

impl ProblemKind {
    /// Whether what else comes over the connection will not be read.
    const fn ends_connection(self) -> bool {
        matches!(self, Self::BodyTimeout | Self::BodyIncomplete | Self::RequestAmbiguous)
    }

    /// After how many seconds the same request may succeed, where that is to be said.
    const fn retry_after_secs(self) -> Option<u32> {
        match self {
            Self::StoreBusy | Self::NotReady | Self::Overloaded => Some(1),
            Self::HighWater | Self::TokensUnreadable | Self::LoadFailed => Some(5),
            Self::StoreFull => Some(10),
            Self::StoreFailed => Some(60),
            _ => None,
        }
    }
}

/// A refusal, on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// What is wrong with this very request, where, and what to do.
    pub detail: String,
    /// More about what to do.
    pub help: Option<String>,
    /// What the header `WWW-Authenticate` says, where a token is the matter.
    pub challenge: Option<String>,
}

/// A refusal, as it is sent (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// The kind of problem: `urn:windlass:problem:` and a word of a closed list.
    #[serde(rename = "type")]
    #[schema(example = "urn:windlass:problem:plugin-unknown")]
    pub kind: String,
    /// The same short words for every problem of the kind.
    pub title: String,
    /// The status of the answer.
    #[schema(example = 404)]
    pub status: u16,
    /// What is wrong with this very request, where, and what to do.
    pub detail: String,
    /// More about what to do, where there is more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

impl Problem {
    /// A problem of that kind. The detail is cleaned, and cut to 1 KiB.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: text::line(&detail.into(), DETAIL_BYTES_MAX), help: None, challenge: None }
    }

    /// The same problem, with its place put in front.
    #[must_use]
    pub(super) fn at(self, place: &str) -> Self {
        self.within(&format!("{place}: "))
    }

    /// The same problem, with the beginning of its place put right in front.
    #[must_use]
    pub(super) fn within(mut self, place: &str) -> Self {
        self.detail = text::line(&format!("{place}{}", self.detail), DETAIL_BYTES_MAX);
        self
    }

    /// The same problem, with a challenge.
    #[must_use]
    pub(super) fn challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> ProblemDocument {
        ProblemDocument {
            kind: format!("{TYPE_PREFIX}{}", self.kind.code()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            help: self.help.clone(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error, None)
    }
}

impl Problem {
    /// What the store refused, after that was `done` already.
    pub(super) fn of_store(error: &StoreError, done: Option<&str>) -> Self {
        let nothing = "nothing was changed";
        let (kind, changed, what_to_do) = match error {
            StoreError::Busy(_) => (ProblemKind::StoreBusy, Some(nothing), "try again soon"),
            StoreError::Full(_) => (ProblemKind::StoreFull, Some(nothing), "make room on the disk"),
            StoreError::Failed(_) | StoreError::Open { .. } | StoreError::Unwritten { .. } => {
                (ProblemKind::StoreFailed, None, "look into the disk, run `windlass doctor`, then start the host anew")
            }
            StoreError::Damaged(_) => (ProblemKind::StoreDamaged, None, "stop the host and run `windlass doctor`"),
        };
        // A store that failed has said so itself, once.
        if kind == ProblemKind::StoreDamaged {
            let request = super::asked::request_id();
            tracing::error!(request.id = request, %error, "a request was refused because of the store");
        }
        let changed = done.or(changed).map(|changed| format!("{changed}; ")).unwrap_or_default();
        Self::new(kind, format!("{error}; {changed}{what_to_do}"))
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        let kind = match error.cause {
            LoadCause::Files => ProblemKind::ComponentRefused,
            LoadCause::Host => ProblemKind::LoadFailed,
        };
        Self { help: error.help, ..Self::new(kind, error.summary) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = self.document();
        let body = serde_json::to_vec(&document).expect("texts and a number are JSON");
        let mut response = (self.kind.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(secs) = self.kind.retry_after_secs() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.kind.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer of a path that does not answer to the method. axum adds `Allow`.
pub(super) async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let detail = format!("{} does not answer to {method}; the header Allow says to what it does", quoted(uri.path()));
    Problem::new(ProblemKind::MethodNotAllowed, detail)
}

/// The answer of a path at which nothing is.
pub(super) async fn route_unknown(uri: axum::http::Uri) -> Problem {
    let detail = format!("nothing is at {}; /openapi.json lists what there is", quoted(uri.path()));
    Problem::new(ProblemKind::RouteUnknown, detail)
}

/// A caller's own word, quoted and cut to a length that fits a line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A reason that may quote a text of any length at its beginning, with its end, which says what is wrong.
pub(super) fn reason(why: &str) -> Cow<'_, str> {
    let mut chars = why.char_indices();
    let head = chars.nth(REASON_CHARS_MAX).map(|(at, _)| at);
    let tail = chars.nth_back(REASON_CHARS_MAX).map(|(at, _)| at);
    match (head, tail) {
        (Some(head), Some(tail)) => format!("{}…{}", &why[..head], &why[tail..]).into(),
        _ => why.into(),
    }
}

#[cfg(test)]
mod tests;
