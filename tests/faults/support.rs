//! What the tests of faults share: a crowd of clients, and what a host has said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};

use crate::common::{Host, Setup, Start, Trouble, Value, json};

/// How long a request may take before it counts as a hang. Far more than any of them needs.
const HANG: Duration = Duration::from_secs(30);

/// "Input/output error".
pub const EIO: i64 = 5;

/// A host with the guest that does as it is told, and with its trouble.
pub async fn troubled(config: &str) -> (Host, Trouble) {
    let trouble = Trouble::new();
    let host = trouble.around(Setup::default().config(config).guest("misbehave", ""), false).start().await;
    (host, trouble)
}

/// What a crowd was told.
#[derive(Debug, Default)]
pub struct Told {
    /// The jobs that were acknowledged.
    pub accepted: Vec<String>,
    /// The kinds of the problems.
    pub refused: Vec<String>,
    /// Requests whose connection broke off.
    pub broken: usize,
}

/// So many clients, who enqueue so many jobs each.
pub async fn crowd(host: &Host, clients: usize, each: usize) -> Told {
    let told = Arc::new(Mutex::new(Told::default()));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (client, url, told) = (host.client.clone(), format!("{}/v1/jobs", host.base), told.clone());
        crowd.spawn(async move {
            for _ in 0..each {
                enqueue(&client, &url, &told).await;
            }
        });
    }
    crowd.join_all().await;
    Arc::into_inner(told).expect("the crowd has gone").into_inner().expect("nobody panicked")
}

async fn enqueue(client: &Client, url: &str, told: &Mutex<Told>) {
    let body = json!({"plugin": "misbehave", "payload": {"do": "echo", "pad": "x".repeat(300)}}).to_string();
    let request = client.post(url).header("content-type", "application/json").body(body).send();
    let answer = tokio::time::timeout(HANG, request).await.expect("no request hangs");
    let answer = match answer {
        Ok(answer) => (answer.status(), answer.json::<Value>().await),
        Err(error) => {
            assert!(!error.is_timeout(), "{error}");
            told.lock().unwrap().broken += 1;
            return;
        }
    };
    let mut told = told.lock().unwrap();
    match answer {
        (StatusCode::ACCEPTED, Ok(job)) => told.accepted.push(job["id"].as_str().expect("an id").to_owned()),
        (StatusCode::SERVICE_UNAVAILABLE, Ok(problem)) => {
            told.refused.push(problem["type"].as_str().expect("a kind").rsplit(':').next().expect("a word").to_owned());
        }
        (_, Err(_)) => told.broken += 1,
        (status, Ok(other)) => panic!("{status}: {other}"),
    }
}

/// One connection to a host, and no other: a pool would make a new one whenever it likes.
pub struct Line(hyper::client::conn::http1::SendRequest<String>, String);

impl Line {
    /// Connects.
    pub async fn to(host: &Host) -> Self {
        let authority = host.base.trim_start_matches("http://").to_owned();
        let stream = tokio::net::TcpStream::connect(&authority).await.expect("it listens");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("it speaks HTTP/1");
        tokio::spawn(connection);
        Self(sender, authority)
    }

    /// Asks for something.
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = hyper::Request::builder().method(method).uri(path).header("host", &self.1);
        let request = request.header("content-type", "application/json").body(body).expect("a sound request");
        let answer = async {
            self.0.ready().await.expect("the connection stays");
            let answer = self.0.send_request(request).await.expect("an answer");
            let status = answer.status();
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a whole answer");
            (status, serde_json::from_slice(&body.to_bytes()).expect("JSON"))
        };
        tokio::time::timeout(HANG, answer).await.expect("no request hangs")
    }
}

/// All of these are there and come to their end; answers their numbers of attempts in all.
pub async fn all_complete(host: &Host, ids: &[String]) -> usize {
    let mut attempts = 0;
    for id in ids {
        let job = host.ended(id).await;
        assert_eq!(job["state"], "completed", "{job:#}");
        let numbers: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|it| it["n"].as_u64().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{job:#}");
        attempts += numbers.len();
    }
    attempts
}

/// The problem that the host answers with.
pub async fn problem(host: &Host, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
    let (status, problem) = host.ask_json(method, path, body).await;
    (status, problem["type"].as_str().unwrap_or_default().replace("urn:windlass:problem:", ""))
}

/// How many lines of that level the host has logged.
pub fn lines(host: &Host, level: &str) -> Vec<String> {
    let level = format!("\"level\":\"{level}\"");
    host.log().lines().filter(|line| line.contains(&level)).map(str::to_owned).collect()
}

/// The line with which a host gave up: there is one, it names the store, and nothing else went wrong before.
pub fn clear_line(start: &Start) -> Option<&str> {
    let Start::Gone(code, said) = start else { return None };
    assert!(matches!(code, Some(1 | 2)), "{start:?}");
    let last = said.last().expect("it says why");
    let wrong = said.iter().filter(|line| line.contains("error") || line.contains("ERROR")).count();
    assert!(wrong <= 1 && last.contains("data/windlass.db"), "{said:#?}");
    Some(last)
}

/// How much processor time the host has had, in hundredths of a second.
pub fn ticks(host: &Host) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.pid().as_raw_nonzero())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// What the host is doing, as the system says: `T` is stopped.
pub fn state(host: &Host) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.pid().as_raw_nonzero())).expect("it runs");
    stat.rsplit(") ").next().and_then(|rest| rest.split(' ').next()).expect("a state").to_owned()
}
