//! What an answer, or the lack of one, means for the job.

use std::time::SystemTime;

use crate::windlass::plugin::http::{BoundedResponse, Response, SendError};
use crate::windlass::plugin::types::{Completion, Failure, Fault, Setback};
use crate::{reason, result, retry_after};

#[cfg(test)]
mod tests;

/// How much of an answer's body goes into the message.
const EXCERPT_CHARS_MAX: usize = 200;

/// What the answer means, be it cut or whole. `clock` serves where it does not say its own time.
pub fn of_answer(answer: &BoundedResponse, clock: SystemTime) -> Result<Completion, Failure> {
    let response = &answer.response;
    let status = response.status;
    if (200..300).contains(&status) {
        return Ok(Completion {
            content_type: "application/json".to_owned(),
            body: result::json(answer),
            attributes: Vec::new(),
        });
    }
    let (message, code) = (message(response), Some(format!("http-{status}")));
    let delay_ms = retry_after::delay_ms(&response.headers, clock);
    Err(match status {
        429 => Failure::RateLimited(Setback { message, code, delay_ms }),
        503 if delay_ms.is_some() => Failure::RateLimited(Setback { message, code, delay_ms }),
        408 | 425 | 500..600 => Failure::TryAgain(Setback { message, code, delay_ms }),
        _ => Failure::Reject(Fault { message, code }),
    })
}

/// What it means that there is no response.
pub fn of_error(error: SendError) -> Failure {
    match error {
        SendError::Unreachable(message) => {
            Failure::TryAgain(Setback { message, code: Some("unreachable".to_owned()), delay_ms: None })
        }
        SendError::Unanswered(message) => Failure::UnknownOutcome(fault(message, "unanswered")),
        // The host makes the job wait for the grant: its own word counts more than this one.
        SendError::Denied(message) => reject(message, "denied"),
        SendError::Invalid(message) => reject(message, "invalid-request"),
        // Not even its status could be read.
        SendError::TooLarge(message) => Failure::UnknownOutcome(fault(message, "response-too-large")),
    }
}

/// What it means that the payload describes no request.
pub fn bad_payload(message: String) -> Failure {
    reject(message, "bad-payload")
}

fn reject(message: String, code: &str) -> Failure {
    Failure::Reject(fault(message, code))
}

fn fault(message: String, code: &str) -> Fault {
    Fault { message, code: Some(code.to_owned()) }
}

fn message(response: &Response) -> String {
    let mut message = format!("the downstream answered {}", response.status);
    for (separator, part) in [(" ", reason::of_status(response.status)), (": ", &excerpt(&response.body))] {
        if !part.is_empty() {
            message.push_str(separator);
            message.push_str(part);
        }
    }
    message
}

/// The beginning of a body as one line that is safe to print: what is not fit to be seen becomes a space.
fn excerpt(body: &[u8]) -> String {
    // A character has at most four bytes; twice that leaves room for blanks that are dropped.
    let text = String::from_utf8_lossy(&body[..body.len().min(8 * EXCERPT_CHARS_MAX)]);
    let clean = text.replace(is_unprintable, " ");
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(EXCERPT_CHARS_MAX).collect()
}

/// Control characters, and those that reorder or hide text.
fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
