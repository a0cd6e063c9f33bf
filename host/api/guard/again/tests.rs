//! Requests that take long, and tokens that end meanwhile.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tempfile::TempDir;

use crate::api::error::ProblemKind;
use crate::api::testing::{Answer, Api, FakePlugin, TestClock, json};
use crate::api::tokens::{Minted, TokenFile, for_tests};
use crate::config::Config;
use crate::job::State as JobState;

/// The one token of a host.
#[derive(Clone)]
struct Held {
    file: TokenFile,
    minted: Arc<Minted>,
    clock: Arc<TestClock>,
}

impl Held {
    /// Revokes it, which is seen from here on.
    fn revoke(&self) {
        self.file.remove(&self.minted.id).unwrap();
        self.clock.later(1_000);
    }

    /// It allows that from here on.
    fn allow(&self, scopes: &[&str]) {
        self.file.remove(&self.minted.id).unwrap();
        self.file.add(for_tests(&self.minted, scopes)).unwrap();
        self.clock.later(1_000);
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.minted.text)
    }
}

/// An API that asks for a token with these scopes.
fn guarded(scopes: &[&str]) -> (Api, Held, TempDir) {
    let folder = TempDir::new().unwrap();
    let (file, minted) = (TokenFile::in_folder(folder.path()), Arc::new(Minted::from_random(&[1; 38])));
    file.add(for_tests(&minted, scopes)).unwrap();
    let api = Api::with_tokens(Config::default(), folder.path()).plugin("echo");
    let clock = api.clock.clone();
    (api, Held { file, minted, clock }, folder)
}

/// A request whose body is complete only after that was done.
fn dripping(
    held: &Held,
    method: &str,
    path: &str,
    body: &str,
    meanwhile: impl FnOnce() + Send + 'static,
) -> Request<Body> {
    let (head, rest) = body.split_at(1);
    let (head, rest) = (Bytes::from(head.to_owned()), Bytes::from(rest.to_owned()));
    let rest = async move {
        meanwhile();
        Ok::<_, Infallible>(rest)
    };
    let body = stream::iter([Ok(head)]).chain(stream::once(rest));
    let builder = Request::builder().method(method).uri(path).header("host", "localhost");
    builder.header("authorization", held.authorization()).body(Body::from_stream(body)).unwrap()
}

async fn get(api: &Api, held: &Held, path: &str) -> Answer {
    api.send_with("GET", path, &[("host", "localhost"), ("authorization", &held.authorization())], None).await
}

/// What each operation that reads a body is sent.
fn with_bodies() -> Vec<(&'static str, &'static str, String)> {
    let job = json!({"plugin": "echo", "payload": 1});
    let part = json!({"plugin": "echo"}).to_string();
    let act = |path| ("POST", path, part.clone());
    vec![
        ("POST", "/v1/jobs", job.to_string()),
        ("POST", "/v1/jobs/batch", json!({"jobs": [job]}).to_string()),
        ("PUT", "/v1/plugins/other", "component".to_owned()),
        act("/v1/downstreams/echo/hold"),
        act("/v1/downstreams/echo/release"),
        act("/v1/downstreams/echo/probe"),
        act("/v1/downstreams/echo/limit"),
    ]
}

