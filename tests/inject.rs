//! Secrets that a plugin uses and never sees: the host adds them to its requests.

mod common;

use common::{Downstream, Host, Reply, Setup, Value, guests, json, until};

const KEY: &str = "sk_live_of-the-test";

/// Says back what it was told, in its headers and in its body.
async fn echoing() -> Downstream {
    Downstream::start(|seen, _| async move {
        let told = seen.header("authorization").to_owned();
        let mut body = "x".repeat(5_000);
        body.push_str(&told);
        body.push_str(&"y".repeat(5_000));
        Reply::status(200).header("x-told", &told).body("text/plain", body)
    })
    .await
}

fn grants(downstream: &Downstream, more: &str) -> String {
    format!(
        "origins = ['{}']\ninject = {{ header = 'Authorization', value = 'Bearer {{api_key}}' }}\n\
         secrets = {{ api_key = {{ env = 'API_KEY' }} }}\n{more}\n[retry]\nmax_attempts = 1",
        downstream.origin()
    )
}

async fn host(downstream: &Downstream) -> Host {
    Setup::default().env("API_KEY", KEY).guest("misbehave", &grants(downstream, "")).start().await
}

async fn result(host: &Host, payload: Value) -> Value {
    host.ended(&host.misbehave(payload).await).await["result"].clone()
}

#[tokio::test]
async fn the_header_reaches_the_downstream_and_nobody_else() {
    let downstream = echoing().await;
    let host = host(&downstream).await;
    assert_eq!(result(&host, json!({"do": "config", "name": "api_key"})).await["value"], Value::Null);
    for verb in ["fetch", "wasi-fetch"] {
        let id = host.misbehave(json!({"do": verb, "url": downstream.url("/"), "headers": {"x-own": "1"}})).await;
        let job = host.ended(&id).await;
        let seen = downstream.seen().pop().unwrap();
        assert_eq!((seen.header("authorization"), seen.header("x-own")), (format!("Bearer {KEY}").as_str(), "1"));
        // What comes back is covered, and as long as it was.
        let answer = &job["result"]["ok"];
        assert_eq!(answer["headers"]["x-told"], format!("Bearer [api_key]{}", "*".repeat(KEY.len() - 9)), "{verb}");
        let body = answer["body"].as_str().unwrap();
        assert!(body.contains("xBearer [api_key]*") && !body.contains("sk_live"), "{verb}");
        assert_eq!(body.len(), 10_000 + "Bearer ".len() + KEY.len());
        let attempt = host.get(&format!("/v1/jobs/{id}/attempts/1")).await.to_string();
        assert!(!attempt.contains(KEY) && !attempt.to_lowercase().contains("authorization"), "{attempt}");
    }
    assert_eq!(downstream.seen().len(), 2);
}

