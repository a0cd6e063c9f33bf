//! From what a guest answered, or how it ended, to an outcome.

use bytes::Bytes;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::job::{Completion, Fault, HostFault, Outcome, Setback};

use super::attempt::Attempt;
use super::bindings::windlass::plugin::types::{
    Completion as GuestCompletion, Failure, Fault as GuestFault, Setback as GuestSetback,
};
use super::host_calls::HostCallsExceeded;
use super::lack;
use super::ledger::{Crowded, Scarce};
use super::limits::MemoryExceeded;
use super::state::CpuExceeded;
use super::text;

/// The longest media type, and the longest name of an attribute.
const NAME_BYTES_MAX: usize = 255;
/// What an attribute costs beside its text.
const ATTRIBUTE_BYTES: usize = 16;
/// The digits of a hash in the name of a Rust function.
const HASH_BYTES: usize = 16;
/// How many frames of a backtrace are told.
const FRAMES_MAX: usize = 12;

/// How far an attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The instance was being made.
    Start,
    /// It was called.
    Run,
}

/// The guest says that the work is done.
pub(super) fn completed(completion: GuestCompletion, attempt: &Attempt) -> Outcome {
    let (secrets, limit) = (&attempt.grants.secrets, attempt.limits.result);
    let attribute_bytes = |name: &String, value: &String| name.len() + value.len() + ATTRIBUTE_BYTES;
    let attributes_bytes: usize =
        completion.attributes.iter().map(|attribute| attribute_bytes(&attribute.name, &attribute.value)).sum();
    let given_bytes = completion.body.len();
    let body = if given_bytes as u64 > limit.0 { Bytes::new() } else { secrets.mask_bytes(completion.body.into()) };
    // A mask may be longer than what it covers.
    let result_bytes = given_bytes.max(body.len()) + attributes_bytes;
    if result_bytes as u64 > limit.0 {
        let message = format!("the result is {result_bytes} bytes, the limit is {limit} (limits.result)");
        return Outcome::Host(HostFault::ResultTooLarge, message);
    }
    let (attributes, most) = (completion.attributes.len(), attempt.limits.attributes);
    if attributes > usize::try_from(most).unwrap_or(usize::MAX) {
        let message = format!("the result has {attributes} attributes, the limit is {most} (limits.attributes)");
        return Outcome::Host(HostFault::ResultTooLarge, message);
    }
    let value_bytes_max = usize::try_from(limit.0).unwrap_or(usize::MAX);
    let clean = |name: &str, value: &str| (secrets.line(name, NAME_BYTES_MAX), secrets.line(value, value_bytes_max));
    Outcome::Completed(Completion {
        content_type: secrets.line(&completion.content_type, NAME_BYTES_MAX),
        body,
        attributes: completion.attributes.iter().map(|each| clean(&each.name, &each.value)).collect(),
    })
}

/// The guest says that the work is not done.
pub(super) fn failed(failure: &Failure, attempt: &Attempt) -> Outcome {
    match failure {
        Failure::TryAgain(setback) => Outcome::TryAgain(setback_of(setback, attempt)),
        Failure::RateLimited(setback) => Outcome::RateLimited(setback_of(setback, attempt)),
        Failure::Reject(fault) => Outcome::Reject(fault_of(fault, attempt)),
        Failure::UnknownOutcome(fault) => Outcome::UnknownOutcome(fault_of(fault, attempt)),
    }
}

fn setback_of(setback: &GuestSetback, attempt: &Attempt) -> Setback {
    let code = code(setback.code.as_deref(), attempt);
    Setback { message: message(&setback.message, attempt), code, delay_ms: setback.delay_ms }
}

fn fault_of(fault: &GuestFault, attempt: &Attempt) -> Fault {
    Fault { message: message(&fault.message, attempt), code: code(fault.code.as_deref(), attempt) }
}

fn message(guests: &str, attempt: &Attempt) -> String {
    attempt.grants.secrets.line(guests, attempt.limits.error_text.as_usize())
}

fn code(guests: Option<&str>, attempt: &Attempt) -> Option<String> {
    let clean = |code| attempt.grants.secrets.line(code, attempt.limits.error_code.as_usize());
    guests.map(clean).filter(|code| !code.is_empty())
}

/// The guest cost the host more than it may, though it came to its end.
pub(super) fn host_calls(exceeded: HostCallsExceeded, attempt: &Attempt) -> Outcome {
    Outcome::Host(HostFault::HostCalls, message(&exceeded.to_string(), attempt))
}

/// The wall time is over.
pub(super) fn deadline(attempt: &Attempt) -> Outcome {
    let message = format!("the attempt did not end within its deadline of {:?}", attempt.wall);
    Outcome::Host(HostFault::Deadline, message)
}

/// The host itself failed. The panic hook has told the log.
pub(super) fn host_panic() -> Outcome {
    tracing::error!("the host panicked during an attempt: please report this");
    Outcome::Host(HostFault::Trap, "the host itself panicked during the attempt; its log says where".to_owned())
}

/// What is not granted is the operator's to mend, whatever the guest made of it.
pub(super) fn denied_instead(outcome: Outcome, attempt: &Attempt) -> Outcome {
    let keeps = matches!(outcome, Outcome::Completed(_) | Outcome::Host(HostFault::Cancelled, _));
    match attempt.ledger().denied.take() {
        Some(remedy) if !keeps => Outcome::Host(HostFault::Denied, message(&remedy, attempt)),
        _ => outcome,
    }
}

