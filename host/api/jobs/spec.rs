//! From the body of an enqueue to a [`JobSpec`], member by member.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemKind, reason};
use super::super::guard::permit;
use super::super::plugins::ServedPlugin;
use super::super::request::{DEPTH_MAX, RawObject, depth_within};
use super::super::tokens::{Caller, Need};
use crate::clock::UnixMs;
use crate::job::spec::JSON;
use crate::job::units::{ByteSize, TimeSpan};
use crate::job::{JobSpec, RetryOverride};
use crate::plugin::CheckSteps;

/// The members of a job.
const MEMBERS: [&str; 12] = [
    "plugin",
    "payload",
    "payload_base64",
    "content_type",
    "run_at",
    "delay",
    "priority",
    "downstream",
    "limit_key",
    "retry",
    "deadline",
    "labels",
];
/// The media type of bytes that nobody named.
const OCTETS: &str = "application/octet-stream";
/// The longest media type.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// The most labels.
const LABELS_MAX: usize = 32;
/// The longest name of a label.
const LABEL_NAME_CHARS_MAX: usize = 64;
/// The longest value of a label.
const LABEL_VALUE_CHARS_MAX: usize = 256;
/// What the other members of a job may take up in a body, written as wastefully as JSON allows.
const MEMBERS_BYTES_MAX: u64 = 256 << 10;

/// A job to be accepted. Exactly one of `payload` and `payload_base64` is needed.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct JobRequest {
    /// The plugin that handles it.
    #[schema(example = "http")]
    pub plugin: String,
    /// The payload, any JSON, handed to the plugin byte for byte. At most `limits.payload`, nested at most 128 deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// The payload as other bytes, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The media type of `payload_base64`; without it `application/octet-stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The earliest moment of the first attempt (RFC 3339). Not together with `delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub run_at: Option<String>,
    /// How long to wait before the first attempt, for example `10s`. Not together with `run_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "10s")]
    pub delay: Option<String>,
    /// Higher runs first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = 0)]
    pub priority: Option<i16>,
    /// The downstream that it calls, 1 to 200 characters; without it the plugin's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub downstream: Option<String>,
    /// Jobs with the same key, 1 to 200 characters, are limited together, whatever they call: by `key_limits` of the
    /// plugin's file, else to one attempt at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub limit_key: Option<String>,
    /// What is different in its retry policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryOverride>,
    /// The wall time of one attempt, at most the plugin's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "10s")]
    pub deadline: Option<String>,
    /// At most 32 labels to find it by: names of 1 to 64 characters without `:`, values of at most 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a whole request says of each of its jobs.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// Who sent it.
    pub(super) caller: Caller,
    /// When it arrived.
    pub(super) now: UnixMs,
    /// The caller's trace context.
    pub(super) traceparent: Option<String>,
    /// The caller's idempotency key.
    pub(super) idempotency_key: Option<String>,
}

/// The largest body in which one job fits: base64 takes four bytes for three.
pub(super) fn body_most(payload_most: ByteSize) -> ByteSize {
    ByteSize(payload_most.0.saturating_mul(4).div_ceil(3).saturating_add(MEMBERS_BYTES_MAX))
}

/// Reads one job and checks it against its plugin, with the steps that are left for the request. It may take a while: not
/// for a thread that serves.
pub(super) fn read(
    state: &State,
    job: &RawObject<'_>,
    envelope: &Envelope,
    left: &mut CheckSteps,
) -> Result<JobSpec, Problem> {
    let (spec, plugin) = read_members(state, job, envelope)?;
    fits(plugin.check_payload(&spec.content_type, &spec.payload, left))?;
    Ok(spec)
}

/// The same, for a thread that serves: what takes a while is done beside it, in turn with others of the kind.
pub(super) async fn read_beside(state: &State, job: &RawObject<'_>, envelope: &Envelope) -> Result<JobSpec, Problem> {
    let (spec, plugin) = read_members(state, job, envelope)?;
    if let Some(checked) = plugin.check_small_payload(&spec.content_type, &spec.payload) {
        return fits(checked).map(|()| spec);
    }
    let turn = state.door.room.turn().await;
    // Who waits for a turn may wait for long.
    permit(&asked::again(state)?, Need::Enqueue(&spec.plugin)).map_err(|problem| problem.at("plugin"))?;
    let checked = tokio::task::spawn_blocking(move || {
        let checked = plugin.check_payload(&spec.content_type, &spec.payload, &mut CheckSteps::for_jobs(1));
        drop(turn);
        (checked, spec)
    });
    let broke_off = |_| Problem::new(ProblemKind::Internal, "the host broke off while it checked the payload");
    let (checked, spec) = checked.await.map_err(broke_off)?;
    fits(checked).map(|()| spec)
}

