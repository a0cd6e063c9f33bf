//! `POST /v1/jobs/batch`: accepts many jobs, or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument, ProblemKind};
use super::super::guard::{room_before, with_room};
use super::super::request::{HeldBody, RawObject, json_body, object, traceparent, value};
use super::room::has_room;
use super::spec::{self, Envelope, JobRequest};
use crate::clock::UnixMs;
use crate::job::JobId;
use crate::plugin::CheckSteps;
use crate::store::{Enqueued, NewJob, StoreError};

/// The most jobs of one batch.
const JOBS_MAX: usize = 10_000;

/// An id in the answer, with its quotes and its comma.
const ID_BYTES: u64 = 39;

/// Jobs to be accepted, all or none.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes the body, which is read member by member")]
pub struct BatchRequest {
    /// 1 to 10,000 jobs.
    #[schema(min_items = 1, max_items = 10000)]
    jobs: Vec<JobRequest>,
}

/// The accepted jobs.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BatchAccepted {
    /// Their ids, in the order of the jobs.
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<JobId>,
}

/// Accept many jobs
///
/// All or none: a mistake in one job refuses the whole, and names the job. The body is at most `server.batch`.
/// `Idempotency-Key` is not taken here.
#[utoipa::path(
    post, path = "/v1/jobs/batch", tag = "jobs", request_body = BatchRequest,
    params(("traceparent" = Option<String>, Header, description = "W3C Trace Context, stored and passed on")),
    responses(
        (status = 202, description = "They are on disk", body = BatchAccepted),
        (status = 400, description = "Malformed; the detail names the job", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such plugin", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "Refused by a plugin's schema", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many unfinished jobs", body = ProblemDocument, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "Seconds"))),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json", headers(
            ("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(in super::super) async fn batch(Shared(state): Shared<State>, request: Request) -> Result<Response, Problem> {
    if request.headers().contains_key("idempotency-key") {
        let detail = "the header Idempotency-Key belongs to one job; send jobs that need a key one by one";
        return Err(Problem::new(ProblemKind::HeaderInvalid, detail));
    }
    let (now, traceparent) = (state.now(), traceparent(request.headers()));
    let told = format!("server.batch is {}", state.config.server.batch);
    let body = json_body(&state, request, state.config.server.batch, &told).await?;
    let body = Arc::new(body);
    let jobs = read_off_thread(state.clone(), body.clone(), now, traceparent).await?;
    let by_plugin = count_by_plugin(&jobs);
    let ticket = has_room(&state, by_plugin.iter().map(|(plugin, count)| (plugin.as_str(), *count)))?;
    let room = room_before(&state.door.room, jobs.len() as u64 * ID_BYTES)?;
    let (store, metrics) = (state.store.clone(), state.metrics.clone());
    let enqueued = asked::to_its_end(async move {
        let enqueued = store.enqueue(jobs, now).await;
        drop(ticket);
        let enqueued = enqueued?;
        by_plugin.iter().for_each(|(plugin, count)| metrics.jobs_enqueued(plugin, *count));
        // Held until the jobs, which have copies of its payloads, are on disk.
        drop(body);
        Ok::<_, StoreError>(enqueued)
    });
    let enqueued = enqueued.await?;
    let ids = enqueued.iter().map(id_of).collect::<Result<_, _>>()?;
    Ok(with_room((StatusCode::ACCEPTED, Json(BatchAccepted { ids })).into_response(), room))
}

/// Ten thousand jobs take long enough to read that others would notice.
async fn read_off_thread(
    state: State,
    body: Arc<HeldBody>,
    now: UnixMs,
    traceparent: Option<String>,
) -> Result<Vec<NewJob>, Problem> {
    let turn = state.door.room.turn().await;
    // Who waits for a turn may wait for long.
    let envelope = Envelope { caller: asked::again(&state)?, now, traceparent, idempotency_key: None };
    let read = tokio::task::spawn_blocking(move || {
        let read = read(&state, &body, &envelope);
        drop(turn);
        read
    });
    let read = read.await;
    read.unwrap_or_else(|_| Err(Problem::new(ProblemKind::Internal, "the host broke off while it read the batch")))
}

fn read(state: &State, body: &[u8], envelope: &Envelope) -> Result<Vec<NewJob>, Problem> {
    let members = object(body)?;
    members.only(&["jobs"])?;
    let invalid = |why: &str| Problem::new(ProblemKind::MemberInvalid, format!("jobs: {why}"));
    let raw = members.some("jobs").ok_or_else(|| invalid("it is missing; give a list of jobs"))?;
    let List { jobs, count } = serde_json::from_str(raw.get()).map_err(|_| invalid("it is not a list of jobs"))?;
    match count {
        0 => Err(invalid("the list is empty; give 1 to 10,000 jobs")),
        1..=JOBS_MAX => {
            let mut left = CheckSteps::for_jobs(count);
            let mut read = |(index, job)| read_one(state, index, job, envelope, &mut left);
            jobs.iter().enumerate().map(|(index, job)| read((index, *job))).collect()
        }
        more => Err(invalid(&format!("there are {more}; a batch takes at most 10,000"))),
    }
}

/// The jobs of a list, of which no more than a batch can have are kept: a long list of small things takes no memory.
struct List<'a> {
    jobs: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> serde::de::Visitor<'de> for Items {
            type Value = List<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut list = List { jobs: Vec::new(), count: 0 };
                while let Some(item) = items.next_element()? {
                    list.count += 1;
                    if list.count <= JOBS_MAX {
                        list.jobs.push(item);
                    }
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Items)
    }
}