/// What the host had no room for is nobody's fault: it is tried again, whatever the guest made of it.
pub(super) fn crowded_instead(outcome: Outcome, attempt: &Attempt) -> Outcome {
    let is_for_want_of_it =
        matches!(outcome, Outcome::TryAgain(_) | Outcome::Reject(_) | Outcome::Host(HostFault::Deadline, _));
    match attempt.ledger().crowded.as_ref().filter(|_| is_for_want_of_it) {
        Some(Crowded { of, why }) => Outcome::TryAgain(Setback {
            message: message(why, attempt),
            code: Some(of.code().to_owned()),
            delay_ms: None,
        }),
        None => outcome,
    }
}

/// What is kept of an outcome that the host made of a guest's end: without the plugin's secrets. What a guest answered
/// was masked when it was taken.
pub(super) fn masked(outcome: Outcome, attempt: &Attempt) -> Outcome {
    match outcome {
        Outcome::Host(kind, told) if !attempt.grants.secrets.is_empty() => Outcome::Host(kind, message(&told, attempt)),
        other => other,
    }
}

/// The guest ended otherwise than by answering.
pub(super) fn of_error(error: &Error, phase: Phase, attempt: &Attempt) -> Outcome {
    // Others have taken what there is: no fault of the plugin's, which is tried again.
    if lack::of_places(error) || phase == Phase::Start && lack::of_wasmtime(error) {
        let why = format!("the host has no room for one more instance now: {error:#}");
        attempt.ledger().crowd(Scarce::Instances, &why);
        return Outcome::TryAgain(Setback { message: why, code: None, delay_ms: None });
    }
    let (fault, message) = explain(error, phase, attempt);
    let mut told = message;
    if matches!(fault, HostFault::Trap | HostFault::Exit | HostFault::Start)
        && let Some(words) = attempt.ledger().last_words(&attempt.grants.secrets)
    {
        told = format!("{told}: {words}");
    }
    let secrets = &attempt.grants.secrets;
    told = secrets.mask(&told).into_owned();
    let place = match fault {
        HostFault::Exit | HostFault::ResultTooLarge => None,
        _ => backtrace(error),
    };
    let text_bytes_max = attempt.limits.error_text.as_usize();
    if let Some(place) = place {
        told = format!("{} (at {place})", text::line(&told, text_bytes_max / 2));
    }
    Outcome::Host(fault, text::line(&told, text_bytes_max))
}

fn explain(error: &Error, phase: Phase, attempt: &Attempt) -> (HostFault, String) {
    if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
        return (HostFault::Memory, exceeded.to_string());
    }
    if let Some(exceeded) = error.downcast_ref::<CpuExceeded>() {
        return (HostFault::CpuBudget, exceeded.to_string());
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return (HostFault::Exit, format!("the guest left with exit status {status} instead of answering"));
    }
    if let Some(exceeded) = HostCallsExceeded::of(error, attempt) {
        return (HostFault::HostCalls, exceeded.to_string());
    }
    let root = error.root_cause().to_string();
    if phase == Phase::Run && root.contains("fuel allocated for hostcalls") {
        let message = "the guest handed over more at once than the host takes; raise limits.result if that is right";
        return (HostFault::ResultTooLarge, message.to_owned());
    }
    let what = error.downcast_ref::<Trap>().map_or(root, ToString::to_string);
    match phase {
        Phase::Start => (HostFault::Start, format!("the instance did not start: {what}")),
        Phase::Run => (HostFault::Trap, what),
    }
}

/// The guest's own frames, innermost first, on one line. The host's never show.
fn backtrace(error: &Error) -> Option<String> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let names: Vec<_> = frames(&trace.to_string()).collect();
    // How a panic came to abort is the same every time: what called it is not.
    let panic = names.iter().rposition(|name| name.contains("panicking::") || name.contains("rust_begin_unwind"));
    let own = panic.map_or(&names[..], |last| &names[last + 1..]);
    let told = if own.is_empty() { &names } else { own };
    (!told.is_empty()).then(|| told[..told.len().min(FRAMES_MAX)].join(" < "))
}

/// Takes the demangled names out of wasmtime's own rendering, which has no other way to them.
fn frames(rendered: &str) -> impl Iterator<Item = String> {
    rendered.lines().filter_map(|line| {
        let line = line.trim_start();
        if let Some(place) = line.strip_prefix("at ") {
            return place.rsplit('/').next().map(|file| format!("at {file}"));
        }
        let (_, name) = line.split_once(" - ").or_else(|| Some(("", line.strip_prefix("- ")?)))?;
        let name = name.split_once(".wasm!").map_or(name, |(_, function)| function);
        Some(text::line(&without_hashes(name), NAME_BYTES_MAX))
    })
}

/// `core[0123456789abcdef]::fmt::write` and `core::fmt::write::h0123456789abcdef` without the hashes of builds.
fn without_hashes(name: &str) -> String {
    let is_hash = |text: &str| text.len() == HASH_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if is_hash(hash) => path,
        _ => name,
    };
    let mut kept = String::with_capacity(name.len());
    for (number, part) in name.split('[').enumerate() {
        match part.split_once(']') {
            Some((hash, rest)) if number > 0 && is_hash(hash) => kept.push_str(rest),
            _ if number > 0 => {
                kept.push('[');
                kept.push_str(part);
            }
            _ => kept.push_str(part),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_names_without_addresses() {
        let rendered = "error while executing at wasm backtrace:\n    0:    0x1f2 - echo.wasm!core::fmt::h0123456789abcdef\n    1:    0x200 - <unknown>!run\n    2:  0x3 - a.wasm!std[0123456789abcdef]::a[1]";
        assert_eq!(frames(rendered).collect::<Vec<_>>(), ["core::fmt", "<unknown>!run", "std::a[1]"]);
    }
}
