//! A wall clock that is set back an hour and forward a day, while the host runs and between its lives.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Downstream, Host, Reply, Setup, Trouble, Value, Wish, guests, json, until};

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// How long after its failure each job is tried again.
const DELAY: Duration = Duration::from_secs(4);
/// How late a retry may be. The promise is a second; the rest is for a machine that has other things to do.
const LATE: Duration = Duration::from_secs(10);

/// A downstream that fails the first call of each job, and a host that tries again after [`DELAY`].
async fn start(trouble: &Trouble) -> (Downstream, Host) {
    let downstream =
        Downstream::start(|_, before| async move { Reply::status(if before == 0 { 503 } else { 200 }) }).await;
    let retry = format!("[retry]\nbase = \"{}s\"\njitter = \"none\"", DELAY.as_secs());
    let file = format!("origins = [\"{}\"]\n{retry}", downstream.origin());
    let config = "[retention]\nevery = \"100ms\"\n[breaker]\nfailures = 1000000";
    let setup = Setup::default().config(config).plugin("http", guests::shipped(), &file).guest("misbehave", "");
    let host = trouble.around(setup, false).start().await;
    (downstream, host)
}

/// A job that has failed once, and how long ago that was seen.
async fn failed_once(host: &Host, downstream: &Downstream) -> String {
    let id = host.enqueue(json!({"plugin": "http", "payload": {"url": downstream.url("/"), "body": 1}})).await;
    host.in_state(&id, "retryable").await;
    id
}

/// The second call came when it was due, by the clock of whoever stands by.
fn was_on_time(downstream: &Downstream, id: &str, what: &str) {
    let calls: Vec<_> = downstream.seen().into_iter().filter(|seen| seen.key() == id).collect();
    let [first, second] = &calls[..] else { panic!("{what}: {} calls", calls.len()) };
    let waited = second.at - first.answered.expect("it was answered");
    println!("{what}: tried again after {waited:?}");
    assert!(waited >= DELAY, "{what}: {waited:?} is too early");
    assert!(waited <= DELAY + LATE, "{what}: {waited:?} is too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_wall_clock_neither_hastens_nor_delays_a_retry() {
    for step_s in [-HOUR_S, DAY_S] {
        let trouble = Trouble::new();
        let (downstream, host) = start(&trouble).await;
        let kept = host.misbehave(json!({"do": "echo"})).await;
        host.ended(&kept).await;
        let id = failed_once(&host, &downstream).await;
        trouble.wish(Wish::WallNs, step_s * 1_000_000_000);
        assert_eq!(host.ended(&id).await["state"], "completed");
        was_on_time(&downstream, &id, &format!("{step_s} s while it runs"));
        // Many rounds of the pruner have passed.
        assert_eq!(host.job(&kept).await["state"], "completed", "deleted before its time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_between_two_lives_of_the_host() {
    for (step_s, signal) in [(-HOUR_S, Signal::TERM), (DAY_S, Signal::KILL), (-HOUR_S, Signal::KILL)] {
        let trouble = Trouble::new();
        let (downstream, mut host) = start(&trouble).await;
        let kept = host.misbehave(json!({"do": "echo"})).await;
        host.ended(&kept).await;
        let id = failed_once(&host, &downstream).await;
        // One that waits for nothing but its turn when the host goes, and one that a person put off.
        host.ask(reqwest::Method::POST, "/v1/plugins/misbehave/pause", None).await;
        let ready = host.misbehave(json!({"do": "echo"})).await;
        let later = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "30d"})).await;
        host.signal(signal);
        host.exited().await;
        trouble.wish(Wish::WallNs, step_s * 1_000_000_000);
        host.start().await;
        host.ask(reqwest::Method::POST, "/v1/plugins/misbehave/resume", None).await;
        assert_eq!(host.ended(&ready).await["state"], "completed");
        assert_eq!(host.ended(&id).await["state"], "completed");
        was_on_time(&downstream, &id, &format!("{step_s} s between two lives"));
        assert_eq!(host.job(&kept).await["state"], "completed", "deleted before its time");
        assert_eq!(host.job(&later).await["state"], "scheduled");
        pruned_in_time(&mut host, &trouble, &kept).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_slept_neither_hastens_what_comes_after_nor_holds_back_what_is_due() {
    const ASLEEP_NS: i64 = 8 * HOUR_S * 1_000_000_000;
    let trouble = Trouble::new();
    let (downstream, mut host) = start(&trouble).await;
    let id = failed_once(&host, &downstream).await;
    let due_meanwhile = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    trouble.wish(Wish::AsleepNs, ASLEEP_NS);
    trouble.wish(Wish::WallNs, ASLEEP_NS);
    for id in [&id, &due_meanwhile] {
        assert_eq!(host.ended(id).await["state"], "completed");
    }
    let later = host.enqueue(json!({"plugin": "misbehave", "payload": {"do": "echo"}, "delay": "1h"})).await;
    let kept = host.misbehave(json!({"do": "echo"})).await;
    host.ended(&kept).await;
    let due = host.job(&later).await["run_at"].clone();
    host.signal(Signal::KILL);
    host.exited().await;
    host.start().await;
    let job = host.job(&later).await;
    assert_eq!((&job["state"], &job["run_at"]), (&json!("scheduled"), &due), "no more than a start has passed");
    assert_eq!(host.job(&kept).await["state"], "completed");
}

/// A day of the machine's own time later it is deleted, whatever the wall clock had said meanwhile.
async fn pruned_in_time(host: &mut Host, trouble: &Trouble, id: &str) {
    trouble.wish(Wish::SteadyNs, (DAY_S + HOUR_S + 60) * 1_000_000_000);
    until("it is deleted", || async {
        let answer = host.client.get(format!("{}/v1/jobs/{id}", host.base)).send().await.ok()?;
        let document: Value = answer.json().await.ok()?;
        (document["status"] == 404).then_some(())
    })
    .await;
}