/// Reads one job, all but what its plugin's schema says of its payload.
fn read_members(
    state: &State,
    job: &RawObject<'_>,
    envelope: &Envelope,
) -> Result<(JobSpec, Arc<dyn ServedPlugin>), Problem> {
    job.only(&MEMBERS)?;
    // Before anything that depends on the plugin: who may not hand in jobs for it does not learn whether it is there.
    let name = plugin(job, &envelope.caller)?;
    let plugin = state.plugin(&name).map_err(|problem| problem.at("plugin"))?;
    let (content_type, payload) = payload(job, plugin.limits().payload)?;
    let spec = JobSpec {
        downstream: downstream(job, &*plugin, &content_type, &payload)?,
        limit_key: limit_key(job)?,
        run_at: run_at(job, envelope.now)?,
        priority: job.get("priority")?.unwrap_or(0),
        retry: retry(job)?,
        deadline: deadline(job, plugin.limits().deadline)?,
        labels: labels(job)?,
        traceparent: envelope.traceparent.clone(),
        idempotency_key: envelope.idempotency_key.clone(),
        plugin: name,
        content_type,
        payload,
    };
    Ok((spec, plugin))
}

fn fits(checked: Result<(), String>) -> Result<(), Problem> {
    checked.map_err(|why| Problem::new(ProblemKind::PayloadRefused, misfit(&why)))
}

/// The name of the plugin that a job asks for; refused where the caller may not hand in jobs for it.
pub(super) fn plugin(job: &RawObject<'_>, caller: &Caller) -> Result<String, Problem> {
    let name: String = job.get("plugin")?.ok_or_else(|| invalid("plugin", "it is missing; name the plugin"))?;
    permit(caller, Need::Enqueue(&name)).map_err(|problem| problem.at("plugin"))?;
    Ok(name)
}

/// The downstream and the moment that a job asks for, whatever became of its plugin: for one that was taken before.
pub(super) fn asked(job: &RawObject<'_>, plugin: &str, now: UnixMs) -> (String, UnixMs) {
    let downstream = job.get("downstream").ok().flatten().unwrap_or_else(|| plugin.to_owned());
    (downstream, run_at(job, now).unwrap_or(now))
}

/// A misfit begins with its place in the payload; told as a member it needs no article.
fn misfit(why: &str) -> String {
    match why.strip_prefix("the ") {
        Some(place) if place.starts_with("payload") => place.to_owned(),
        _ => format!("payload: {why}"),
    }
}

fn invalid(member: &str, why: &str) -> Problem {
    Problem::new(ProblemKind::MemberInvalid, format!("{member}: {}", reason(why)))
}

fn payload(job: &RawObject<'_>, most: ByteSize) -> Result<(String, Bytes), Problem> {
    match (job.raw("payload"), job.some("payload_base64")) {
        (Some(_), Some(_)) => Err(invalid("payload_base64", "it stands beside payload; give one of the two")),
        (None, None) => Err(invalid("payload", "it is missing; give payload (any JSON) or payload_base64")),
        (Some(json), None) => json_payload(job, json, most),
        (None, Some(_)) => binary_payload(job, most),
    }
}

fn json_payload(job: &RawObject<'_>, json: &RawValue, most: ByteSize) -> Result<(String, Bytes), Problem> {
    if job.some("content_type").is_some() {
        return Err(invalid("content_type", "it belongs to payload_base64; payload is always application/json"));
    }
    within(json.get().len(), most, "payload")?;
    if !depth_within(json.get(), DEPTH_MAX) {
        return Err(invalid("payload", &format!("it is nested more than {DEPTH_MAX} deep")));
    }
    Ok((JSON.to_owned(), Bytes::copy_from_slice(json.get().as_bytes())))
}

fn binary_payload(job: &RawObject<'_>, most: ByteSize) -> Result<(String, Bytes), Problem> {
    let text: String = job.get("payload_base64")?.unwrap_or_default();
    // Four characters are three bytes less the padding: known before anything is decoded.
    let padding = text.bytes().rev().take(2).filter(|&byte| byte == b'=').count();
    within((text.len() / 4 * 3).saturating_sub(padding), most, "payload_base64")?;
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| invalid("payload_base64", &format!("it is not base64 (RFC 4648 §4, padded): {error}")))?;
    let content_type: String = job.get("content_type")?.unwrap_or_else(|| OCTETS.to_owned());
    let is_sound = content_type.len() <= CONTENT_TYPE_BYTES_MAX
        && content_type.contains('/')
        && content_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !is_sound {
        return Err(invalid("content_type", "it must be a media type such as image/png, of at most 255 characters"));
    }
    Ok((content_type, bytes.into()))
}

