//! A job and its attempts, as they are told.
//!
//! What the contract marks as optional is absent where it does not apply (`waiting`, `retry_after_ms`, `next_run_at`,
//! and one of the two forms of a payload or a result); everything else is always there, as null where there is nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::State;
use super::super::request::DEPTH_MAX;
use super::result::{Attribute, ToldResult, json};
use crate::clock::UnixMs;
use crate::job::spec::JSON;
use crate::job::{JobId, OutcomeKind, State as JobState, WaitReason, Waiting};
use crate::store::{Act, AttemptView, JobView};

/// A job as lists tell it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobSummary {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    /// The plugin that handles it.
    pub plugin: String,
    /// Where it stands.
    pub state: JobState,
    /// Why it does not run though it could; absent where nothing holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// How many attempts it has had, the running one included.
    pub attempt: u32,
    /// How many counted attempts it has in all.
    pub max_attempts: u32,
    /// When the next attempt is due, or the last one was.
    #[schema(value_type = String, format = DateTime)]
    pub run_at: UnixMs,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: UnixMs,
    /// When it became final.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<UnixMs>,
    /// The downstream that it calls.
    pub downstream: String,
    /// The key under which it is limited together with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_key: Option<String>,
    /// Higher runs first.
    pub priority: i16,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A whole job.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct JobDocument {
    /// What lists tell, too.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// The payload, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// The payload in base64, where it is not JSON, or nested more than 128 deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The media type of the payload, where it is not `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The result: JSON as JSON, text as a string, null where there is none or it is in `result_base64`.
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
    /// The result in base64, where it is neither JSON nor text, or JSON that is nested more than 126 deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// The media type of the result.
    pub result_content_type: Option<String>,
    /// What the plugin wanted kept beside the result.
    pub result_attributes: Vec<Attribute>,
    /// The attempts, oldest first.
    pub attempts: Vec<AttemptDocument>,
    /// What people did to it, oldest first.
    pub acts: Vec<Act>,
}

/// A job of which no more is known than what was done to it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobInBrief {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    /// Where that left it.
    pub state: JobState,
}

/// A job to which something was done.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum ActedJob {
    /// As it stands now.
    Whole(Box<JobDocument>),
    /// Where it cannot be read now.
    InBrief(JobInBrief),
}

/// An attempt.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AttemptDocument {
    /// Its number, from 1.
    pub n: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: UnixMs,
    /// When it ended; null while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<UnixMs>,
    /// What it ended in; null while it runs.
    pub outcome: Option<OutcomeKind>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// What went wrong, for programs.
    pub code: Option<String>,
    /// How long the downstream asked to be left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// When the next one was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<UnixMs>,
    /// The revision that ran: the sha256 of the component.
    pub revision: Option<String>,
    /// Time inside the guest, in milliseconds.
    pub cpu_ms: f64,
    /// The most that all memories and tables held together.
    pub memory_peak_bytes: u64,
}

impl JobSummary {
    /// What lists tell of a job.
    pub(in super::super) fn of(state: &State, view: &JobView) -> Self {
        let spec = &view.spec;
        Self {
            id: view.id,
            state: view.state,
            waiting: waiting(state, view),
            attempt: view.attempt,
            max_attempts: max_attempts(state, view),
            run_at: view.run_at,
            created_at: view.created_at,
            finished_at: view.finished_at,
            plugin: spec.plugin.clone(),
            downstream: spec.downstream.clone(),
            limit_key: spec.limit_key.clone(),
            priority: spec.priority,
            labels: spec.labels.clone(),
            last_error: view.last_error.clone(),
        }
    }
}

