//! Attempts that wait for a slow downstream, many at once: what each of them keeps.

mod common;

use common::{Downstream, Host, Reply, Setup, json, until};
use reqwest::StatusCode;

/// How many wait.
const WAITING: usize = 200;
/// A guest's stack, as the pool maps it. The threads' own are as large: there are a few of them.
const STACK_KIB: u64 = 2 << 10;
/// What a guest that waits keeps of it, at most: 20 KiB where nothing is optimised, and 96 if it went the whole way to the
/// downstream by itself.
const KEPT_KIB_MAX: u64 = 40;

/// What is in memory of each mapping that is as large as a guest's stack, least first.
fn stacks_kib(host: &Host) -> Vec<u64> {
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", host.pid().as_raw_nonzero())).expect("the host runs");
    let number = |line: &str| line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB");
    let (mut kept, mut size) = (Vec::new(), 0);
    for line in smaps.lines() {
        match line.split(':').next() {
            Some("Size") => size = number(line),
            Some("Rss") if size == STACK_KIB && number(line) > 0 => kept.push(number(line)),
            _ => {}
        }
    }
    kept.sort_unstable();
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_keeps_little_of_its_stack() {
    let silent = Downstream::start(|_, _| std::future::pending::<Reply>()).await;
    let host = Setup::default()
        .config("[limits]\nconcurrency = 256\ndeadline = \"10m\"\n[breaker]\ninitial = 256")
        .plugin("http", common::guests::shipped(), &format!("concurrency = 256\norigins = [\"{}\"]", silent.origin()))
        .start()
        .await;
    let job = json!({"plugin": "http", "payload": {"url": silent.url("/"), "body": 1}});
    let jobs = json!({"jobs": vec![job; WAITING]});
    let answer = host.client.post(format!("{}/v1/jobs/batch", host.base)).json(&jobs).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    until("all of them wait", || async { (silent.seen().len() == WAITING).then_some(()) }).await;
    let kept = stacks_kib(&host);
    assert!(kept.len() >= WAITING, "{kept:?}");
    let middle = kept[kept.len() / 2];
    assert!(middle <= KEPT_KIB_MAX, "a guest that waits keeps {middle} KiB of its stack: {kept:?}");
}