fn within(bytes: usize, most: ByteSize, member: &str) -> Result<(), Problem> {
    if bytes as u64 > most.0 {
        let detail =
            format!("{member}: it has {bytes} bytes; at most {most} ({} bytes) are taken (limits.payload)", most.0);
        return Err(Problem::new(ProblemKind::TooLarge, detail));
    }
    Ok(())
}

fn limit_key(job: &RawObject<'_>) -> Result<Option<String>, Problem> {
    let key: Option<String> = job.get("limit_key")?;
    if let Some(key) = &key {
        crate::config::downstream_key(key)
            .map_err(|_| invalid("limit_key", "it has 1 to 200 characters without control characters"))?;
    }
    Ok(key)
}

fn downstream(
    job: &RawObject<'_>,
    plugin: &dyn ServedPlugin,
    content_type: &str,
    payload: &[u8],
) -> Result<String, Problem> {
    let Some(key) = job.get::<String>("downstream")? else {
        return Ok(plugin.downstream_of(content_type, payload));
    };
    crate::config::downstream_key(&key).map_err(|why| invalid("downstream", &why))?;
    Ok(key)
}

/// A moment that has passed is now, so that it cannot jump the queue.
fn run_at(job: &RawObject<'_>, now: UnixMs) -> Result<UnixMs, Problem> {
    match (job.get::<String>("run_at")?, job.get::<TimeSpan>("delay")?) {
        (Some(_), Some(_)) => Err(invalid("delay", "it stands beside run_at; give one of the two")),
        (Some(text), None) => UnixMs::parse(&text).map(|at| at.max(now)).map_err(|why| invalid("run_at", &why)),
        (None, Some(delay)) => Ok(now.after(delay.0)),
        (None, None) => Ok(now),
    }
}

fn retry(job: &RawObject<'_>) -> Result<RetryOverride, Problem> {
    let Some(raw) = job.some("retry") else { return Ok(RetryOverride::default()) };
    // An array would be read as the members in their order.
    if !raw.get().starts_with('{') {
        return Err(invalid("retry", "it is not an object; its members are base, factor, cap, jitter, max_attempts"));
    }
    let retry: RetryOverride = super::super::request::value("retry", raw)?;
    retry.validate().map_err(|why| Problem::new(ProblemKind::MemberInvalid, why))?;
    Ok(retry)
}

fn deadline(job: &RawObject<'_>, ceiling: TimeSpan) -> Result<Option<TimeSpan>, Problem> {
    let deadline: Option<TimeSpan> = job.get("deadline")?;
    match deadline {
        Some(asked) if asked > ceiling => {
            let why = format!("{asked} is above the plugin's ceiling of {ceiling} (limits.deadline)");
            Err(invalid("deadline", &why))
        }
        Some(asked) if asked.as_ms() == 0 => Err(invalid("deadline", "no attempt ends in 0ms")),
        other => Ok(other),
    }
}

fn labels(job: &RawObject<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let Some(raw) = job.some("labels") else { return Ok(BTreeMap::new()) };
    let members: RawObject<'_> = super::super::request::value("labels", raw)?;
    let labels: BTreeMap<String, String> = members.each("labels")?;
    if labels.len() > LABELS_MAX {
        let why = format!("there are {}; at most {LABELS_MAX} are kept", labels.len());
        return Err(invalid("labels", &why));
    }
    for (name, value) in &labels {
        let is_other = |letter: char| letter == ':' || letter.is_control();
        if name.is_empty() || name.chars().count() > LABEL_NAME_CHARS_MAX || name.contains(is_other) {
            let why = format!(
                "{}: a name has 1 to {LABEL_NAME_CHARS_MAX} characters, none of them a colon or a control character",
                super::super::error::quoted(name)
            );
            return Err(invalid("labels", &why));
        }
        if value.chars().count() > LABEL_VALUE_CHARS_MAX {
            let why = format!("{name:?}: its value is longer than {LABEL_VALUE_CHARS_MAX} characters");
            return Err(invalid("labels", &why));
        }
        if value.contains(char::is_control) {
            return Err(invalid("labels", &format!("{name:?}: its value holds a control character")));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