#[tokio::test]
async fn blanks_at_the_edges_of_a_key_do_not_uncover_it() {
    let downstream = echoing().await;
    let setup = Setup::default().env("API_KEY", &format!("{KEY} \t")).guest("misbehave", &grants(&downstream, ""));
    let host = setup.start().await;
    let answer = result(&host, json!({"do": "fetch", "url": downstream.url("/")})).await;
    assert_eq!(downstream.seen()[0].header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(answer["ok"]["status"], 200);
    assert!(!answer.to_string().contains("sk_live"), "{answer}");
}

#[tokio::test]
async fn what_the_host_adds_a_guest_cannot_set() {
    let downstream = echoing().await;
    let host = host(&downstream).await;
    for name in ["Authorization", "authorization", "AUTHORIZATION"] {
        for verb in ["fetch", "wasi-fetch"] {
            let call = json!({"do": verb, "url": downstream.url("/"), "headers": {name: "Bearer mine"}});
            let answer = result(&host, call).await;
            let why = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(why.contains("added to this request by the host"), "{verb}: {answer}");
        }
    }
    let answer = result(&host, json!({"do": "fetch", "url": downstream.url("/"), "method": "TRACE"})).await;
    assert_eq!(answer["error"]["kind"], "invalid");
    assert!(downstream.seen().is_empty());
}

#[tokio::test]
async fn only_the_origins_that_are_named_have_it() {
    let (named, other) = (echoing().await, echoing().await);
    let file = format!(
        "origins = ['{0}', '{1}']\nsecrets = {{ api_key = {{ env = 'API_KEY' }} }}\nconfig = {{ user = 'me' }}\n\
         [[inject]]\nheader = 'Authorization'\nvalue = 'Bearer {{api_key}}'\norigins = ['{0}']\n\
         [[inject]]\nheader = 'X-Who'\nvalue = '{{{{{{user}}}}}}'\n",
        named.origin(),
        other.origin()
    );
    let host = Setup::default().env("API_KEY", KEY).guest("misbehave", &file).start().await;
    result(&host, json!({"do": "fetch", "url": named.url("/")})).await;
    let own = json!({"do": "fetch", "url": other.url("/"), "headers": {"Authorization": "Bearer mine"}});
    assert_eq!(result(&host, own).await["ok"]["status"], 200);
    let (named, other) = (&named.seen()[0], &other.seen()[0]);
    assert_eq!((named.header("authorization"), named.header("x-who")), (format!("Bearer {KEY}").as_str(), "{me}"));
    assert_eq!((other.header("authorization"), other.header("x-who")), ("Bearer mine", "{me}"));
}

#[tokio::test]
async fn a_readable_secret_is_not_hidden_from_its_plugin() {
    let downstream = echoing().await;
    let file = grants(&downstream, "").replace("env = 'API_KEY' }", "env = 'API_KEY', readable = true }");
    let host = Setup::default().env("API_KEY", KEY).guest("misbehave", &file).start().await;
    assert_eq!(result(&host, json!({"do": "config", "name": "api_key"})).await["value"], "[api_key]");
    let answer = result(&host, json!({"do": "fetch", "url": downstream.url("/")})).await;
    assert_eq!(answer["ok"]["headers"]["x-told"], "Bearer [api_key]", "only what is kept is masked");
}

#[tokio::test]
async fn the_shipped_plugin_calls_with_a_key_that_neither_it_nor_the_payload_holds() {
    let downstream = echoing().await;
    let host =
        Setup::default().env("API_KEY", KEY).plugin("http", guests::shipped(), &grants(&downstream, "")).start().await;
    let payload = json!({"url": downstream.url("/v1/charges"), "body": {"amount": 1}});
    let job = host.ended(&host.enqueue(json!({"plugin": "http", "payload": payload})).await).await;
    assert_eq!(job["state"], "completed", "{job:#}");
    assert_eq!(downstream.seen()[0].header("authorization"), format!("Bearer {KEY}"));
    assert!(!job.to_string().contains(KEY), "{job:#}");
}

#[tokio::test]
async fn a_value_that_is_no_header_is_told_when_the_file_is_read() {
    let downstream = echoing().await;
    let host = Setup::default()
        .env("API_KEY", "two\nlines-of-a-key")
        .guest("misbehave", &grants(&downstream, ""))
        .start()
        .await;
    let error = until("it is told", || async {
        let error = host.get("/v1/plugins/misbehave").await["load_error"].to_string();
        error.contains("inject of Authorization").then_some(error)
    })
    .await;
    assert!(error.contains("line break") && !error.contains("lines-of-a-key"), "{error}");
}

#[tokio::test]
async fn no_name_that_a_server_may_read_as_the_same_goes_beside_it() {
    let downstream = echoing().await;
    let file = grants(&downstream, "").replace("'Authorization'", "'X-Api-Key'");
    let host = Setup::default().env("API_KEY", KEY).guest("misbehave", &file).start().await;
    for name in ["X_Api_Key", "x-api_key", "x.api.key"] {
        for verb in ["fetch", "wasi-fetch"] {
            let answer =
                result(&host, json!({"do": verb, "url": downstream.url("/"), "headers": {name: "mine"}})).await;
            let why = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(
                why.contains("added to this request by the host (in names of headers all signs"),
                "{verb}: {answer}"
            );
        }
    }
    for name in ["Content_Length", "Transfer_Encoding", "Proxy_Authorization"] {
        for (verb, told) in [("fetch", "is set by the host alone"), ("wasi-fetch", "Forbidden")] {
            let answer = result(&host, json!({"do": verb, "url": downstream.url("/"), "headers": {name: "1"}})).await;
            let why = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(why.contains(told), "{verb}: {answer}");
        }
    }
    assert!(downstream.seen().is_empty());
}

/// An origin that never had the secret can only be made to ask which guess at it is right.
#[tokio::test]
async fn only_who_was_sent_it_is_covered() {
    let named = echoing().await;
    let other =
        Downstream::start(|_, _| async { Reply::status(200).header("x-told", KEY).body("text/plain", KEY) }).await;
    let file = grants(&named, "").replace("origins = ['", &format!("origins = ['{}', '", other.origin()));
    let file = file.replace("{api_key}'", &format!("{{api_key}}', origins = ['{}']", named.origin()));
    let host = Setup::default().env("API_KEY", KEY).guest("misbehave", &file).start().await;
    for verb in ["fetch", "wasi-fetch"] {
        let answer = result(&host, json!({"do": verb, "url": other.url("/")})).await;
        // Without stars: the plugin had it as it came, and what is kept is masked.
        assert_eq!(answer["ok"]["headers"]["x-told"], "[api_key]", "{verb}");
        assert_eq!(answer["ok"]["body"], "[api_key]", "{verb}");
        let answer = result(&host, json!({"do": verb, "url": named.url("/")})).await;
        assert_eq!(
            answer["ok"]["headers"]["x-told"],
            format!("Bearer [api_key]{}", "*".repeat(KEY.len() - 9)),
            "{verb}"
        );
    }
}

#[tokio::test]
async fn of_a_secret_that_can_be_guessed_the_log_warns() {
    let downstream = echoing().await;
    let host = Setup::default().env("API_KEY", "482913").guest("misbehave", &grants(&downstream, "")).start().await;
    let answer = result(&host, json!({"do": "fetch", "url": downstream.url("/")})).await;
    assert_eq!(answer["ok"]["status"], 200, "{answer}");
    let log = host.log();
    assert!(log.contains("a secret of less than 8 bytes is injected") && !log.contains("482913"), "{log}");
}
