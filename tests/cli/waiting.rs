//! `enqueue --wait`: a job that was accepted is never without its id, whatever becomes of the wait.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::common::Setup;
use crate::said;

const ID: &str = "01990000-0000-7000-8000-000000000000";

/// Answers each request with the next of these, on a connection of its own; with nothing where that is empty. Returns its
/// URL, and what was asked for when all are given.
pub fn server(answers: &[(&str, String)]) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<_> = answers.iter().map(|(head, body)| ((*head).to_owned(), body.clone())).collect();
    let serving = std::thread::spawn(move || {
        answers.iter().map(|(head, body)| answer(&listener.accept().unwrap().0, head, body)).collect()
    });
    (base, serving)
}

/// Reads a request and answers it. Returns its first line.
fn answer(mut stream: &TcpStream, head: &str, body: &str) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut left = 0;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        if let Some(said) = line.to_lowercase().strip_prefix("content-length: ") {
            left = said.parse().unwrap();
        }
    }
    assert!(left < 4 << 10, "it came with the head");
    if !head.is_empty() {
        let length = body.len();
        write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    }
    first
}

fn accepted() -> (&'static str, String) {
    ("202 Accepted", format!(r#"{{"id":"{ID}","state":"available"}}"#))
}

fn busy() -> (&'static str, String) {
    ("503 Service Unavailable\r\nretry-after: 1", r#"{"detail":"the store is busy"}"#.to_owned())
}

#[tokio::test]
async fn a_token_that_may_not_read_is_told_which_job_was_accepted() {
    let host = Setup::default().guest("echo", "").start().await;
    let (code, token, stderr) =
        said(&host.command(&["token", "new", "sender", "--scope", "enqueue"]).output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    let mut command = host.command(&["enqueue", "echo", "--payload", "1", "--wait"]);
    let (code, stdout, stderr) = said(&command.env("WINDLASS_TOKEN", token.trim()).output().unwrap());
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.split_whitespace().any(|word| word.len() == 36), "{stderr}");
    assert!(stderr.contains("accepted") && stderr.contains("read") && stderr.lines().count() == 1, "{stderr}");
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_asked_again() {
    let host = Setup::default().start().await;
    let ended = ("200 OK", format!(r#"{{"id":"{ID}","state":"completed","finished_at":"2026-01-01T00:00:00.000Z"}}"#));
    let (base, serving) = server(&[accepted(), ("", String::new()), busy(), ended]);
    let mut command = host.command(&["enqueue", "echo", "--wait", "--json", "--server", &base]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (code, stdout, stderr) = said(&output);
    assert!(code == 0 && stdout.contains("completed"), "{stdout}{stderr}");
    let asked = serving.join().unwrap();
    assert!(asked[1..].iter().all(|line| line.starts_with(&format!("GET /v1/jobs/{ID}?wait="))), "{asked:?}");
}

#[tokio::test]
async fn who_waits_in_vain_has_the_id() {
    let host = Setup::default().start().await;
    let other = ("200 OK", r#"{"id":"another","state":"completed"}"#.to_owned());
    let gone = ("404 Not Found", r#"{"detail":"there is no such job"}"#.to_owned());
    for (answers, wait, told) in [
        (vec![accepted(), gone], "1m", "there is no such job"),
        (vec![accepted(), busy(), busy()], "100ms", "the store is busy"),
        (vec![accepted(), other], "1m", "is it a windlass?"),
        (vec![accepted()], "100ms", "no windlass answers"),
    ] {
        let (base, serving) = server(&answers);
        let mut command = host.command(&["enqueue", "echo", "--wait", wait, "--server", &base]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains(ID) && stderr.contains(told) && stderr.lines().count() == 1, "{stderr}");
        serving.join().unwrap();
    }
}

#[tokio::test]
async fn a_repeat_whose_job_is_deleted_is_told_as_that() {
    let host = Setup::default().start().await;
    let gone = || ("200 OK", format!(r#"{{"id":"{ID}","state":null}}"#));
    let (base, serving) = server(&[gone(), gone()]);
    for (more, code) in [(&[][..], 0), (&["--wait"][..], 1)] {
        let args = [&["enqueue", "echo", "--idempotency-key", "k", "--server", &base], more].concat();
        let mut command = host.command(&args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (ended, stdout, stderr) = said(&output);
        assert_eq!(ended, code, "{stdout}{stderr}");
        let told = format!("{stdout}{stderr}");
        assert!(told.contains(ID) && told.contains("deleted since") && told.lines().count() == 1, "{told}");
    }
    serving.join().unwrap();
}
