//! From what a guest answered, or how it ended, to an outcome.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::job::{Completion, Fault, HostFault, Outcome, Setback};

use super::attempt::Attempt;
use super::bindings::windlass::plugin::types::{
    Completion as GuestCompletion, Failure, Fault as GuestFault, Setback as GuestSetback,
};
use super::host_calls::{FUEL, HostCallsExceeded};
use super::lack;
use super::ledger::{Crowded, Scarce};
use super::limits::MemoryExceeded;
use super::state::{CpuExceeded, State};
use super::text;

/// The longest media type, and the longest name of an attribute.
const NAME_BYTES_MAX: usize = 255;
/// What an attribute costs beside its text.
const ATTRIBUTE_BYTES: usize = 16;
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
    let body = if given_bytes as u64 > limit.0 {
        Bytes::new()
    } else {
        secrets.mask_body(&completion.content_type, completion.body.into())
    };
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
    // What was too large to be kept was done as well.
    let keeps =
        matches!(outcome, Outcome::Completed(_) | Outcome::Host(HostFault::ResultTooLarge | HostFault::Cancelled, _));
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
pub(super) fn of_error(error: &Error, phase: Phase, guest: &State) -> Outcome {
    let attempt = &guest.attempt;
    // Others leave it as many stacks as it may need: it has too many of its own calls wait.
    if phase == Phase::Run && guest.is_to_blame && lack::of_places(error) {
        return host_calls(HostCallsExceeded::Stacks, attempt);
    }
    // Others have taken what there is: no fault of the plugin's, which is tried again.
    if lack::of_places(error) || phase == Phase::Start && lack::of_wasmtime(error) {
        let why = format!("the host has no room for one more instance now: {error:#}");
        attempt.ledger().crowd(Scarce::Instances, &why);
        return Outcome::TryAgain(Setback { message: why, code: None, delay_ms: None });
    }
    // Its last line may have no end.
    guest.end_lines();
    let (fault, message) = explain(error, phase, guest);
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

fn explain(error: &Error, phase: Phase, guest: &State) -> (HostFault, String) {
    // Its calls find no handles where its memory is used up.
    let for_calls = || guest.exceeded().filter(|_| error.is::<ResourceTableError>());
    if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>().or_else(for_calls) {
        return (HostFault::Memory, exceeded.to_string());
    }
    if let Some(exceeded) = error.downcast_ref::<CpuExceeded>() {
        return (HostFault::CpuBudget, exceeded.to_string());
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return (HostFault::Exit, format!("the guest left with exit status {status} instead of answering"));
    }
    if let Some(exceeded) = HostCallsExceeded::of(error, &guest.attempt) {
        return (HostFault::HostCalls, exceeded.to_string());
    }
    let root = error.root_cause().to_string();
    if phase == Phase::Run && root.contains(FUEL) {
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

/// Takes the names out of wasmtime's own rendering, which has no other way to them.
fn frames(rendered: &str) -> impl Iterator<Item = String> {
    rendered.lines().filter_map(|line| {
        let line = line.trim_start();
        let (_, name) = line.split_once(" - ").or_else(|| Some(("", line.strip_prefix("- ")?)))?;
        let name = name.split_once(".wasm!").map_or(name, |(_, function)| function);
        Some(text::line(&readable(name), NAME_BYTES_MAX))
    })
}

/// A name as it stood in the source, where it is one of Rust's. A name can stand for a text without end: no more is made of
/// it than is shown. Those of C++ stay as they are.
fn readable(name: &str) -> String {
    let mut readable = Bounded(String::new());
    match rustc_demangle::try_demangle(name) {
        // Without the hashes of builds. An error is a name that goes on.
        Ok(of_rust) => _ = write!(readable, "{of_rust:#}"),
        Err(_) => return name.to_owned(),
    }
    readable.0
}

/// A text that ends where it is longer than any name that is shown.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.0.push_str(more);
        if self.0.len() > 4 * NAME_BYTES_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_names_without_addresses() {
        let rendered = "error while executing at wasm backtrace:\n    0:    0x1f2 - echo.wasm!_ZN4core3fmt17h0123456789abcdefE\n    1:    0x200 - <unknown>!run\n    2:  0x3 - a.wasm!_RNvCs1234_5mylib3foo";
        assert_eq!(frames(rendered).collect::<Vec<_>>(), ["core::fmt", "<unknown>!run", "mylib::foo"]);
    }

    /// A number as names of Rust have it.
    fn base_62(number: usize) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let (mut rest, mut text) = (number, "_".to_owned());
        while rest > 0 {
            rest -= 1;
            text.insert(0, char::from(DIGITS[rest % 62]));
            rest /= 62;
        }
        text
    }

    #[test]
    fn a_name_that_stands_for_more_than_is_shown_is_cut() {
        // Each type is a pair of the one before.
        let mut name = "INvC1a1f".to_owned();
        let mut before = name.len();
        name.push_str("TllE");
        for _ in 0..40 {
            let (this, back) = (name.len(), base_62(before));
            name.push_str(&format!("TB{back}B{back}E"));
            before = this;
        }
        let shown = readable(&format!("_R{name}E"));
        assert!(shown.starts_with("a::f::<(i32, i32)") && shown.len() < 8 * NAME_BYTES_MAX, "{}", shown.len());
        let of_cpp = "_Z1f1AIiES_IS0_E";
        assert_eq!(readable(of_cpp), of_cpp);
    }
}
