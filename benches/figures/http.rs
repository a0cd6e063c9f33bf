//! Pooled calls of a guest, one at a time and in a fresh instance each, beside the same calls by native reqwest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use windlass::job::Outcome;

use crate::guest::{self, Alone};
use crate::machine::{Meter, now};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{CPU_US, Series, against, note, rounds, us};

/// How many call at once.
const CONNECTIONS: u32 = 64;
/// How long each side of a round calls.
const ROUND: Duration = Duration::from_millis(1_000);
/// What the longer attempts call one after the other.
const CALLS: usize = 20;
const BODY_BYTES: usize = 220;

/// Measures and prints.
pub fn report() {
    let mut downstream = Player::start("downstream", &[]);
    let origin = downstream.line();
    let player = |way: &str| Player::ready("http", &[("WAY", way.to_owned()), ("DOWNSTREAM", origin.clone())]);
    if guest::built("misbehave").is_none() {
        println!("http: not measured; `plugins/build` makes the plugin that calls by wasi:http");
        return;
    }
    let mut players = [player("native"), player("wasi"), player("wasi-more"), player("send"), player("echo")];
    let [native, wasi, wasi_more, send, echo] = alternate(rounds(), &mut players);
    let show = |name: &str, side: &Series, goal: &str| {
        against(&format!("{name} | reqwest"), "  CPU for one call", side, &native, goal);
    };
    show(&format!("wasi:http, {CONNECTIONS} at once, a fresh instance a call"), &wasi, ">= 0.6");
    show(&format!("wasi:http, {CONNECTIONS} at once, {CALLS} calls an instance"), &wasi_more, "");
    show(&format!("windlass http.send, {CONNECTIONS} at once, a fresh instance"), &send, "");
    note("  CPU for a fresh instance that calls nobody", &us(echo.median(CPU_US)), "");
}

/// Calls in the way that the environment names.
pub async fn client() {
    let origin = std::env::var("DOWNSTREAM").expect("the downstream's origin");
    let one =
        json!({"do": "wasi-fetch", "url": format!("{origin}/"), "method": "POST", "body": "x".repeat(BODY_BYTES)});
    match std::env::var("WAY").expect("said").as_str() {
        "native" => native(&origin).await,
        "wasi" => by_guest(guest::built("misbehave").expect("asked before"), &origin, &one, 1).await,
        "wasi-more" => {
            let steps = json!({"steps": vec![one; CALLS]});
            by_guest(guest::built("misbehave").expect("asked before"), &origin, &steps, CALLS).await;
        }
        "echo" => by_guest(guest::built("echo").expect("asked before"), &origin, &json!({}), 1).await,
        "send" => {
            let payload = json!({"url": format!("{origin}/"), "body": "x".repeat(BODY_BYTES)});
            by_guest(guest::shipped(), &origin, &payload, 1).await;
        }
        other => panic!("no way {other}"),
    }
}

async fn native(origin: &str) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (url, body) = (format!("{origin}/"), Bytes::from("x".repeat(BODY_BYTES)));
    let call = move || {
        let request = client.post(&url).header("content-type", "application/json").body(body.clone());
        async move {
            let answer = request.send().await.expect("an answer");
            answer.bytes().await.expect("a whole answer");
            1
        }
    };
    answer_rounds(async || hammer(call.clone()).await).await;
}

async fn by_guest(component: Bytes, origin: &str, payload: &Value, calls: usize) {
    let alone = Arc::new(Alone::load(component, &format!("origins = [\"{origin}\"]"), CONNECTIONS).await);
    let payload = Bytes::from(payload.to_string());
    let call = move || {
        let (alone, payload) = (alone.clone(), payload.clone());
        async move {
            let (outcome, evidence) = alone.plugin.run(alone.call(&payload), &CancellationToken::new()).await;
            assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
            assert!(evidence.exchanges.iter().all(|exchange| exchange.status == Some(200)));
            calls
        }
    };
    answer_rounds(async || hammer(call.clone()).await).await;
}

/// Calls again and again, so many at once: how many a second, and CPU microseconds of this process for each.
async fn hammer<Called>(call: impl Fn() -> Called + Clone + Send + 'static) -> Vec<f64>
where
    Called: Future<Output = usize> + Send,
{
    let (meter, started, mut tasks) = (Meter::start(), now(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let call = call.clone();
        tasks.spawn(async move {
            let mut calls = 0;
            while started.elapsed() < ROUND {
                calls += call().await;
            }
            calls
        });
    }
    meter.numbers(tasks.join_all().await.iter().sum())
}
