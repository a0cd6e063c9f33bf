//! A process that is ended under load, stopped for a while, or has no descriptor left.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::common::{Downstream, Host, Reply, Setup, Trouble, Wish, guests, json, number, until};
use crate::support::{Line, all_complete, crowd, lines, state, ticks, troubled};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_in_order_and_loses_nothing() {
    let (mut host, _trouble) = troubled("").await;
    let mut accepted = Vec::new();
    for _ in 0..3 {
        let told = {
            let pid = host.pid();
            let load = crowd(&host, 8, 40);
            let end = async {
                until("some work is under way", || async {
                    let jobs = host.client.get(format!("{}/v1/jobs?limit=1", host.base)).send().await.ok()?;
                    jobs.text().await.ok()?.contains("\"id\"").then_some(())
                })
                .await;
                rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
            };
            tokio::join!(load, end).0
        };
        assert_eq!(host.exited().await, 0);
        assert!(lines(&host, "ERROR").is_empty(), "{}", host.log());
        accepted.extend(told.accepted);
        host.start().await;
    }
    assert!(!accepted.is_empty());
    let attempts = all_complete(&host, &accepted).await;
    println!("{} accepted over 3 stops, {attempts} attempts", accepted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_as_soon_as_it_listens_ends_it_as_any_other() {
    let (mut host, _trouble) = troubled("").await;
    let id = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        host.signal(signal);
        assert_eq!(host.exited().await, 0);
        host.begin();
        host.listens().await;
    }
    host.ready().await;
    assert_eq!(host.job(&id).await["state"], "scheduled");
}

/// `FAULTS_STOP_SECS=60` stops it for a real minute; else the minute passes on its clocks alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_stopped_for_a_minute_goes_on() {
    let slow = |_, _| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Reply::status(200)
    };
    let downstream = Downstream::start(slow).await;
    let trouble = Trouble::new();
    let file = format!("origins = [\"{}\"]\n[retry]\nbase = \"100ms\"", downstream.origin());
    let setup = Setup::default().plugin("http", guests::shipped(), &file);
    let mut host = trouble.around(setup, false).start().await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/"), "body": n}})).await);
    }
    until("some are done and some run", || async { (downstream.seen().len() > 12).then_some(()) }).await;
    host.signal(Signal::STOP);
    until("it is stopped", || async { (state(&host) == "T").then_some(()) }).await;
    let secs: u32 = number("FAULTS_STOP_SECS").unwrap_or(1);
    tokio::time::sleep(Duration::from_secs(secs.into())).await;
    let rest_ns = 60_i64.saturating_sub(secs.into()).max(0) * 1_000_000_000;
    trouble.wish(Wish::WallNs, rest_ns);
    trouble.wish(Wish::SteadyNs, rest_ns);
    host.signal(Signal::CONT);
    // Connections that were idle for a minute are closed: let nobody ask over one of them just then.
    host.client = reqwest::Client::builder().no_proxy().build().unwrap();
    let attempts = all_complete(&host, &ids).await;
    let mut calls = HashMap::<String, Vec<_>>::new();
    for seen in downstream.seen() {
        calls.entry(seen.key().to_owned()).or_default().push((seen.at, seen.answered));
    }
    for id in &ids {
        let (calls, job) = (&calls[id], host.job(id).await);
        let attempts = job["attempts"].as_array().unwrap();
        assert!(calls.len() <= attempts.len(), "each call is of an attempt: {job:#}");
        assert!(attempts.iter().all(|attempt| !attempt["outcome"].is_null()), "{job:#}");
        // One that was never answered was given up: its attempt's minute was over before it was out.
        assert!(calls.windows(2).all(|pair| pair[0].1.is_none_or(|end| end <= pair[1].0)), "two at once: {job:#}");
    }
    println!("{} jobs, {attempts} attempts, {} calls", ids.len(), downstream.seen().len());
}

/// How many descriptors the process has open.
fn open_files(host: &Host) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", host.pid().as_raw_nonzero())).expect("it runs").count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_descriptors_goes_on_when_there_are_some() {
    let downstream = Downstream::always(200).await;
    let config = "[retention]\nevery = \"200ms\"";
    let file = format!("origins = [\"{}\"]\n[retry]\nbase = \"100ms\"\n", downstream.origin());
    let setup = Setup::default().config(config).plugin("http", guests::shipped(), &file).guest("misbehave", "");
    let host = setup.start().await;
    let mut ids = crowd(&host, 1, 3).await.accepted;
    let mut line = Line::to(&host).await;
    assert_eq!(line.ask(Method::GET, "/readyz", None).await.0, StatusCode::OK);
    let pid = Some(host.pid());
    let whole = rustix::process::getrlimit(Resource::Nofile);
    let least = Rlimit { current: Some(open_files(&host).min(3)), maximum: whole.maximum };
    let before = prlimit(pid, Resource::Nofile, least).expect("our own process");
    // Over the connection that there is.
    for n in 0..20 {
        // Those of the future are read back from the disk when their time has come.
        let (payload, delay) =
            (json!({"url": downstream.url("/"), "body": n}), if n % 2 == 0 { "0s" } else { "500ms" });
        let job = json!({"plugin": "http", "payload": payload, "delay": delay});
        let (status, job) = line.ask(Method::POST, "/v1/jobs", Some(job)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{job}");
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    let newcomer = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
    let (cpu, lines_before) = (ticks(&host), host.log().lines().count());
    let refused = newcomer.get(format!("{}/healthz", host.base)).send().await;
    assert!(refused.is_err(), "it had descriptors: {refused:?}");
    let spent = ticks(&host) - cpu;
    assert!(spent < 100, "{spent} hundredths of a second of processor time in 2 s of waiting");
    let said = host.log().lines().count() - lines_before;
    assert!(said < 200, "{said} lines in 2 s");
    assert_eq!(line.ask(Method::GET, "/readyz", None).await.0, StatusCode::OK);
    let path = format!("/v1/jobs/{}", ids[0]);
    assert_eq!(line.ask(Method::GET, &path, None).await.0, StatusCode::OK, "one reader is open from the beginning");
    prlimit(pid, Resource::Nofile, before).expect("our own process");
    all_complete(&host, &ids).await;
    until("newcomers are let in", || async { newcomer.get(format!("{}/healthz", host.base)).send().await.ok() }).await;
}
