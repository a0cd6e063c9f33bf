//! The real binary while a real downstream is down, slow, or asks for a pause.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Downstream, Host, Reply, Setup, Value, json, ms, until};
use reqwest::Method;
use windlass::clock::Stopwatch;

/// A downstream that is up as `up` says.
async fn switched(up: &Arc<AtomicBool>) -> Downstream {
    let up = up.clone();
    Downstream::start(move |_, _| {
        let is_up = up.load(Ordering::Relaxed);
        async move { if is_up { Reply::status(200) } else { Reply::status(503) } }
    })
    .await
}

async fn host(downstream: &Downstream, config: &str) -> Host {
    let file = format!("origins = [\"{}\"]", downstream.origin());
    Setup::default().config(config).plugin("http", common::guests::shipped(), &file).start().await
}

async fn enqueue_many(host: &Host, downstream: &Downstream, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for first in (0..count).step_by(1_000) {
        let jobs: Vec<_> = (first..count.min(first + 1_000))
            .map(|n| json!({"plugin": "http", "payload": {"url": downstream.url("/"), "body": n}}))
            .collect();
        ids.extend(host.enqueue_all(&jobs).await);
    }
    ids
}

async fn part(host: &Host) -> Value {
    host.get("/v1/downstreams/http").await["plugins"][0].clone()
}

/// The health of the downstream when it is as `wanted` says.
async fn when(host: &Host, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, || async {
        let part = part(host).await;
        wanted(&part).then_some(part)
    })
    .await
}

/// How long the outage lasts at least: long enough for some probes to fail. `OUTAGE_SECS=40` makes it the measured one.
fn outage_ms() -> i64 {
    let secs = std::env::var("OUTAGE_SECS").ok().and_then(|text| text.parse().ok());
    secs.map_or(6_000, |secs: i64| secs * 1_000)
}

#[tokio::test]
async fn while_a_downstream_is_down_its_jobs_wait_without_using_up_attempts() {
    const JOBS: usize = 5_000;
    let up = Arc::new(AtomicBool::new(false));
    let downstream = switched(&up).await;
    let host = host(&downstream, "[retry]\nmax_attempts = 3").await;
    let ids = enqueue_many(&host, &downstream, JOBS).await;
    let outage = when(&host, "the breaker is open", |part| part["breaker"] != "closed").await["outage"].clone();
    assert!(outage["cause"].as_str().unwrap().contains("503"), "{outage}");
    let told = host.get("/v1/downstreams/http").await;
    assert_eq!((&told["since"], told["error_rate"].as_f64()), (&outage["since"], Some(1.0)), "{told:#}");
    assert!(told["breaker"] != "closed" && told["next_probe"].is_string() && told["waiting"].is_u64(), "{told:#}");
    let job = host.waiting(&ids[JOBS - 1], "breaker-open").await;
    assert_eq!(job["attempt"], 0);

    until("the outage has lasted long enough", || async {
        let part = part(&host).await;
        (ms(&part["outage"]["next_probe"]) - ms(&outage["since"]) > outage_ms()).then_some(())
    })
    .await;
    up.store(true, Ordering::Relaxed);
    let returned = Stopwatch::start();
    for id in &ids {
        let job = host.ended(id).await;
        assert_eq!(job["state"], "completed", "{job:#}");
    }
    let wasted = downstream.seen().len() - JOBS;
    println!("{wasted} calls wasted on {JOBS} jobs; all delivered {:?} after the return", returned.elapsed());
    assert!(wasted as f64 <= 0.02 * JOBS as f64, "{wasted} calls for {JOBS} jobs");
    let part = part(&host).await;
    assert_eq!((&part["breaker"], &part["outage"]), (&json!("closed"), &Value::Null));
}

