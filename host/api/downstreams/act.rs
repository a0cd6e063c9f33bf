//! `POST /v1/downstreams/{key}/hold`, `/release`, `/probe` and `/limit`: what people do about a downstream. Each act is on
//! disk before it is answered, and holds over restarts.

use axum::Json;
use axum::extract::{Request, State as Shared};
use serde::Serialize;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemDocument, ProblemKind};
use super::super::request::{DownstreamPath, HeldBody, RawObject, json_body, object};
use super::document::DownstreamDocument;
use super::parts;
use crate::clock::UnixMs;
use crate::job::Lane;
use crate::job::health::{Act, ActKind, Overrides};
use crate::job::units::{ByteSize, TimeSpan};

/// The largest body of an act.
const BODY_MAX: ByteSize = ByteSize(4 << 10);
/// The longest reason.
const REASON_CHARS_MAX: usize = 200;

/// How long to leave a downstream alone. Without `until` and `for`: until it is released.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct HoldRequest {
    /// Until then (RFC 3339), which is to come. Not together with `for`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// For so long, for example `10m`. Not together with `until`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    #[schema(example = "10m")]
    pub span: Option<String>,
    /// Why, for people; at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub reason: Option<String>,
    /// Only for the jobs of this plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// Whose part in a downstream is meant.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct PartRequest {
    /// Only for the jobs of this plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// What bounds a downstream. What is not said, or null, is not bounded by a person.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct LimitRequest {
    /// The most attempts at once. 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub concurrency: Option<u32>,
    /// The most starts per time, for example `100/s`, with a burst of one second's worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "100/s")]
    pub rate: Option<String>,
    /// Only for the jobs of this plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
}

/// Leave a downstream alone
///
/// None of its jobs starts until then, or until it is released; running attempts go on. Behind it its jobs begin gently.
#[utoipa::path(
    post, path = "/v1/downstreams/{key}/hold", tag = "downstreams",
    params(("key" = String, Path, description = "The downstream's key")),
    request_body = Option<HoldRequest>,
    responses(
        (status = 200, description = "The downstream, now held", body = DownstreamDocument),
        (status = 400, description = "Malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such downstream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn hold(
    Shared(state): Shared<State>,
    DownstreamPath(key): DownstreamPath,
    request: Request,
) -> Result<Json<DownstreamDocument>, Problem> {
    let body = body(&state, request).await?;
    let asked = read(body.as_deref(), &["until", "for", "reason", "plugin"])?;
    let (member, until) = match (asked.get::<String>("until")?, asked.get::<TimeSpan>("for")?) {
        (Some(_), Some(_)) => return Err(invalid("for", "say either until or for")),
        (Some(until), None) => ("until", Some(UnixMs::parse(&until).map_err(|why| invalid("until", &why))?)),
        (None, Some(span)) => ("for", Some(state.now().after(span.0))),
        (None, None) => ("until", None),
    };
    if until.is_some_and(|until| until <= state.now()) {
        return Err(invalid(member, "it is over at once; to let the downstream go on, release it"));
    }
    let reason: Option<String> = asked.get("reason")?;
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control))
    {
        return Err(invalid("reason", "it is one line of at most 200 characters"));
    }
    act(&state, &key, &asked, ActKind::Hold { until, reason }).await
}