impl JobDocument {
    /// All of a job.
    pub(in super::super) fn of(state: &State, view: JobView) -> Self {
        let summary = JobSummary::of(state, &view);
        let content_type = view.spec.content_type;
        let payload = json(&content_type, &view.spec.payload, DEPTH_MAX);
        let other = payload.is_none().then(|| STANDARD.encode(&view.spec.payload));
        let told = view.result.map(ToldResult::of).unwrap_or_default();
        Self {
            summary,
            content_type: (content_type != JSON).then_some(content_type),
            payload,
            payload_base64: other,
            result: told.value,
            result_base64: told.base64,
            result_content_type: told.content_type,
            result_attributes: told.attributes,
            attempts: view.attempts.into_iter().map(AttemptDocument::from).collect(),
            acts: view.acts,
        }
    }
}

impl JobDocument {
    /// The same without what can be large: payload, result and attempts.
    pub(super) fn in_short(self) -> Self {
        Self {
            payload: None,
            payload_base64: None,
            content_type: None,
            result: None,
            result_base64: None,
            result_attributes: Vec::new(),
            attempts: Vec::new(),
            ..self
        }
    }
}

impl From<AttemptView> for AttemptDocument {
    fn from(view: AttemptView) -> Self {
        Self {
            n: view.n,
            started_at: view.started_at,
            finished_at: view.finished_at,
            outcome: view.kind,
            error: view.error,
            code: view.code,
            retry_after_ms: view.delay_ms,
            next_run_at: view.next_run_at,
            revision: view.revision,
            cpu_ms: view.cpu_us as f64 / 1e3,
            memory_peak_bytes: view.memory_peak_bytes,
        }
    }
}

/// Why a due job does not run.
fn waiting(state: &State, view: &JobView) -> Option<Waiting> {
    if view.state.end().is_some() || view.state == JobState::Running {
        return None;
    }
    if view.held {
        return Some(wants_grant(state, view));
    }
    let now = state.now();
    let is_due = view.state == JobState::Available || view.run_at <= now;
    let lane = view.spec.lane().to_lane();
    is_due.then(|| state.gates().why_waiting(&lane, now)).flatten()
}

/// The job waits until the operator edits the grants: says where.
fn wants_grant(state: &State, view: &JobView) -> Waiting {
    let file = format!("{}.toml", view.spec.plugin);
    let path = state.config.plugins.dir.join(&file);
    let detail = match view.last_error.as_deref() {
        // The refusal says itself what to write where.
        Some(error) if error.contains(&file) => error.to_owned(),
        Some(error) => format!("{error}; grant it in {} and the job goes on", path.display()),
        None => format!("grant what it asks for in {} and the job goes on", path.display()),
    };
    Waiting { reason: WaitReason::GrantMissing, until: None, detail: Some(detail) }
}