#[tokio::test]
async fn a_downstream_is_judged_by_its_calls_also_where_none_are_kept() {
    let up = Arc::new(AtomicBool::new(false));
    let downstream = switched(&up).await;
    let host = host(&downstream, "[limits]\nexchanges = 0\n[retry]\nmax_attempts = 3").await;
    let ids = enqueue_many(&host, &downstream, 20).await;
    when(&host, "the breaker is open", |part| part["breaker"] != "closed").await;
    up.store(true, Ordering::Relaxed);
    for id in &ids {
        let job = host.ended(id).await;
        assert_eq!(job["state"], "completed", "{job:#}");
    }
    assert_eq!(part(&host).await["breaker"], "closed");
    let attempt = host.get(&format!("/v1/jobs/{}/attempts/1", ids[0])).await;
    assert_eq!((&attempt["exchanges"], &attempt["exchanges_dropped"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn an_outage_is_known_after_a_restart() {
    let up = Arc::new(AtomicBool::new(false));
    let downstream = switched(&up).await;
    let mut host = host(&downstream, "[breaker]\nprobe = \"1h\"\nprobe_cap = \"1h\"").await;
    let ids = enqueue_many(&host, &downstream, 20).await;
    let before = when(&host, "the breaker is open", |part| part["breaker"] == "open").await;
    let calls = until("nothing runs", || async {
        let part = part(&host).await;
        (part["running"] == 0).then(|| downstream.seen().len())
    })
    .await;
    host.kill();
    host.start().await;
    let after = part(&host).await;
    assert_eq!((&after["outage"]["since"], &after["breaker"]), (&before["outage"]["since"], &json!("open")));
    host.waiting(&ids[19], "breaker-open").await;
    assert_eq!(downstream.seen().len(), calls, "nothing was called because of the restart");

    up.store(true, Ordering::Relaxed);
    let told = host.command(&["downstreams", "probe", "http"]).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    host.ended(&ids[0]).await;
    for id in &ids {
        assert_eq!(host.ended(id).await["state"], "completed");
    }
}

#[tokio::test]
async fn only_rate_limits_use_up_the_rate_limits_that_a_job_is_spared() {
    let downstream = Downstream::start(move |seen, before| async move {
        Reply::status(if seen.target == "/always" || before < 2 { 429 } else { 200 })
    })
    .await;
    // A breaker that opens would send probes, which do not count either.
    let config = "[retry]\nmax_attempts = 2\nbase = \"1ms\"\ncap = \"1ms\"\n[breaker]\nfailures = 1000";
    let host = Setup::default().config(config).plugin("http", common::guests::shipped(), "").start().await;
    let job = |path| json!({"plugin": "http", "payload": {"url": downstream.url(path)}});
    let (twice, always) = (host.enqueue(job("/")).await, host.enqueue(job("/always")).await);
    // Denials do not count either, and are no rate limits.
    for attempt in 1..4 {
        for id in [&twice, &always] {
            let denied = until("it is denied", || async {
                let job = host.job(id).await;
                (job["attempt"] == attempt && job["waiting"]["reason"] == "grant-missing").then_some(())
            });
            denied.await;
            if attempt < 3 {
                host.ask(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
            }
        }
    }
    std::fs::write(host.plugins().join("http.toml"), format!("origins = [\"{}\"]", downstream.origin())).unwrap();
    for (id, state, attempts) in [(&twice, "completed", 3 + 3), (&always, "discarded", 3 + 2 + 2)] {
        let job = host.ended(id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!(state), &json!(attempts)), "{job:#}");
    }
}

#[tokio::test]
async fn a_wish_for_a_pause_is_everybodys_and_costs_no_attempt() {
    let limited = Arc::new(AtomicBool::new(true));
    let answer = limited.clone();
    let downstream = Downstream::start(move |_, _| {
        let is_limited = answer.swap(false, Ordering::Relaxed);
        async move { if is_limited { Reply::status(429).header("retry-after", "2") } else { Reply::status(200) } }
    })
    .await;
    let host = host(&downstream, "[retry]\nmax_attempts = 1").await;
    let first = enqueue_many(&host, &downstream, 1).await.remove(0);
    let held = when(&host, "the downstream is held", |part| !part["hold"].is_null()).await;
    let others = enqueue_many(&host, &downstream, 5).await;
    assert_eq!(host.waiting(&others[0], "retry-after").await["waiting"]["until"], held["hold"]["until"]);
    for id in &others {
        let job = host.ended(id).await;
        assert!(ms(&job["attempts"][0]["started_at"]) >= ms(&held["hold"]["until"]), "{job:#}");
    }
    let job = host.ended(&first).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)), "one attempt was free: {job:#}");
}

#[tokio::test]
async fn one_jobs_cap_does_not_decide_how_long_everybody_is_held() {
    for cap in ["100d", "0s"] {
        let downstream = Downstream::start(|_, _| async { Reply::status(429).header("retry-after", "4000000") }).await;
        let host = host(&downstream, "[retry]\ncap = \"1h\"").await;
        let payload = json!({"url": downstream.url("/")});
        let id = host.enqueue(json!({"plugin": "http", "payload": payload, "retry": {"cap": cap}})).await;
        let held = when(&host, "the downstream is held", |part| !part["hold"].is_null()).await;
        let attempt = until("its attempt is recorded", || async {
            let attempt = host.get(&format!("/v1/jobs/{id}")).await["attempts"][0].clone();
            attempt["finished_at"].is_string().then_some(attempt)
        })
        .await;
        let held_ms = ms(&held["hold"]["until"]) - ms(&attempt["finished_at"]);
        assert!((3_599_000..=3_601_000).contains(&held_ms), "{cap}: {held_ms}");
        let own_ms = ms(&attempt["next_run_at"]) - ms(&attempt["finished_at"]);
        assert_eq!(own_ms, if cap == "0s" { 0 } else { 4_000_000_000 }, "its own delay");
    }
}

#[tokio::test]
async fn a_person_can_hold_and_release_a_downstream() {
    let up = Arc::new(AtomicBool::new(true));
    let downstream = switched(&up).await;
    let mut host = host(&downstream, "").await;
    enqueue_many(&host, &downstream, 1).await;
    let run = |host: &Host, args: &[&str]| {
        let told = host.command(args).output().unwrap();
        assert!(told.status.success(), "{told:?}");
        String::from_utf8(told.stdout).unwrap()
    };
    let told = run(&host, &["downstreams", "hold", "http", "--plugin", "http", "--reason", "stocktaking"]);
    assert!(told.contains("stocktaking"), "{told}");
    let id = enqueue_many(&host, &downstream, 1).await.remove(0);
    host.waiting(&id, "retry-after").await;
    host.kill();
    host.start().await;
    assert_eq!(host.waiting(&id, "retry-after").await["waiting"]["detail"], "stocktaking");
    run(&host, &["downstreams", "release", "http"]);
    assert_eq!(host.ended(&id).await["state"], "completed");
    let told = run(&host, &["downstreams", "show", "http"]);
    assert!(told.contains("hold") && told.contains("release"), "{told}");
    assert!(run(&host, &["downstreams", "--json"]).contains("\"breaker\":\"closed\""));
}

#[tokio::test]
async fn a_hanging_downstream_takes_nothing_from_another() {
    let hanging = Downstream::start(|_, _| async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        Reply::status(200)
    })
    .await;
    let quick = Downstream::always(200).await;
    let file = |downstream: &Downstream| format!("origins = [\"{}\"]", downstream.origin());
    let host = Setup::default()
        .plugin("slow", common::guests::shipped(), &file(&hanging))
        .plugin("quick", common::guests::shipped(), &file(&quick))
        .start()
        .await;
    let jobs: Vec<_> =
        (0..2_000).map(|n| json!({"plugin": "slow", "payload": {"url": hanging.url("/"), "body": n}})).collect();
    host.enqueue_all(&jobs).await;
    until("the slow one has what it is given", || async { (!hanging.seen().is_empty()).then_some(()) }).await;
    let started = Stopwatch::start();
    for n in 0..50 {
        let id = host.enqueue(json!({"plugin": "quick", "payload": {"url": quick.url("/"), "body": n}})).await;
        assert_eq!(host.ended(&id).await["state"], "completed");
    }
    println!("50 jobs, one after the other, took {:?} beside 2,000 that hang", started.elapsed());
    assert!(hanging.seen().len() < 50, "a downstream that never answered got {} calls", hanging.seen().len());
}

