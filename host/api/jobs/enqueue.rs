//! `POST /v1/jobs`: accepts one job.

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::State;
use super::super::arriving::Ticket;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument, ProblemKind};
use super::super::request::{RawObject, idempotency_key, json_body, object, traceparent};
use super::room::has_room;
use super::spec::{self, Envelope, JobRequest};
use crate::clock::UnixMs;
use crate::job::{JobId, JobSpec, State as JobState};
use crate::store::{Enqueued, NewJob};

/// Says that the answer repeats an earlier one.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An accepted job.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Accepted {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: JobId,
    /// Where it stands. Null where an earlier request's job was finished and deleted since.
    pub state: Option<JobState>,
    /// The plugin that handles it.
    pub plugin: String,
    /// The downstream that it calls.
    pub downstream: String,
    /// The earliest moment of the next attempt.
    #[schema(value_type = String, format = DateTime)]
    pub run_at: UnixMs,
}

/// Accept a job
///
/// Answers when the job is on disk, synced. With an `Idempotency-Key`, a repeat of the same body is answered with the
/// same job, also where there is no room for another or its plugin is gone; the key is remembered for at least 24 hours,
/// and as long as the job lives.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", request_body = JobRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context, stored and passed on"),
    ),
    responses(
        (status = 202, description = "It is on disk", body = Accepted, headers(
            ("Location" = String, description = "The path of the job"))),
        (status = 200, description = "The same request came before", body = Accepted, headers(
            ("Idempotency-Replayed" = bool, description = "true"))),
        (status = 400, description = "Malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "Sent by a page of another site", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Refused by the plugin's schema, or the key belongs to another request", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many unfinished jobs", body = ProblemDocument, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "Seconds"))),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(in super::super) async fn enqueue(Shared(state): Shared<State>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers();
    let (key, traceparent) = (idempotency_key(headers)?, traceparent(headers));
    let most = spec::body_most(state.config.limits.payload);
    let told = format!("limits.payload is {}", state.config.limits.payload);
    let body = json_body(&state, request, most, &told).await?;
    let envelope = Envelope { caller: body.sender().clone(), now: state.now(), traceparent, idempotency_key: key };
    let (job, request_digest) = (object(&body)?, Sha256::digest(&*body).into());
    let (spec, ticket) = match admitted(&state, &job, &envelope).await {
        Ok(admitted) => admitted,
        Err(problem) => return answered_before(&state, &job, &envelope, request_digest).await?.ok_or(problem),
    };
    let accepted = accepted(&spec, envelope.now);
    let (store, metrics, plugin, now) = (state.store.clone(), state.metrics.clone(), spec.plugin.clone(), envelope.now);
    let new = NewJob { spec, request_digest };
    let enqueued = asked::to_its_end(async move {
        let enqueued = store.enqueue(vec![new], now).await;
        drop(ticket);
        if let Ok([Enqueued::Created(_)]) = enqueued.as_deref() {
            metrics.jobs_enqueued(&plugin, 1);
        }
        // Held until the job, which has a copy of its payload, is on disk.
        drop(body);
        enqueued
    });
    match enqueued.await?.as_slice() {
        [Enqueued::Created(id)] => Ok((StatusCode::ACCEPTED, location(*id), Json(accepted(*id))).into_response()),
        [Enqueued::Replayed(id)] => replayed(&state, *id, || accepted(*id)).await,
        [Enqueued::KeyReused(_)] => Err(key_reused()),
        _ => Err(Problem::new(ProblemKind::Internal, "the store gave no answer for the job")),
    }
}

/// The job that is asked for, where its plugin takes it and there is room for it.
async fn admitted(state: &State, job: &RawObject<'_>, envelope: &Envelope) -> Result<(JobSpec, Ticket), Problem> {
    let spec = spec::read_beside(state, job, envelope).await?;
    let ticket = has_room(state, [(spec.plugin.as_str(), 1)].into_iter())?;
    Ok((spec, ticket))
}

/// The answer to a request that could not be taken now, where it repeats one that was: neither a full queue nor what
/// became of the plugin plays a part in that. None where nothing is remembered under its key, or it has none.
async fn answered_before(
    state: &State,
    job: &RawObject<'_>,
    envelope: &Envelope,
    request_digest: [u8; 32],
) -> Result<Option<Response>, Problem> {
    let Some(key) = &envelope.idempotency_key else { return Ok(None) };
    // Who may not hand in jobs for the plugin learns nothing of the key either.
    let Ok(plugin) = spec::plugin(job, &asked::again(state)?) else { return Ok(None) };
    match state.store.keyed(key).await? {
        Some(known) if known.request_digest == request_digest => {
            let asked = || {
                let (downstream, run_at) = spec::asked(job, &plugin, envelope.now);
                Accepted { id: known.id, state: None, plugin, downstream, run_at }
            };
            replayed(state, known.id, asked).await.map(Some)
        }
        Some(_) => Err(key_reused()),
        None => Ok(None),
    }
}

/// What is told of a job once its id is known.
fn accepted(spec: &JobSpec, now: UnixMs) -> impl FnOnce(JobId) -> Accepted + use<> {
    let state = Some(if spec.run_at > now { JobState::Scheduled } else { JobState::Available });
    let (plugin, downstream, run_at) = (spec.plugin.clone(), spec.downstream.clone(), spec.run_at);
    move |id| Accepted { id, state, plugin, downstream, run_at }
}

/// The earlier request's job as it stands now; where it was deleted since, what was `asked` for.
async fn replayed(state: &State, id: JobId, asked: impl FnOnce() -> Accepted) -> Result<Response, Problem> {
    let told = match state.store.job(id, state.now()).await? {
        Some(job) => Accepted {
            id,
            state: Some(job.state),
            plugin: job.spec.plugin,
            downstream: job.spec.downstream,
            run_at: job.run_at,
        },
        None => Accepted { state: None, ..asked() },
    };
    let mut headers = location(id);
    headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok((StatusCode::OK, headers, Json(told)).into_response())
}

/// Does not name the other job, which the caller may have no business with.
fn key_reused() -> Problem {
    let detail = "the header Idempotency-Key came before with another body; nothing was stored; send a repeat with the \
                  same body, and every other job with a key of its own";
    Problem::new(ProblemKind::IdempotencyKeyReused, detail)
}

fn location(id: JobId) -> HeaderMap {
    let path = HeaderValue::from_str(&format!("/v1/jobs/{id}")).expect("an id is visible ASCII");
    HeaderMap::from_iter([(LOCATION, path)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Api, FakePlugin, json};
    use crate::config::Config;
    use crate::job::units::ByteSize;
    use crate::plugin::{LoadCause, LoadError};

    #[tokio::test]
    async fn what_is_accepted_is_counted_also_where_the_client_goes_away() {
        let one = json!({"plugin": "echo", "payload": 1});
        for (path, body, count) in
            [("/v1/jobs", one.clone(), 1), ("/v1/jobs/batch", json!({"jobs": [one.clone(), one]}), 2)]
        {
            let mut waits = 1;
            loop {
                let api = Api::new().plugin("echo");
                let came = Api::left_after(waits, api.post(path, body.clone())).await;
                let metrics = String::from_utf8(api.get("/metrics").await.body.to_vec()).unwrap();
                let counted = format!("windlass_jobs_enqueued_total{{plugin=\"echo\"}} {count}");
                assert_eq!(api.store.len() == count, metrics.contains(&counted), "{path} after {waits} waits");
                if came {
                    break;
                }
                waits += 1;
            }
            assert!(waits > 1, "{path} was waited for");
        }
    }

    #[tokio::test]
    async fn a_job_is_accepted_with_its_place() {
        let api = Api::new().plugin("echo");
        let answer = api.post("/v1/jobs", json!({"plugin": "echo", "payload": {"a": 1}})).await;
        assert_eq!(answer.status, 202);
        let body = answer.json();
        assert_eq!(answer.header("location").unwrap(), format!("/v1/jobs/{}", body["id"].as_str().unwrap()));
        assert_eq!((&body["state"], &body["plugin"]), (&json!("available"), &json!("echo")));
        assert_eq!((&body["downstream"], &body["run_at"]), (&json!("echo"), &json!("2026-01-02T03:04:05.007Z")));
        let later = api.post("/v1/jobs", json!({"plugin": "echo", "payload": 1, "delay": "10s"})).await.json();
        assert_eq!((&later["state"], &later["run_at"]), (&json!("scheduled"), &json!("2026-01-02T03:04:15.007Z")));
    }

    #[tokio::test]
    async fn a_repeat_under_the_same_key_is_the_same_job() {
        let api = Api::new().plugin("echo");
        let send = async |payload: u32| {
            let job = json!({"plugin": "echo", "payload": payload});
            api.send_with("POST", "/v1/jobs", &[("idempotency-key", "k")], Some(job)).await
        };
        let first = send(1).await;
        assert_eq!((first.status, first.header("idempotency-replayed")), (202, None));
        let id = first.json()["id"].clone();
        let second = send(1).await;
        assert_eq!((second.status, second.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!((&second.json()["id"], &second.json()["state"]), (&id, &json!("available")));
        assert_eq!(second.header("location"), first.header("location"));
        let problem = send(2).await.problem(ProblemKind::IdempotencyKeyReused);
        assert!(!problem.detail.contains(id.as_str().unwrap()), "it may be somebody else's: {problem:?}");
        assert_eq!(api.store.len(), 1);
    }

    /// An accepted job under a key, then what comes between, then the same body and another one under that key.
    async fn repeated_after(api: Api, between: impl FnOnce(&Api)) {
        let send = async |payload: u32| {
            let job = json!({"plugin": "echo", "payload": payload, "downstream": "erp"});
            api.send_with("POST", "/v1/jobs", &[("idempotency-key", "k")], Some(job)).await
        };
        let first = send(1).await;
        assert_eq!(first.status, 202);
        between(&api);
        let second = send(1).await;
        assert_eq!((second.status, second.header("idempotency-replayed")), (200, Some("true")), "{:?}", second.body);
        assert_eq!(second.json(), first.json());
        assert_eq!(second.header("location"), first.header("location"));
        send(2).await.problem(ProblemKind::IdempotencyKeyReused);
        assert_eq!(api.store.len(), 1);
    }

    #[tokio::test]
    async fn a_repeat_is_answered_above_the_high_water_mark() {
        let mut config = Config::default();
        config.queue.high_water = 1;
        repeated_after(Api::with_config(config).plugin("echo"), |_| {}).await;
    }

    #[tokio::test]
    async fn a_repeat_is_answered_after_its_plugin_is_gone_or_another() {
        repeated_after(Api::new().plugin("echo"), |api| api.plugins.forget("echo")).await;
        let strict = || FakePlugin { refuses: Some("/a: it is missing".into()), ..FakePlugin::named("echo") };
        repeated_after(Api::new().plugin("echo"), |api| api.plugins.put(strict())).await;
        let mut small = FakePlugin::named("echo");
        small.limits.payload = ByteSize(0);
        repeated_after(Api::new().plugin("echo"), |api| api.plugins.put(small)).await;
    }

    #[tokio::test]
    async fn what_takes_a_schema_long_is_looked_at_beside_the_threads_that_serve() {
        let checked_on = std::sync::Arc::<std::sync::Mutex<Vec<_>>>::default();
        let api = Api::new();
        let slow = FakePlugin { checked_on: Some(checked_on.clone()), ..FakePlugin::named("slow") };
        api.plugins.put(slow.clone());
        let job = json!({"plugin": "slow", "payload": 1});
        assert_eq!(api.post("/v1/jobs", job.clone()).await.status, 202);
        assert_eq!(api.post("/v1/jobs/batch", json!({"jobs": [job]})).await.status, 202);
        api.plugins.put(FakePlugin { refuses: Some("/a: no".into()), ..slow });
        api.post("/v1/jobs", json!({"plugin": "slow", "payload": 1})).await.problem(ProblemKind::PayloadRefused);
        let checked_on = checked_on.lock().unwrap();
        assert!(checked_on.len() == 3 && !checked_on.contains(&std::thread::current().id()), "{checked_on:?}");
    }

    #[tokio::test]
    async fn a_bad_key_is_refused() {
        let api = Api::new().plugin("echo");
        let job = Some(json!({"plugin": "echo", "payload": 1}));
        let answer = api.send_with("POST", "/v1/jobs", &[("idempotency-key", "a b")], job).await;
        answer.problem(ProblemKind::HeaderInvalid);
    }

    #[tokio::test]
    async fn the_trace_context_and_the_key_are_kept() {
        let api = Api::new().plugin("echo");
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = [("traceparent", parent), ("idempotency-key", "k")];
        api.send_with("POST", "/v1/jobs", &headers, Some(json!({"plugin": "echo", "payload": 1}))).await;
        let spec = api.store.specs().remove(0);
        assert_eq!((spec.traceparent.as_deref(), spec.idempotency_key.as_deref()), (Some(parent), Some("k")));
    }

    #[tokio::test]
    async fn a_body_that_is_no_object_is_malformed() {
        let api = Api::new().plugin("echo");
        for text in ["", "{", "[]", "\"x\"", "{\"plugin\":\"echo\",\"payload\":1,}"] {
            let problem = api.post_text("/v1/jobs", "application/json", text).await.problem(ProblemKind::BodyMalformed);
            assert!(problem.detail.contains("line 1 column"), "{problem:?}");
        }
        let deep = format!("{{\"plugin\":\"echo\",\"payload\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        api.post_text("/v1/jobs", "application/json", &deep).await.problem(ProblemKind::MemberInvalid);
        assert_eq!(api.store.len(), 0);
    }

    #[tokio::test]
    async fn another_media_type_is_refused() {
        let api = Api::new().plugin("echo");
        let problem = api.post_text("/v1/jobs", "text/plain", "{}").await.problem(ProblemKind::MediaTypeUnsupported);
        assert!(problem.detail.contains("application/json") && problem.detail.contains("text/plain"), "{problem:?}");
        // What curl says of itself is no reason to refuse, and neither is to say nothing.
        let job = r#"{"plugin": "echo", "payload": 1}"#;
        let told = api.post_text("/v1/jobs", "application/x-www-form-urlencoded", job).await;
        assert_eq!(told.status, 202);
        let untold = Request::post("/v1/jobs").header("host", "localhost").body(axum::body::Body::from(job)).unwrap();
        assert_eq!(api.request(untold).await.status, 202);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_with_both_sizes() {
        let mut config = Config::default();
        config.limits.payload = ByteSize(1 << 10);
        let api = Api::with_config(config).plugin("echo");
        let long = format!("\"{}\"", "x".repeat(1 << 20));
        let problem = api.post_text("/v1/jobs", "application/json", &long).await.problem(ProblemKind::TooLarge);
        assert!(
            problem.detail.contains("limits.payload is 1KiB") && problem.detail.contains("more than"),
            "{problem:?}"
        );
    }

    #[tokio::test]
    async fn above_the_high_water_mark_nothing_is_stored() {
        let mut config = Config::default();
        config.queue.high_water = 1;
        let api = Api::with_config(config).plugin("echo");
        let job = || json!({"plugin": "echo", "payload": 1});
        assert_eq!(api.post("/v1/jobs", job()).await.status, 202);
        let answer = api.post("/v1/jobs", job()).await;
        assert!(answer.header("retry-after").is_some_and(|secs| secs.parse::<u32>().unwrap() > 0));
        answer.problem(ProblemKind::HighWater);
        assert_eq!(api.store.len(), 1);
    }

    #[tokio::test]
    async fn a_job_of_a_plugin_that_cannot_run_is_accepted_and_waits() {
        let api = Api::new();
        api.plugins.put(FakePlugin { revision: None, ..FakePlugin::named("gone") });
        let error = LoadError { summary: "no export".into(), help: None, cause: LoadCause::Files };
        api.plugins.put(FakePlugin { revision: None, load_error: Some(error), ..FakePlugin::named("bad") });
        for name in ["gone", "bad"] {
            assert_eq!(api.post("/v1/jobs", json!({"plugin": name, "payload": 1})).await.status, 202);
        }
        api.post("/v1/jobs", json!({"plugin": "nobody", "payload": 1})).await.problem(ProblemKind::PluginUnknown);
    }
}
