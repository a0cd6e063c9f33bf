//! Doing what a verb says.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::verb::{Stream, Verb};
use crate::windlass::plugin::types::{Attribute, Completion, Failure, Fault, Job, Setback};
use crate::windlass::plugin::{config, log};
use crate::{fetch, hostile, probe, strain, wasi_fetch};

static CALLS: AtomicU32 = AtomicU32::new(0);

type Outcome = Result<Completion, Failure>;

/// Does it.
pub fn perform(verb: Verb, job: &Job) -> Outcome {
    match verb {
        Verb::Echo => return Ok(completion(&job.content_type, job.payload.clone())),
        Verb::Job => return completed(&record(job)),
        Verb::Sleep { ms } => std::thread::sleep(Duration::from_millis(ms)),
        Verb::Spin { ms } => strain::spin(ms.map(Duration::from_millis)),
        Verb::Allocate { bytes } => strain::allocate(bytes),
        Verb::Trap => std::process::abort(),
        Verb::Panic { message } => panic!("{message}"),
        Verb::Recurse => strain::recurse(),
        Verb::Exit { code } => std::process::exit(code),
        Verb::Log { level, message, times } => {
            let level = level.into();
            (0..times.unwrap_or(1)).for_each(|_| log::log(level, &message));
        }
        Verb::Print { stream, text, times } => print(&stream, &text, times.unwrap_or(1)),
        Verb::Complete { body, attributes } => return complete(body, attributes),
        Verb::Retry { message, code, delay_ms } => return Err(Failure::TryAgain(Setback { message, code, delay_ms })),
        Verb::RateLimited { message, code, delay_ms } => {
            return Err(Failure::RateLimited(Setback { message, code, delay_ms }));
        }
        Verb::Reject { message, code } => return Err(Failure::Reject(Fault { message, code })),
        Verb::Unknown { message, code } => return Err(Failure::UnknownOutcome(Fault { message, code })),
        Verb::FailUntil { attempt, with } if job.attempt < attempt => return perform(*with, job),
        Verb::FailUntil { .. } => return completed(&json!({ "attempt": job.attempt })),
        Verb::Fetch(target) => return completed(&fetch::as_json(fetch::send(target))),
        Verb::FetchOrRetry(target) => return fetch_or_retry(fetch::send(target)),
        Verb::FetchBounded(target) => return completed(&fetch::send_bounded(target)),
        Verb::WasiFetch { url, method, body, headers } => {
            return completed(&fetch::as_json(wasi_fetch::send(&url, method.as_deref(), body, &headers)));
        }
        Verb::Config { name } => return completed(&json!({ "value": config::get(&name) })),
        Verb::Count => return completed(&json!({ "count": CALLS.fetch_add(1, Ordering::Relaxed) + 1 })),
        Verb::Calls { times } => strain::calls(times),
        Verb::Random { bytes, times } => strain::random(bytes, times.unwrap_or(1)),
        Verb::Handles { count } => strain::handles(count),
        Verb::Sockets { count } => return completed(&json!({ "made": probe::sockets(count) })),
        Verb::WasiFlood { url, count } => return completed(&wasi_fetch::flood(&url, count)),
        Verb::WasiMethod { letters } => return completed(&json!({ "taken": wasi_fetch::takes_method(letters) })),
        Verb::WasiAuthority { letters } => return completed(&json!({ "taken": wasi_fetch::takes_authority(letters) })),
        Verb::WasiPath { letters } => return completed(&json!({ "taken": wasi_fetch::takes_path(letters) })),
        Verb::Result { bytes } => return Ok(completion("text/plain", vec![b'x'; bytes])),
        Verb::Probe => return completed(&probe::probe()),
        Verb::GarbageError { bytes } => return Err(Failure::Reject(Fault { message: garbage(bytes), code: None })),
        Verb::Spam { call, url } => hostile::spam(call, url),
        Verb::Hoard { handle } => hostile::hoard(handle),
        Verb::PileUpHeaders => return completed(&json!({ "error": hostile::pile_up_headers() })),
        Verb::HeaderFlood { url, count, bytes } => return completed(&hostile::flood_headers(url, count, bytes)),
        Verb::Reveal { name, form } => return completed(&json!({ "told": hostile::reveal(&name, form) })),
        Verb::Then { steps } => {
            return steps.into_iter().try_fold(completion("", Vec::new()), |_, step| perform(step, job));
        }
    }
    Ok(completion("", Vec::new()))
}

fn completed(body: &Value) -> Outcome {
    Ok(completion("application/json", body.to_string().into_bytes()))
}

fn completion(content_type: &str, body: Vec<u8>) -> Completion {
    Completion { content_type: content_type.to_owned(), body, attributes: Vec::new() }
}

fn complete(body: Option<Value>, attributes: BTreeMap<String, String>) -> Outcome {
    let mut completion = match body {
        Some(body) => completed(&body)?,
        None => completion("", Vec::new()),
    };
    completion.attributes = attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect();
    Ok(completion)
}

fn fetch_or_retry(fetched: Result<fetch::Answer, fetch::Trouble>) -> Outcome {
    match fetched {
        Err(fetch::Trouble { kind, message }) => {
            Err(Failure::TryAgain(Setback { message, code: Some(kind.to_owned()), delay_ms: None }))
        }
        answer => completed(&fetch::as_json(answer)),
    }
}

fn record(job: &Job) -> Value {
    let attributes: BTreeMap<_, _> = job.attributes.iter().map(|one| (&one.name, &one.value)).collect();
    json!({
        "id": job.id,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "idempotency_key": job.idempotency_key,
        "content_type": job.content_type,
        "payload_base64": STANDARD.encode(&job.payload),
        "enqueued_at": job.enqueued_at,
        "remaining_ms": job.remaining_ms,
        "attributes": attributes,
    })
}

fn print(stream: &Stream, text: &str, times: u32) {
    let mut to: Box<dyn Write> = match stream {
        Stream::Stdout => Box::new(std::io::stdout().lock()),
        Stream::Stderr => Box::new(std::io::stderr().lock()),
    };
    // A host that takes no more is within its rights, and no reason to fail.
    let _ = (0..times).try_for_each(|_| writeln!(to, "{text}")).and_then(|()| to.flush());
}

/// Newlines, escape sequences of a terminal, a NUL and text in turns.
fn garbage(chars: usize) -> String {
    "\u{1b}[2J\u{1b}[31mgarbage\r\n\0\u{7}\u{202e}".chars().cycle().take(chars).collect()
}
