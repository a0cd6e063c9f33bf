//! The log is for who reads it: a standard error that is full, gone or left unread harms nobody.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use common::{Host, Setup, json, until};
use futures_util::{StreamExt as _, stream};
use rustix::process::{Pid, Signal, kill_process};

/// What is said beyond this is lost where nobody reads it: what a pipe holds, and twice what the host does.
const HELD_BYTES: usize = (64 << 10) + (2 << 20);
/// A name for a request that makes its line in the log long.
const LONG: &str =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A host whose standard error the test has in hand.
struct Held {
    host: Host,
    child: Child,
}

impl Held {
    /// Starts one and reads what it says until it is ready.
    async fn start(log: &str) -> (Self, BufReader<ChildStderr>) {
        let mut host = Setup::default().guest("echo", "").start().await;
        host.kill();
        let mut child = serve(&host, log).stderr(Stdio::piped()).spawn().expect("the host starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("windlass is ready") {
            if let Some((_, rest)) = line.split_once("address=") {
                host.base = format!("http://{}", rest.split_whitespace().next().expect("an address"));
            }
            line.clear();
            assert!(said.read_line(&mut line).expect("text") > 0, "it has ended");
        }
        (Self { host, child }, said)
    }

    /// Asks it to end, and says with what it did.
    async fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        tokio::task::spawn_blocking(move || self.child.wait()).await.expect("the wait ends").expect("a status").code()
    }
}

fn serve(host: &Host, log: &str) -> Command {
    let mut command = host.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("WINDLASS_LOG", log).env("NO_COLOR", "1").stdout(Stdio::null());
    command
}

/// A job of which the log says something, done.
async fn is_at_work(host: &Host) {
    let id = host.enqueue(json!({"plugin": "echo", "payload": 1})).await;
    assert_eq!(host.get(&format!("/v1/jobs/{id}?wait=1m")).await["state"], "completed");
}

/// Has the host say more than anybody holds. All of it is answered.
async fn flood(host: &Host) {
    let url = &format!("{}/healthz", host.base);
    let requests = stream::iter(0..HELD_BYTES / LONG.len()).map(async |_| {
        let answer = host.client.get(url).header("x-request-id", LONG).send().await.expect("an answer");
        assert!(answer.status().is_success());
    });
    requests.buffer_unordered(16).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_host_whose_log_nobody_takes_any_more_works_on() {
    let (held, said) = Held::start("debug,hyper=off").await;
    drop(said);
    for _ in 0..20 {
        is_at_work(&held.host).await;
    }
    let (status, _) = held.host.ask_json(reqwest::Method::POST, "/v1/downstreams/echo/hold", Some(&json!({}))).await;
    assert!(status.is_success(), "{status}");
    assert_eq!(held.end().await, Some(0));
}

#[tokio::test]
async fn a_host_whose_log_nobody_reads_works_on_ends_and_says_what_was_lost() {
    let (held, mut said) = Held::start("debug").await;
    let mut told = [0; 64 << 10];
    flood(&held.host).await;
    is_at_work(&held.host).await;
    // Once it is read again it is told how much is missing.
    let mut text = String::new();
    while !text.contains("log lines were lost") {
        let count = said.read(&mut told).expect("its log");
        assert!(count > 0, "it has ended");
        text.push_str(&String::from_utf8_lossy(&told[..count]));
    }
    flood(&held.host).await;
    assert_eq!(held.end().await, Some(0), "unread once more");
    drop(said);
}

#[tokio::test]
async fn a_host_starts_where_its_log_cannot_be_written_at_all() {
    for format in ["text", "json"] {
        let host = Setup::default().start().await;
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut command = serve(&host, "debug");
        command.args(["--data", "other", "--log-format", format]);
        let address = host.base.trim_start_matches("http://").to_owned();
        let args = ["serve", "--listen", &address, "--data", "other", "--log-format", format];
        // The port is taken: it says so, in vain, and with the code for it.
        let taken = host.command(&args).stderr(full.try_clone().expect("a descriptor")).status().expect("it ends");
        assert_eq!(taken.code(), Some(1), "{format}");
        let child = command.stderr(full).spawn().expect("the host starts");
        let pid = Pid::from_child(&child);
        until("it listens for signals", || async { catches(pid, Signal::TERM).then_some(()) }).await;
        let held = Held { host, child };
        assert_eq!(held.end().await, Some(0), "{format}");
    }
}

/// Whether the process has a handler for that signal.
fn catches(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux says it");
    let caught = u64::from_str_radix(line.trim(), 16).expect("a mask");
    caught & (1 << (signal.as_raw() - 1)) != 0
}

#[tokio::test]
async fn who_is_started_to_outlive_its_terminal_does() {
    let mut host = Setup::default().guest("echo", "").start().await;
    host.kill();
    let base = host.command(&["serve"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" serve --listen 127.0.0.1:0"]).arg(base.get_program());
    let mut child = command.current_dir(host.dir()).stderr(Stdio::piped()).spawn().expect("the host starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("windlass is ready")));
    let pid = Pid::from_child(&child);
    assert_eq!([Signal::TERM, Signal::HUP].map(|signal| catches(pid, signal)), [true, false]);
    for signal in [Signal::HUP, Signal::TERM] {
        kill_process(pid, signal).expect("it runs");
    }
    assert_eq!(child.wait().expect("a status").code(), Some(0));
}

#[tokio::test]
async fn a_wrong_wish_for_the_log_is_told_and_nothing_is_started() {
    let host = Setup::default().start().await;
    for (wish, told) in [("deubg", "\"deubg\" is no level"), ("windlass=verbose", "level filter")] {
        let output = serve(&host, wish).args(["--data", "other"]).output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains("WINDLASS_LOG") && stderr.contains(told), "{stderr}");
    }
}
