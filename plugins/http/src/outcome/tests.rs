//! Tests of what an answer means.

use super::*;
use crate::windlass::plugin::http::Header;

fn answer(status: u16, retry_after: Option<&str>, body: &[u8]) -> Result<Completion, Failure> {
    let headers =
        retry_after.iter().map(|value| Header { name: "retry-after".to_owned(), value: (*value).to_owned() }).collect();
    let response = Response { status, headers, body: body.to_vec() };
    // What is missing of an answer plays no part.
    let [whole, cut] = [false, true].map(|is_cut| {
        let response = response.clone();
        let answer = BoundedResponse { response, headers_truncated: is_cut, body_truncated: is_cut };
        of_answer(&answer, SystemTime::UNIX_EPOCH)
    });
    assert_eq!(summary(whole.clone()), summary(cut));
    whole
}

/// The outcome in a word, its code and its delay.
fn summary(outcome: Result<Completion, Failure>) -> (&'static str, String, Option<u32>) {
    match outcome {
        Ok(_) => ("completed", String::new(), None),
        Err(Failure::TryAgain(setback)) => ("try-again", setback.code.unwrap(), setback.delay_ms),
        Err(Failure::RateLimited(setback)) => ("rate-limited", setback.code.unwrap(), setback.delay_ms),
        Err(Failure::Reject(fault)) => ("reject", fault.code.unwrap(), None),
        Err(Failure::UnknownOutcome(fault)) => ("unknown-outcome", fault.code.unwrap(), None),
    }
}

fn message(outcome: Result<Completion, Failure>) -> String {
    match outcome.unwrap_err() {
        Failure::TryAgain(setback) | Failure::RateLimited(setback) => setback.message,
        Failure::Reject(fault) | Failure::UnknownOutcome(fault) => fault.message,
    }
}

#[test]
fn every_status_has_its_outcome() {
    for status in 100..1000 {
        let wanted = match status {
            200..=299 => "completed",
            408 | 425 | 500..=599 => "try-again",
            429 => "rate-limited",
            _ => "reject",
        };
        let (outcome, code, delay_ms) = summary(answer(status, None, b""));
        assert_eq!((outcome, delay_ms), (wanted, None), "{status}");
        assert!(outcome == "completed" || code == format!("http-{status}"), "{status}: {code}");
    }
}

#[test]
fn retry_after_delays_and_makes_a_503_rate_limited() {
    for (status, retry_after, wanted) in [
        (503, "30", ("rate-limited", Some(30_000))),
        (503, "0", ("rate-limited", Some(0))),
        (503, "-30", ("try-again", None)),
        (503, "soon", ("try-again", None)),
        (429, "30", ("rate-limited", Some(30_000))),
        (429, "soon", ("rate-limited", None)),
        (500, "30", ("try-again", Some(30_000))),
        (408, "30", ("try-again", Some(30_000))),
        (404, "30", ("reject", None)),
        (301, "30", ("reject", None)),
    ] {
        let (outcome, _, delay_ms) = summary(answer(status, Some(retry_after), b""));
        assert_eq!((outcome, delay_ms), wanted, "{status}, {retry_after}");
    }
}

#[test]
fn no_response_has_its_outcome_too() {
    let text = || "why".to_owned();
    for (error, wanted) in [
        (SendError::Unreachable(text()), ("try-again", "unreachable")),
        (SendError::Unanswered(text()), ("unknown-outcome", "unanswered")),
        (SendError::Denied(text()), ("reject", "denied")),
        (SendError::Invalid(text()), ("reject", "invalid-request")),
        (SendError::TooLarge(text()), ("unknown-outcome", "response-too-large")),
    ] {
        let (outcome, code, _) = summary(Err(of_error(error)));
        assert_eq!((outcome, code.as_str()), wanted);
    }
    assert_eq!(message(Err(of_error(SendError::Unanswered(text())))), "why");
    assert_eq!(summary(Err(bad_payload(text()))).1, "bad-payload");
}

#[test]
fn messages_name_the_answer() {
    assert_eq!(
        message(answer(503, None, b"down\r\nfor repair")),
        "the downstream answered 503 Service Unavailable: down for repair"
    );
    assert_eq!(message(answer(410, None, b"")), "the downstream answered 410 Gone");
    assert_eq!(message(answer(599, None, b" \n ")), "the downstream answered 599");
}

#[test]
fn messages_are_short_and_printable() {
    let long = "é".repeat(5_000);
    assert_eq!(message(answer(500, None, long.as_bytes())).chars().filter(|char| *char == 'é').count(), 200);
    let wild = "\u{1b}[31mred\u{0} \u{202e}back\u{2066}\u{feff}".as_bytes();
    assert_eq!(message(answer(500, None, wild)), "the downstream answered 500 Internal Server Error: [31mred back");
    let broken = message(answer(500, None, b"\xff\xfe\x00ok"));
    assert!(broken.ends_with(": \u{fffd}\u{fffd} ok"), "{broken}");
}