#[tokio::test]
async fn who_is_revoked_while_the_body_comes_changes_nothing() {
    for (method, path, body) in with_bodies() {
        let (api, held, _folder) = guarded(&["admin"]);
        let sound = dripping(&held, method, path, &body, || {});
        assert!(api.request(sound).await.status < 300, "{method} {path} is sound");
        let (api, held, _folder) = guarded(&["admin"]);
        let revoking = held.clone();
        let answer = api.request(dripping(&held, method, path, &body, move || revoking.revoke())).await;
        answer.problem(ProblemKind::TokenInvalid);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"windlass\", error=\"invalid_token\""));
        assert_eq!(api.store.len(), 0, "{path}");
        assert!(api.store.health().is_empty() && api.plugins.installed().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_token_that_allows_less_meanwhile_is_taken_as_it_is_then() {
    for (method, path, body) in with_bodies() {
        let (api, held, _folder) = guarded(&["admin"]);
        let allowing = held.clone();
        let answer = api.request(dripping(&held, method, path, &body, move || allowing.allow(&["read"]))).await;
        answer.problem(ProblemKind::ScopeMissing);
        assert!(api.store.len() == 0 && api.plugins.installed().is_empty(), "{path}");
    }
    for (_, path, body) in with_bodies().into_iter().filter(|(_, path, _)| path.starts_with("/v1/jobs")) {
        let (api, held, _folder) = guarded(&["enqueue:echo"]);
        let allowing = held.clone();
        let request = dripping(&held, "POST", path, &body, move || allowing.allow(&["enqueue:other"]));
        assert!(api.request(request).await.problem(ProblemKind::ScopeMissing).detail.contains("enqueue:echo"));
        assert_eq!(api.store.len(), 0, "{path}");
    }
}

#[tokio::test]
async fn who_was_let_in_without_a_token_is_asked_for_one_once_there_are_tokens() {
    let folder = TempDir::new().unwrap();
    let api = Api::with_tokens(Config::default(), folder.path()).plugin("echo");
    let (file, minted) = (TokenFile::in_folder(folder.path()), Arc::new(Minted::from_random(&[1; 38])));
    let held = Held { file, minted, clock: api.clock.clone() };
    let adding = held.clone();
    let add = move || {
        adding.file.add(for_tests(&adding.minted, &["read"])).unwrap();
        adding.clock.later(1_000);
    };
    let job = json!({"plugin": "echo", "payload": 1}).to_string();
    let mut request = dripping(&held, "POST", "/v1/jobs", &job, add);
    request.headers_mut().remove("authorization");
    api.request(request).await.problem(ProblemKind::TokenMissing);
    assert_eq!(api.store.len(), 0);
}

#[tokio::test]
async fn a_wait_ends_with_the_token_as_it_is_then() {
    let (api, held, _folder) = guarded(&["admin"]);
    let job = json!({"plugin": "echo", "payload": 1}).to_string();
    let enqueued = api.request(dripping(&held, "POST", "/v1/jobs", &job, || {})).await.json();
    let id = enqueued["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}?wait=5m");
    let end = async {
        api.store.awaited().await;
        held.revoke();
        api.store.end(id, JobState::Completed);
    };
    let (told, ()) = tokio::join!(get(&api, &held, &path), end);
    told.problem(ProblemKind::TokenInvalid);
}

#[tokio::test]
async fn what_is_compiled_for_who_is_revoked_meanwhile_is_not_put_there() {
    let (api, held, _folder) = guarded(&["admin"]);
    let revoke = async {
        api.plugins.compiling().await;
        held.revoke();
        api.plugins.compiled();
    };
    let put = api.request(dripping(&held, "PUT", "/v1/plugins/other", "takes long", || {}));
    let (told, ()) = tokio::join!(put, revoke);
    told.problem(ProblemKind::TokenInvalid);
    assert!(api.plugins.installed().is_empty());
}

#[tokio::test]
async fn who_waits_for_a_turn_is_asked_again() {
    let job = json!({"plugin": "slow", "payload": 1});
    for (path, body) in [("/v1/jobs", job.clone()), ("/v1/jobs/batch", json!({"jobs": [job]}))] {
        let (api, held, _folder) = guarded(&["enqueue"]);
        api.plugins.put(FakePlugin { checked_on: Some(Arc::default()), ..FakePlugin::named("slow") });
        let room = &api.state.door.room;
        let mut turns = Vec::new();
        while let Some(turn) = room.turn().now_or_never() {
            turns.push(turn);
        }
        let revoke = async {
            held.revoke();
            drop(turns);
        };
        let enqueue = api.request(dripping(&held, "POST", path, &body.to_string(), || {}));
        let (told, ()) = tokio::join!(enqueue, revoke);
        told.problem(ProblemKind::TokenInvalid);
        assert_eq!(api.store.len(), 0, "{path}");
    }
}
