//! Delivers orders and documents to an ERP over `wasi:http`: one call of `run` is one attempt of one job.

use serde_json::{Map, Value, json};

mod http;

wit_bindgen::generate!({ path: "wit", world: "described-plugin", generate_all });

use exports::windlass::plugin::{handler, metadata};
use windlass::plugin::config;
use windlass::plugin::log::{self, Level};
use windlass::plugin::types::{Attribute, Completion, Failure, Fault, Job, Setback};

use http::{Response, SendError};

/// How much of a refusal stands in the job's error.
const EXCERPT_CHARS_MAX: usize = 200;

struct Plugin;

export!(Plugin);

impl handler::Guest for Plugin {
    fn run(job: Job) -> Result<Completion, Failure> {
        let (erp, token) = (granted("erp")?, granted("token")?);
        if media_type(&job.content_type).eq_ignore_ascii_case("application/json") {
            let order = text_member(&job.payload, "order").map_err(bad_order)?;
            info(&format!("delivering order {order}, attempt {}", job.attempt));
            let answer = deliver(job, format!("{erp}/orders"), &token)?;
            // A 2xx without a number breaks the ERP's promise. There is nothing to handle: the panic fails this
            // attempt, with its message and its trace for people to see.
            let number = text_member(&answer.body, "number").expect("the ERP's answer names a number");
            info(&format!("the ERP took order {order} as {number}"));
            return Ok(completion(answer, vec![Attribute { name: "erp-number".to_owned(), value: number }]));
        }
        info(&format!("delivering a document of {} bytes, attempt {}", job.payload.len(), job.attempt));
        Ok(completion(deliver(job, format!("{erp}/documents"), &token)?, Vec::new()))
    }
}

impl metadata::Guest for Plugin {
    fn describe() -> String {
        json!({
            "title": "Order delivery",
            "description": "Delivers orders and documents to an ERP",
            "version": env!("CARGO_PKG_VERSION"),
            "config": ["erp"],
            "secrets": ["token"],
        })
        .to_string()
    }
}

/// The value that the operator granted under that name.
fn granted(name: &str) -> Result<String, Failure> {
    // The operator can add it at any time, so the job is kept.
    config::get(name)
        .ok_or_else(|| Failure::TryAgain(setback(format!("the value {name:?} is not granted"), "not-configured", None)))
}

/// Sends the payload as it is. What comes back is an answer that says that it was taken.
fn deliver(job: Job, url: String, token: &str) -> Result<Response, Failure> {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("content-type", job.content_type.as_str()),
        ("authorization", &authorization),
        // The same over all attempts of a job, so that the ERP can recognise a repeat.
        ("idempotency-key", &job.idempotency_key),
    ];
    let answer = http::post(&url, &headers, &job.payload).map_err(of_error)?;
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(of_answer(&answer)) }
}

fn completion(answer: Response, attributes: Vec<Attribute>) -> Completion {
    let content_type = header(&answer, "content-type").unwrap_or("application/octet-stream").to_owned();
    Completion { content_type, body: answer.body, attributes }
}

/// Which answers are worth another attempt, and which are final.
fn of_answer(answer: &Response) -> Failure {
    let status = answer.status;
    let (message, code) = (format!("the ERP answered {status}"), format!("http-{status}"));
    let delay_ms = header(answer, "retry-after").and_then(retry_after_ms);
    match status {
        429 => Failure::RateLimited(setback(message, &code, delay_ms)),
        503 if delay_ms.is_some() => Failure::RateLimited(setback(message, &code, delay_ms)),
        408 | 425 | 500.. => Failure::TryAgain(setback(message, &code, None)),
        _ => {
            // No character has more than four bytes: there is no need to look at more of them.
            let start = &answer.body[..answer.body.len().min(4 * EXCERPT_CHARS_MAX)];
            let excerpt: String = String::from_utf8_lossy(start).chars().take(EXCERPT_CHARS_MAX).collect();
            let message = if excerpt.is_empty() { message } else { format!("{message}: {excerpt}") };
            Failure::Reject(fault(message, &code))
        }
    }
}

/// How long the ERP asks to be left alone, where it says so in whole seconds.
fn retry_after_ms(value: &str) -> Option<u32> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // What does not fit is too much anyway.
    is_number.then(|| value.parse::<u32>().unwrap_or(u32::MAX).saturating_mul(1_000))
}

/// What it means for the job that there is no answer.
fn of_error(error: SendError) -> Failure {
    match error {
        SendError::Denied(message) => Failure::TryAgain(setback(message, "denied", None)),
        SendError::Unreachable(message) => Failure::TryAgain(setback(message, "unreachable", None)),
        // The ERP may have taken it. The host tries again with the same idempotency key.
        SendError::Unanswered(message) => Failure::UnknownOutcome(fault(message, "unanswered")),
        SendError::Invalid(message) => Failure::Reject(fault(message, "invalid-request")),
        SendError::TooLarge(message) => Failure::Reject(fault(message, "too-large")),
    }
}

/// A payload without an order never gets better.
fn bad_order(why: String) -> Failure {
    Failure::Reject(fault(format!("the payload is no order: {why}"), "bad-order"))
}

/// A text member of a JSON object.
fn text_member(document: &[u8], name: &str) -> Result<String, String> {
    let mut members: Map<String, Value> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("no text member {name:?}")),
    }
}

fn setback(message: String, code: &str, delay_ms: Option<u32>) -> Setback {
    Setback { message, code: Some(code.to_owned()), delay_ms }
}

fn fault(message: String, code: &str) -> Fault {
    Fault { message, code: Some(code.to_owned()) }
}

/// The first header of that name. The host hands the names over in lower case.
fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A media type without its parameters.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn info(message: &str) {
    log::log(Level::Info, message);
}