fn read_one(
    state: &State,
    index: usize,
    raw: &RawValue,
    envelope: &Envelope,
    left: &mut CheckSteps,
) -> Result<NewJob, Problem> {
    let mut read = || {
        let most = spec::body_most(state.config.limits.payload);
        if raw.get().len() > most.as_usize() {
            let detail = format!("it is more than {most}, the most that one job can be");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        let job: RawObject<'_> = value("job", raw)?;
        spec::read(state, &job, envelope, left)
    };
    let spec = read().map_err(|problem| problem.within(&format!("jobs[{index}].")))?;
    Ok(NewJob { spec, request_digest: Sha256::digest(raw.get()).into() })
}

fn count_by_plugin(jobs: &[NewJob]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.spec.plugin.clone()).or_default() += 1;
    }
    counts
}

fn id_of(enqueued: &Enqueued) -> Result<JobId, Problem> {
    match enqueued {
        Enqueued::Created(id) | Enqueued::Replayed(id) => Ok(*id),
        Enqueued::KeyReused(_) | Enqueued::Withheld => {
            Err(Problem::new(ProblemKind::Internal, "the store refused a job for a key that it does not have"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::testing::{Api, json};
    use crate::config::Config;
    use crate::job::units::ByteSize;

    fn job() -> Value {
        json!({"plugin": "echo", "payload": 1})
    }

    #[tokio::test]
    async fn a_batch_is_accepted_in_its_order() {
        let api = Api::new().plugin("echo");
        let jobs: Vec<_> = (0..3).map(|n| json!({"plugin": "echo", "payload": n})).collect();
        let answer = api.post("/v1/jobs/batch", json!({"jobs": jobs})).await;
        assert_eq!(answer.status, 202);
        let ids = answer.json()["ids"].clone();
        for (n, id) in ids.as_array().unwrap().iter().enumerate() {
            let job = api.get(&format!("/v1/jobs/{}", id.as_str().unwrap())).await.json();
            assert_eq!(job["payload"], json!(n));
        }
    }

    #[tokio::test]
    async fn one_mistake_refuses_the_whole_and_names_the_job() {
        let api = Api::new().plugin("echo");
        let many = vec![job(); 10_001];
        for (body, kind, told) in [
            (json!({"jobs": []}), ProblemKind::MemberInvalid, "jobs: the list is empty"),
            (json!({"jobs": many}), ProblemKind::MemberInvalid, "10,000"),
            (json!({"jobs": 1}), ProblemKind::MemberInvalid, "jobs: it is not a list"),
            (json!({}), ProblemKind::MemberInvalid, "jobs: it is missing"),
            (json!({"jobs": [job()], "more": 1}), ProblemKind::MemberInvalid, "more"),
            (json!({"jobs": [job(), 7]}), ProblemKind::MemberInvalid, "jobs[1].job: invalid type"),
            (json!({"jobs": [job(), {"plugin": "echo"}]}), ProblemKind::MemberInvalid, "jobs[1].payload: "),
            (
                json!({"jobs": [job(), job(), {"plugin": "no", "payload": 1}]}),
                ProblemKind::PluginUnknown,
                "jobs[2].plugin: ",
            ),
        ] {
            let problem = api.post("/v1/jobs/batch", body).await.problem(kind);
            assert!(problem.detail.contains(told), "{problem:?}");
        }
        let members = |members: &str| format!("{{\"jobs\":[{{{members}}}]}}");
        let many: Vec<_> = (0..65).map(|n| format!("\"m{n}\":1")).collect();
        for (body, told) in [
            (members(&many.join(",")), "jobs[0].job: there are more than 64 members"),
            (members("\"plugin\":\"echo\",\"plugin\":\"a\""), "jobs[0].job: the member \"plugin\" is there twice"),
        ] {
            let answer = api.post_text("/v1/jobs/batch", "application/json", &body).await;
            let problem = answer.problem(ProblemKind::MemberInvalid);
            assert!(problem.detail.starts_with(told) && !problem.detail.contains("line"), "{problem:?}");
        }
        api.post("/v1/jobs/batch", json!([job()])).await.problem(ProblemKind::BodyMalformed);
        assert_eq!(api.store.len(), 0);
    }

    #[tokio::test]
    async fn the_ids_of_a_large_batch_share_the_bytes_of_answers() {
        let mut config = Config::default();
        config.server.bodies = ByteSize(1 << 20);
        let api = Api::with_config(config).plugin("echo");
        let send = async || api.post("/v1/jobs/batch", json!({"jobs": vec![job(); 5_000]})).await;
        let others = api.state.door.room.answer(900 << 10).unwrap();
        send().await.problem(ProblemKind::Overloaded);
        assert_eq!(api.store.len(), 0, "nothing was done");
        drop(others);
        let answer = send().await;
        assert_eq!((answer.status, answer.body.len()), (202, 5_000 * 39 + 9));
        drop(answer);
        assert!(api.state.door.room.answer(1 << 20).is_ok(), "it is given back");
    }

    #[tokio::test]
    async fn a_key_is_not_taken() {
        let api = Api::new().plugin("echo");
        let body = Some(json!({"jobs": [job()]}));
        let answer = api.send_with("POST", "/v1/jobs/batch", &[("idempotency-key", "k")], body).await;
        assert!(answer.problem(ProblemKind::HeaderInvalid).detail.contains("one by one"));
    }

    #[tokio::test]
    async fn the_whole_has_a_limit_of_its_own_and_the_same_mark() {
        let mut config = Config::default();
        config.server.batch = ByteSize(1 << 10);
        config.queue.high_water = 2;
        let api = Api::with_config(config).plugin("echo");
        let send = async |count: usize| api.post("/v1/jobs/batch", json!({"jobs": vec![job(); count]})).await;
        assert!(send(100).await.problem(ProblemKind::TooLarge).detail.contains("server.batch is 1KiB"));
        assert!(send(3).await.problem(ProblemKind::HighWater).detail.contains("3 more"));
        assert_eq!(send(2).await.status, 202);
    }
}