/// How many counted attempts a job has: by its own words, then its plugin's, then the host's; but no fewer than it has had,
/// with the one that a person's retry promised.
fn max_attempts(state: &State, view: &JobView) -> u32 {
    let host = state.config.retry.policy();
    let plugin = state.loader.get(&view.spec.plugin);
    let policy = plugin.map_or(host, |plugin| host.overridden(&plugin.file().retry));
    policy.overridden(&view.spec.retry).owing(view.owed, view.failed).max_attempts.max(view.failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Api, FakePlugin, NOW, json, view};
    use crate::job::PluginStanding;
    use crate::job::gates::{Admission as _, Admit};

    #[test]
    fn a_payload_is_told_in_one_of_two_forms() {
        let api = Api::new();
        let value = serde_json::to_value(JobDocument::of(&api.state, view("echo"))).unwrap();
        assert_eq!(value["payload"], json!({"n": 1}));
        assert!(value.get("payload_base64").is_none() && value.get("content_type").is_none());
        let mut other = view("echo");
        (other.spec.content_type, other.spec.payload) = ("image/png".into(), vec![0_u8, 255].into());
        let value = serde_json::to_value(JobDocument::of(&api.state, other)).unwrap();
        assert_eq!((&value["payload_base64"], &value["content_type"]), (&json!("AP8="), &json!("image/png")));
        assert!(value.get("payload").is_none());
        let mut event = view("echo");
        event.spec.content_type = "application/cloudevents+json".into();
        let value = serde_json::to_value(JobDocument::of(&api.state, event)).unwrap();
        assert_eq!(
            (&value["payload"], &value["content_type"]),
            (&json!({"n": 1}), &json!("application/cloudevents+json"))
        );
    }

    #[test]
    fn a_due_job_says_why_it_waits() {
        let api = Api::new().plugin("echo");
        let reason = |view: &JobView| waiting(&api.state, view).map(|waiting| waiting.reason);
        let due = view("echo");
        assert_eq!(reason(&due), None, "it is about to run");
        assert_eq!(reason(&view("nobody")), Some(WaitReason::PluginMissing));
        api.state.gates().set_standing("echo", PluginStanding::Broken("no export".into()));
        assert_eq!(reason(&due), Some(WaitReason::PluginBroken));
        api.state.gates().set_paused("echo", true);
        assert_eq!(reason(&due), Some(WaitReason::Paused));
        let detail = waiting(&api.state, &due).and_then(|waiting| waiting.detail).unwrap();
        assert_eq!(detail, "it is broken as well: no export", "to let it go on is not enough");
        for state in [JobState::Running, JobState::Completed] {
            assert_eq!(reason(&JobView { state, ..due.clone() }), None, "{state}");
        }
        let later = JobView { state: JobState::Retryable, run_at: crate::clock::UnixMs(NOW.0 + 1), ..due.clone() };
        assert_eq!(reason(&later), None, "it waits for its time");
        assert_eq!(reason(&JobView { state: JobState::Retryable, ..due }), Some(WaitReason::Paused), "it is due");
    }

    #[test]
    fn a_full_plugin_says_so() {
        let api = Api::new();
        let mut plugin = FakePlugin::named("echo");
        plugin.file.concurrency = Some(1);
        api.plugins.put(plugin);
        api.stand("echo");
        assert_eq!(api.state.gates().admit(&crate::job::Lane::new("echo", "echo"), NOW), Admit::Yes);
        assert_eq!(waiting(&api.state, &view("echo")).map(|waiting| waiting.reason), Some(WaitReason::Concurrency));
    }

    #[test]
    fn a_held_job_names_the_file_to_edit() {
        let api = Api::new().plugin("echo");
        let held = JobView { held: true, last_error: Some("https://x is not granted".into()), ..view("echo") };
        let waiting = waiting(&api.state, &held).unwrap();
        assert_eq!(waiting.reason, WaitReason::GrantMissing);
        let detail = waiting.detail.unwrap();
        assert!(detail.contains("https://x is not granted") && detail.contains("plugins/echo.toml"), "{detail}");
        let told = "add \"https://x\" to origins in plugins/echo.toml";
        let held = JobView { last_error: Some(told.into()), ..held };
        assert_eq!(super::waiting(&api.state, &held).unwrap().detail.as_deref(), Some(told), "once is enough");
    }

    #[test]
    fn the_narrowest_policy_counts_the_attempts() {
        let api = Api::new();
        let mut job = view("echo");
        assert_eq!(max_attempts(&api.state, &job), 20);
        let mut plugin = FakePlugin::named("echo");
        plugin.file.retry.max_attempts = Some(8);
        api.plugins.put(plugin);
        assert_eq!(max_attempts(&api.state, &job), 8);
        job.spec.retry.max_attempts = Some(3);
        assert_eq!(max_attempts(&api.state, &job), 3);
        job.failed = 3;
        assert_eq!(max_attempts(&api.state, &job), 3);
        job.owed = true;
        assert_eq!(max_attempts(&api.state, &job), 4, "a person's retry is one more");
    }

    #[test]
    fn what_there_is_not_is_null_and_what_does_not_apply_is_absent() {
        let value = serde_json::to_value(JobDocument::of(&Api::new().plugin("echo").state, view("echo"))).unwrap();
        for null in ["finished_at", "last_error", "result", "result_content_type"] {
            assert_eq!(value.get(null), Some(&json!(null)), "{null}");
        }
        for absent in ["waiting", "payload_base64", "content_type", "result_base64"] {
            assert_eq!(value.get(absent), None, "{absent}");
        }
    }
}
