//! Reading requests: paths, queries, headers and bodies, each refusal naming the thing and its place.

mod body;
mod json;
mod page;
mod query;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;

pub(super) use body::{HeldBody, json_body, read_body};
pub(super) use json::{DEPTH_MAX, RawObject, depth_within, object, value};
pub(super) use page::{cursor, limit, read_cursor};
pub(super) use query::{Query, invalid};

use super::State;
use super::error::{Problem, ProblemKind, quoted};
use crate::job::JobId;
use crate::job::spec::is_idempotency_key;
use crate::plugin::is_plugin_name;

/// The id of a job, from the path. What cannot be the id of a job is no job's.
pub(super) struct JobPath(pub(super) JobId);

impl FromRequestParts<State> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state).await.map_err(unknown_path)?;
        job_id(&text).map(Self)
    }
}

/// The id of a job and the number of an attempt, from the path.
pub(super) struct AttemptPath(pub(super) JobId, pub(super) u32);

impl FromRequestParts<State> for AttemptPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let Path((id, n)): Path<(String, String)> =
            Path::from_request_parts(parts, state).await.map_err(unknown_path)?;
        let id = job_id(&id)?;
        let n = n.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
            let detail = format!("{} is not the number of an attempt; the first is 1", quoted(&n));
            Problem::new(ProblemKind::AttemptUnknown, detail)
        })?;
        Ok(Self(id, n))
    }
}

/// The name of a plugin, from the path.
pub(super) struct PluginPath(pub(super) String);

impl FromRequestParts<State> for PluginPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let Path(name): Path<String> = Path::from_request_parts(parts, state).await.map_err(unknown_path)?;
        if !is_plugin_name(&name) {
            let detail = format!("{} is not a plugin's name: a name is [a-z0-9][a-z0-9-]{{0,62}}", quoted(&name));
            return Err(Problem::new(ProblemKind::PluginNameInvalid, detail));
        }
        Ok(Self(name))
    }
}

/// The key of a downstream, from the path.
pub(super) struct DownstreamPath(pub(super) String);

impl FromRequestParts<State> for DownstreamPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let Path(key) = Path::from_request_parts(parts, state).await.map_err(unknown_path)?;
        Ok(Self(key))
    }
}

fn unknown_path(rejection: PathRejection) -> Problem {
    Problem::new(ProblemKind::RouteUnknown, format!("the path cannot be read: {}", rejection.body_text()))
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("{} is not the id of a job; ids are UUIDs of version 7", quoted(text));
        Problem::new(ProblemKind::JobUnknown, detail)
    })
}

/// The value of a header that may be there once, as text.
pub(super) fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let refusal = |why: &str| Problem::new(ProblemKind::HeaderInvalid, format!("the header {name} {why}"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| refusal("is not visible ASCII")),
        (Some(_), Some(_)) => Err(refusal("stands there more than once; send it once")),
    }
}

/// The caller's idempotency key.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = single_header(headers, "Idempotency-Key")? else { return Ok(None) };
    if is_idempotency_key(key) {
        return Ok(Some(key.to_owned()));
    }
    let detail = "the header Idempotency-Key must be 1 to 255 visible ASCII characters without spaces";
    Err(Problem::new(ProblemKind::HeaderInvalid, detail))
}

/// The caller's trace context where it is well-formed (W3C Trace Context); anything else is as if it were not there, as
/// that standard asks.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = single_header(headers, "traceparent").ok()??;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let is_sound = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none())
        && text.len() <= 512;
    is_sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        for good in [&b"k"[..], b"order-7/\"x\"", &[b'x'; 255]] {
            assert!(idempotency_key(&headers("idempotency-key", &[good])).unwrap().is_some());
        }
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        for bad in [&[&b""[..]][..], &[b"a b"], &[&[0xe9]], &[&[b'x'; 256]], &[b"a", b"a"]] {
            let problem = idempotency_key(&headers("idempotency-key", bad)).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::HeaderInvalid);
            assert!(problem.detail.contains("Idempotency-Key"), "{problem:?}");
        }
    }

    #[test]
    fn only_a_sound_trace_context_is_kept() {
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers("traceparent", &[sound.as_bytes()])).as_deref(), Some(sound));
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(traceparent(&headers("traceparent", &[bad.as_bytes()])), None, "{bad}");
        }
    }
}