#[tokio::test]
async fn jobs_of_one_limit_key_run_one_after_the_other() {
    let slow = Downstream::start(|_, _| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Reply::status(200)
    })
    .await;
    let mut host = host(&slow, "").await;
    let mut ids = Vec::new();
    for n in 0..24 {
        let job = json!({
            "plugin": "http", "payload": {"url": slow.url("/"), "body": n}, "limit_key": format!("customer-{}", n % 3),
            "downstream": format!("shop-{}", n % 2),
        });
        ids.push(host.enqueue(job).await);
        if n == 12 {
            host.kill();
            host.start().await;
        }
    }
    let mut spans = std::collections::BTreeMap::<String, Vec<(i64, i64)>>::new();
    for id in &ids {
        let job = host.ended(id).await;
        let last = job["attempts"].as_array().unwrap().last().unwrap();
        let span = (ms(&last["started_at"]), ms(&last["finished_at"]));
        spans.entry(job["limit_key"].as_str().unwrap().to_owned()).or_default().push(span);
    }
    assert_eq!(spans.len(), 3);
    for (key, mut spans) in spans {
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{key}: {spans:?} overlap");
    }
    assert_eq!(host.get("/v1/downstreams").await["downstreams"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_downstream_can_be_read_from_the_payload() {
    let downstream = Downstream::always(200).await;
    let file =
        format!("origins = [\"{}\"]\ndownstream = {{ pointer = \"/url\", part = \"host\" }}", downstream.origin());
    let host = Setup::default().plugin("http", common::guests::shipped(), &file).start().await;
    let id = host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/")}})).await;
    assert_eq!(host.ended(&id).await["downstream"], downstream.address.to_string());
}
