//! The guard, by way of the router.

use axum::body::Body;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower_service::Service as _;

use super::*;
use crate::api::access::ROUTES;
use crate::api::testing::{Answer, Api, json};
use crate::api::tokens::{Minted, TokenFile, for_tests};
use crate::config::Config;

/// An API that asks for tokens, and the texts of tokens with each of these scopes.
fn guarded<const N: usize>(scopes: [&[&str]; N]) -> (Api, [String; N], TempDir) {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    let mut n = 0;
    let texts = scopes.map(|scopes| {
        n += 1;
        let minted = Minted::from_random(&[n; 38]);
        file.add(for_tests(&minted, scopes)).unwrap();
        minted.text
    });
    (Api::with_tokens(Config::default(), folder.path()).plugin("echo").plugin("other"), texts, folder)
}

async fn ask(api: &Api, token: &str, method: &str, path: &str, body: Option<serde_json::Value>) -> Answer {
    let authorization = format!("Bearer {token}");
    api.send_with(method, path, &[("host", "localhost"), ("authorization", &authorization)], body).await
}

fn path_of(route: &str) -> String {
    let id = "01990000-0000-7000-8000-000000000000";
    route.replace("{id}", id).replace("{n}", "1").replace("{name}", "echo").replace("{key}", "echo")
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_for_no_other() {
    let scopes: [&[&str]; 6] = [&["read"], &["operate"], &["enqueue"], &["enqueue:echo"], &["admin"], &[]];
    let (api, texts, _folder) = guarded(scopes);
    for (method, route, access) in ROUTES {
        let path = path_of(route);
        for (text, scopes) in texts.iter().zip(scopes) {
            let answer = ask(&api, text, method, &path, None).await;
            let may = match access {
                Access::Open => true,
                Access::Needs(need) => {
                    scopes.iter().any(|scope| scope.parse::<crate::api::tokens::Scope>().unwrap().allows(*need))
                }
            };
            if may {
                assert!(!matches!(answer.status, 401 | 403), "{method} {path} with {scopes:?}: {}", answer.status);
            } else {
                let problem = answer.problem(ProblemKind::ScopeMissing);
                let Access::Needs(need) = access else { unreachable!() };
                assert!(problem.detail.contains(&need.to_string()), "{problem:?}");
                assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"));
            }
        }
        let none = api.send_with(method, &path, &[("host", "localhost")], None).await;
        match access {
            Access::Open => assert!(none.status < 400, "{path}"),
            Access::Needs(_) => {
                none.problem(ProblemKind::TokenMissing);
                assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"windlass\""));
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_token_is_told_that_it_is_invalid_also_where_nothing_is() {
    let (api, [text], _folder) = guarded([&["admin"]]);
    for path in ["/v1/jobs", "/nothing", "/v1/plugins/echo/nothing"] {
        let answer = ask(&api, &Minted::from_random(&[99; 38]).text, "GET", path, None).await;
        answer.problem(ProblemKind::TokenInvalid);
        assert!(answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
        api.get(path).await.problem(ProblemKind::TokenMissing);
    }
    ask(&api, &text, "GET", "/nothing", None).await.problem(ProblemKind::RouteUnknown);
    ask(&api, &text, "PATCH", "/v1/jobs", None).await.problem(ProblemKind::MethodNotAllowed);
}

#[tokio::test]
async fn who_may_not_enqueue_for_a_plugin_learns_nothing_of_it() {
    let (api, [text], _folder) = guarded([&["enqueue:echo"]]);
    let own = json!({"plugin": "echo", "payload": 1});
    assert_eq!(ask(&api, &text, "POST", "/v1/jobs", Some(own.clone())).await.status, 202);
    let mut told = Vec::new();
    for name in ["other", "nobody", "NO NAME"] {
        for payload in [json!(1), json!(null)] {
            let job = json!({"plugin": name, "payload": payload, "deadline": "never"});
            let answer = ask(&api, &text, "POST", "/v1/jobs", Some(job.clone())).await;
            let problem = answer.problem(ProblemKind::ScopeMissing);
            assert!(problem.detail.contains(&format!("enqueue:{name}")), "{problem:?}");
            told.push(problem.detail.replace(name, ""));
            let batch = json!({"jobs": [own.clone(), job]});
            let answer = ask(&api, &text, "POST", "/v1/jobs/batch", Some(batch)).await;
            assert!(answer.problem(ProblemKind::ScopeMissing).detail.starts_with("jobs[1]"));
        }
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    assert_eq!(api.store.len(), 1, "a batch is all or none");
}

#[tokio::test]
async fn beyond_the_room_only_what_has_room_of_its_own_is_answered() {
    let mut config = Config::default();
    (config.server.requests, config.server.waits) = (1, 1);
    let api = Api::with_config(config).plugin("echo");
    let place = api.state.door.room.request(false).unwrap();
    for path in ["/v1/jobs", "/nothing"] {
        let answer = api.get(path).await;
        assert!(answer.header("retry-after").is_some());
        answer.problem(ProblemKind::Overloaded);
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    let id = "01990000-0000-7000-8000-000000000000";
    for wait in ["wait=1ms", "w%61it=1ms"] {
        api.get(&format!("/v1/jobs/{id}?{wait}")).await.problem(ProblemKind::JobUnknown);
    }
    drop(place);
    let _wait = api.state.door.room.request(true).unwrap();
    api.get(&format!("/v1/jobs/{id}?wait=1ms")).await.problem(ProblemKind::Overloaded);
    assert_eq!(api.get("/v1/jobs").await.status, 200);
}

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let api = Api::new();
    let own = api.send_with("GET", "/healthz", &[("host", "localhost"), ("x-request-id", "abc-1")], None).await;
    assert_eq!(own.header("x-request-id"), Some("abc-1"));
    for bad in ["with space", &"x".repeat(129)] {
        let answer = api.send_with("GET", "/nothing", &[("host", "localhost"), ("x-request-id", bad)], None).await;
        assert!(answer.header("x-request-id").is_some_and(|id| id != bad && !id.is_empty()));
    }
}

#[tokio::test]
async fn a_handler_that_panics_answers() {
    let api = Api::new();
    api.store.panic_at_list();
    api.get("/v1/jobs").await.problem(ProblemKind::Internal);
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_is_taken() {
    let mut config = Config::default();
    config.server.requests = 1;
    let api = Api::with_config(config).plugin("echo");
    let request = Request::builder().uri("/v1/plugins").header("host", "localhost").body(Body::empty()).unwrap();
    let mut answer = api.router().call(request).await.unwrap();
    api.get("/v1/plugins").await.problem(ProblemKind::Overloaded);
    let part = answer.body_mut().frame().await.unwrap().unwrap();
    drop(answer);
    api.get("/v1/plugins").await.problem(ProblemKind::Overloaded);
    assert_eq!(api.get("/healthz").await.status, 200);
    drop(part);
    assert_eq!(api.get("/v1/plugins").await.status, 200);
}

/// Answers of that path that nobody takes, as many as there is room for.
async fn untaken(api: &Api, path: &str, most: usize) -> Vec<Response> {
    let mut untaken = Vec::new();
    for _ in 0..most {
        let request = Request::builder().uri(path).header("host", "localhost").body(Body::empty()).unwrap();
        let answer = api.router().call(request).await.unwrap();
        if answer.status() != 200 {
            assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
            break;
        }
        untaken.push(answer);
    }
    untaken
}

#[tokio::test]
async fn who_needs_no_token_takes_no_place_and_no_bytes_of_those_who_do() {
    let mut config = Config::default();
    (config.server.requests, config.server.bodies) = (1, crate::job::units::ByteSize(1 << 20));
    let api = Api::with_config(config).plugin("echo");
    let held = untaken(&api, "/openapi.json", 1_000).await;
    assert!((1..100).contains(&held.len()), "{}", held.len());
    assert_eq!(api.get("/v1/jobs").await.status, 200);
    assert!(api.state.door.room.answer(1 << 20).is_ok(), "the answers of others have all their bytes");
    drop(held);
    assert_eq!(api.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn scrapes_that_nobody_takes_are_bounded() {
    let api = Api::new().plugin("echo");
    let held = untaken(&api, "/metrics", 1_000).await;
    assert!((16..100).contains(&held.len()), "{}", held.len());
    for path in ["/healthz", "/readyz", "/v1/jobs", "/openapi.json"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    drop(held);
    assert_eq!(api.get("/metrics").await.status, 200);
}