/// Let a downstream go on
///
/// Whatever held it: a pause that it asked for, a person, or its breaker. Its jobs begin gently.
#[utoipa::path(
    post, path = "/v1/downstreams/{key}/release", tag = "downstreams",
    params(("key" = String, Path, description = "The downstream's key")),
    request_body = Option<PartRequest>,
    responses(
        (status = 200, description = "The downstream", body = DownstreamDocument),
        (status = 400, description = "Malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such downstream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn release(
    Shared(state): Shared<State>,
    DownstreamPath(key): DownstreamPath,
    request: Request,
) -> Result<Json<DownstreamDocument>, Problem> {
    let body = body(&state, request).await?;
    let asked = read(body.as_deref(), &["plugin"])?;
    act(&state, &key, &asked, ActKind::Release).await
}

/// See at once whether a downstream is back
///
/// Ends a hold, and sends the next probe now. Where its breaker is closed, its jobs begin gently.
#[utoipa::path(
    post, path = "/v1/downstreams/{key}/probe", tag = "downstreams",
    params(("key" = String, Path, description = "The downstream's key")),
    request_body = Option<PartRequest>,
    responses(
        (status = 200, description = "The downstream", body = DownstreamDocument),
        (status = 400, description = "Malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such downstream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn probe(
    Shared(state): Shared<State>,
    DownstreamPath(key): DownstreamPath,
    request: Request,
) -> Result<Json<DownstreamDocument>, Problem> {
    let body = body(&state, request).await?;
    let asked = read(body.as_deref(), &["plugin"])?;
    act(&state, &key, &asked, ActKind::Probe).await
}

/// Bound a downstream
///
/// Replaces what a person set before; an empty object takes the bounds away.
#[utoipa::path(
    post, path = "/v1/downstreams/{key}/limit", tag = "downstreams",
    params(("key" = String, Path, description = "The downstream's key")),
    request_body = LimitRequest,
    responses(
        (status = 200, description = "The downstream", body = DownstreamDocument),
        (status = 400, description = "Malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such downstream", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "The store is busy, full or failed", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(in super::super) async fn limit(
    Shared(state): Shared<State>,
    DownstreamPath(key): DownstreamPath,
    request: Request,
) -> Result<Json<DownstreamDocument>, Problem> {
    let body = body(&state, request).await?;
    let asked = read(body.as_deref(), &["concurrency", "rate", "plugin"])?;
    let concurrency: Option<u32> = asked.get("concurrency")?;
    if concurrency.is_some_and(|most| !(1..=10_000).contains(&most)) {
        return Err(invalid("concurrency", "it lies between 1 and 10000; hold the downstream to stop it"));
    }
    let rate = asked.get::<String>("rate")?.map(|text| crate::config::parse_rate(&text));
    let rate = rate.transpose().map_err(|why| invalid("rate", &why))?;
    act(&state, &key, &asked, ActKind::Limit(Overrides { concurrency, rate })).await
}

/// The body, which may be left out where nothing has to be said.
async fn body(state: &State, request: Request) -> Result<Option<HeldBody>, Problem> {
    let body = json_body(state, request, BODY_MAX, "an act").await?;
    Ok((!body.is_empty()).then_some(body))
}

fn read<'a>(body: Option<&'a [u8]>, members: &[&str]) -> Result<RawObject<'a>, Problem> {
    let asked = object(body.unwrap_or(b"{}"))?;
    asked.only(members)?;
    Ok(asked)
}

/// Does it to every plugin's part in the downstream, or to one.
async fn act(
    state: &State,
    key: &str,
    asked: &RawObject<'_>,
    what: ActKind,
) -> Result<Json<DownstreamDocument>, Problem> {
    crate::config::downstream_key(key).map_err(|_| parts::unknown(key))?;
    let lanes: Vec<Lane> = match asked.get::<String>("plugin")? {
        // Also before the first job: a downstream can be held in advance.
        Some(plugin) => {
            state.plugin(&plugin).map_err(|problem| problem.at("plugin"))?;
            vec![Lane::new(&plugin, key)]
        }
        None => parts::of(state, key).into_iter().map(|(lane, _)| lane).collect(),
    };
    if lanes.is_empty() {
        return Err(parts::unknown(key));
    }
    let acting = state.clone();
    asked::to_its_end(async move {
        for (done, lane) in lanes.iter().enumerate() {
            let act = Act { at: acting.now(), what: what.clone() };
            if let Err(error) = acting.keeper.act(lane, act).await {
                let done = (done > 0).then(|| format!("it is done for {done} of {} plugins", lanes.len()));
                return Err(Problem::of_store(&error, done.as_deref()));
            }
            acting.wake.notify_one();
            let (request, token) = (asked::request_id(), asked::token_id());
            tracing::info!(request.id = request, token.id = token, plugin = &*lane.plugin, downstream = &*lane.downstream, act = ?what, "a person acted on a downstream");
        }
        Ok(())
    })
    .await?;
    parts::one(state, key).map(Json)
}

fn invalid(member: &str, why: &str) -> Problem {
    Problem::new(ProblemKind::MemberInvalid, format!("{member}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Api, json};
    use crate::store::StoreError;

    async fn api() -> Api {
        let api = Api::new().plugin("a").plugin("b");
        for plugin in ["a", "b"] {
            api.enqueue(json!({"plugin": plugin, "downstream": "erp", "payload": 1})).await;
        }
        api
    }

    #[tokio::test]
    async fn a_hold_is_told_recorded_and_ended() {
        let api = api().await;
        let told =
            api.send("POST", "/v1/downstreams/erp/hold", Some(json!({"for": "10m", "reason": "stocktaking"}))).await;
        assert_eq!(told.status, 200);
        let held = json!({"until": "2026-01-02T03:14:05.007Z", "cause": "stocktaking"});
        for part in told.json()["plugins"].as_array().unwrap() {
            assert_eq!((&part["hold"], &part["blocked"]["reason"]), (&held, &json!("retry-after")));
            assert_eq!(part["acts"][0]["what"], "hold");
        }
        assert_eq!(api.store.health().len(), 2);
        api.woken().await;
        let told = api.send("POST", "/v1/downstreams/erp/release", None).await.json();
        assert_eq!((&told["plugins"][0]["hold"], &told["plugins"][0]["blocked"]), (&json!(null), &json!(null)));
        api.woken().await;
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_half_done() {
        let mut waits = 1;
        loop {
            let api = api().await;
            let came = Api::left_after(waits, api.send("POST", "/v1/downstreams/erp/hold", None)).await;
            let kept = api.store.health().len();
            let held = ["a", "b"].iter().filter(|plugin| {
                let health = api.state.gates().health(&Lane::new(plugin, "erp")).cloned();
                health.is_some_and(|health| health.held(api.state.now()).is_some())
            });
            assert_eq!((held.count(), kept == 0 || kept == 2), (kept, true), "after {waits} waits");
            if came {
                break;
            }
            waits += 1;
        }
        assert!(waits > 1, "it was waited for");
    }

    #[tokio::test]
    async fn what_was_done_before_the_store_failed_is_told() {
        let api = api().await;
        api.store.fail_after(1, StoreError::Busy("no".into()));
        let told = api.send("POST", "/v1/downstreams/erp/hold", None).await.problem(ProblemKind::StoreBusy);
        assert!(
            told.detail.contains("it is done for 1 of 2 plugins") && !told.detail.contains("nothing was changed"),
            "{told:?}"
        );
        api.store.fail_with(Some(StoreError::Busy("no".into())));
        let told = api.send("POST", "/v1/downstreams/erp/hold", None).await.problem(ProblemKind::StoreBusy);
        assert!(told.detail.contains("nothing was changed"), "{told:?}");
    }

    #[tokio::test]
    async fn limits_are_one_plugins_where_it_is_named() {
        let api = api().await;
        let limit = json!({"plugin": "b", "concurrency": 2, "rate": "5/s"});
        let told = api.send("POST", "/v1/downstreams/erp/limit", Some(limit)).await.json();
        assert_eq!(told["plugins"][0]["concurrency"], json!(null));
        assert_eq!(
            (&told["plugins"][1]["concurrency"], &told["plugins"][1]["rate_per_second"]),
            (&json!(2), &json!(5.0))
        );
        assert_eq!(told["plugins"][1]["limit"], 2);
        let told = api.send("POST", "/v1/downstreams/new/hold", Some(json!({"plugin": "a"}))).await.json();
        assert_eq!(told["plugins"][0]["hold"], json!({"cause": "a person holds it"}));
        assert_eq!(api.send("POST", "/v1/downstreams/erp/probe", None).await.status, 200);
    }

    #[tokio::test]
    async fn mistakes_are_told_and_change_nothing() {
        let api = api().await;
        for (act, body, kind) in [
            ("hold", json!({"until": "soon"}), ProblemKind::MemberInvalid),
            ("hold", json!({"until": "2020-01-01T00:00:00Z"}), ProblemKind::MemberInvalid),
            ("hold", json!({"for": "0s"}), ProblemKind::MemberInvalid),
            ("hold", json!({"for": "1m", "until": "2026-01-02T03:14:05Z"}), ProblemKind::MemberInvalid),
            ("hold", json!({"reason": "a\nb"}), ProblemKind::MemberInvalid),
            ("hold", json!({"while": "1m"}), ProblemKind::MemberInvalid),
            ("hold", json!({"plugin": "nobody"}), ProblemKind::PluginUnknown),
            ("limit", json!({"concurrency": 0}), ProblemKind::MemberInvalid),
            ("limit", json!({"rate": "fast"}), ProblemKind::MemberInvalid),
        ] {
            api.send("POST", &format!("/v1/downstreams/erp/{act}"), Some(body)).await.problem(kind);
        }
        api.send("POST", "/v1/downstreams/nobody/release", None).await.problem(ProblemKind::DownstreamUnknown);
        api.store.fail_with(Some(StoreError::Failed("no".into())));
        api.send("POST", "/v1/downstreams/erp/hold", None).await.problem(ProblemKind::StoreFailed);
        assert!(api.store.health().is_empty());
        assert!(api.state.gates().why_waiting(&Lane::new("a", "erp"), api.state.now()).is_none());
    }
}
