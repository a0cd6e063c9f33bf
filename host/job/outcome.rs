//! What an attempt ended in, and the evidence of it.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// What an attempt ended in. The first five are the plugin's own words, the last is the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Completed(Completion),
    /// This attempt failed; a later one may succeed.
    TryAgain(Setback),
    /// The downstream asked everybody to wait.
    RateLimited(Setback),
    /// No attempt can succeed.
    Reject(Fault),
    /// The request left and no answer came.
    UnknownOutcome(Fault),
    /// The host ended the attempt.
    Host(HostFault, String),
}

/// The result of a completed job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The media type of the body; empty where there is none.
    pub content_type: String,
    /// The result.
    pub body: Bytes,
    /// What the plugin wants kept beside it.
    pub attributes: Vec<(String, String)>,
}

/// A failure that another attempt can mend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setback {
    /// One line for people.
    pub message: String,
    /// A short word for programs.
    pub code: Option<String>,
    /// How long the downstream asked to be left alone, in milliseconds.
    pub delay_ms: Option<u32>,
}

/// A failure without a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// One line for people.
    pub message: String,
    /// A short word for programs.
    pub code: Option<String>,
}

/// Why the host ended an attempt. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostFault {
    /// The guest trapped: a panic, an exception, a wild access.
    Trap,
    /// The guest left through `exit`.
    Exit,
    /// The wall time of the attempt was over.
    Deadline,
    /// The CPU time of the attempt was used up.
    CpuBudget,
    /// The guest asked for more memory than it may have.
    Memory,
    /// The instance could not be made.
    Start,
    /// The guest's answer was larger than the host allows.
    ResultTooLarge,
    /// The guest called the host more often, with more bytes or with more handles than it may.
    HostCalls,
    /// The guest asked for something that is not granted: an origin, an address, a secret.
    Denied,
    /// The host stopped, or died, during the attempt.
    Interrupted,
    /// A person cancelled the job during the attempt.
    Cancelled,
}

/// The kind of an [`Outcome`]: what is kept in the attempt's row. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// [`Outcome::Completed`]
    Completed,
    /// [`Outcome::TryAgain`]
    TryAgain,
    /// [`Outcome::RateLimited`]
    RateLimited,
    /// [`Outcome::Reject`]
    Reject,
    /// [`Outcome::UnknownOutcome`]
    UnknownOutcome,
    /// [`HostFault::Trap`]
    Trap,
    /// [`HostFault::Exit`]
    Exit,
    /// [`HostFault::Deadline`]
    Deadline,
    /// [`HostFault::CpuBudget`]
    CpuBudget,
    /// [`HostFault::Memory`]
    Memory,
    /// [`HostFault::Start`]
    Start,
    /// [`HostFault::ResultTooLarge`]
    ResultTooLarge,
    /// [`HostFault::HostCalls`]
    HostCalls,
    /// [`HostFault::Denied`]
    Denied,
    /// [`HostFault::Interrupted`]
    Interrupted,
    /// [`HostFault::Cancelled`]
    Cancelled,
}

impl OutcomeKind {
    /// Every kind and its name in the API, the store and the metrics.
    pub const NAMES: [(Self, &'static str); 16] = [
        (Self::Completed, "completed"),
        (Self::TryAgain, "try-again"),
        (Self::RateLimited, "rate-limited"),
        (Self::Reject, "reject"),
        (Self::UnknownOutcome, "unknown-outcome"),
        (Self::Trap, "trap"),
        (Self::Exit, "exit"),
        (Self::Deadline, "deadline"),
        (Self::CpuBudget, "cpu-budget"),
        (Self::Memory, "memory"),
        (Self::Start, "start"),
        (Self::ResultTooLarge, "result-too-large"),
        (Self::HostCalls, "host-calls"),
        (Self::Denied, "denied"),
        (Self::Interrupted, "interrupted"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The name in the API, the store and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(kind, _)| *kind == self).map_or("trap", |(_, name)| name)
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map(|(kind, _)| kind)
    }
}

impl From<HostFault> for OutcomeKind {
    fn from(fault: HostFault) -> Self {
        match fault {
            HostFault::Trap => Self::Trap,
            HostFault::Exit => Self::Exit,
            HostFault::Deadline => Self::Deadline,
            HostFault::CpuBudget => Self::CpuBudget,
            HostFault::Memory => Self::Memory,
            HostFault::Start => Self::Start,
            HostFault::ResultTooLarge => Self::ResultTooLarge,
            HostFault::HostCalls => Self::HostCalls,
            HostFault::Denied => Self::Denied,
            HostFault::Interrupted => Self::Interrupted,
            HostFault::Cancelled => Self::Cancelled,
        }
    }
}

impl Outcome {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Completed(_) => OutcomeKind::Completed,
            Self::TryAgain(_) => OutcomeKind::TryAgain,
            Self::RateLimited(_) => OutcomeKind::RateLimited,
            Self::Reject(_) => OutcomeKind::Reject,
            Self::UnknownOutcome(_) => OutcomeKind::UnknownOutcome,
            Self::Host(fault, _) => (*fault).into(),
        }
    }

    /// What went wrong, for people; none where nothing did.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Completed(_) => None,
            Self::TryAgain(setback) | Self::RateLimited(setback) => Some(&setback.message),
            Self::Reject(fault) | Self::UnknownOutcome(fault) => Some(&fault.message),
            Self::Host(_, message) => Some(message),
        }
    }

    /// The plugin's word for programs.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::TryAgain(setback) | Self::RateLimited(setback) => setback.code.as_deref(),
            Self::Reject(fault) | Self::UnknownOutcome(fault) => fault.code.as_deref(),
            Self::Completed(_) | Self::Host(..) => None,
        }
    }

    /// How long the downstream asked to be left alone, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self) -> Option<u32> {
        match self {
            Self::TryAgain(setback) | Self::RateLimited(setback) => setback.delay_ms,
            Self::Completed(_) | Self::Reject(_) | Self::UnknownOutcome(_) | Self::Host(..) => None,
        }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// The normal course of things.
    Info,
    /// Something to look at later.
    Warn,
    /// Something that failed.
    Error,
    /// A line that the guest wrote to its standard output.
    Stdout,
    /// A line that the guest wrote to its standard error.
    Stderr,
}

/// One line that a guest logged or printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// When, counted from the start of the attempt, in milliseconds.
    pub at_ms: u32,
    /// How much it matters, or the stream that it was printed to.
    pub level: LogLevel,
    /// The line, cleaned of control characters.
    pub message: String,
}

/// One call that a guest made to a downstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The URL, without user information, and with the values of its query masked.
    pub url: String,
    /// The status code, where an answer began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How long the answer, 429 or 503, asked to be left alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u32>,
    /// Why there is no complete answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// When the call began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: UnixMs,
    /// Microseconds until the head of the answer, where one came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head_us: Option<u64>,
    /// Microseconds until the call was over.
    pub total_us: u64,
    /// Bytes of the request's body.
    pub sent_bytes: u64,
    /// Bytes of the answer's body.
    pub received_bytes: u64,
}

/// What all calls of an attempt come to that its downstream had a part in, those that are not kept among them. What the
/// host refused, or had no connection for, counts for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many there were.
    pub made: u32,
    /// Whether one of them has no answer, or not all of it.
    pub unanswered: bool,
    /// The longest pause that an answer asked for.
    pub retry_after_ms: Option<u32>,
    /// How long they took together.
    pub took: Duration,
}

impl Calls {
    /// Those of an attempt that made this one, and no other.
    #[must_use]
    pub fn one(exchange: &Exchange, is_answered: bool) -> Self {
        let mut calls = Self::default();
        calls.count(exchange, is_answered);
        calls
    }

    /// One more. One that failed may be answered: an answer that is too large is one.
    pub fn count(&mut self, exchange: &Exchange, is_answered: bool) {
        self.made = self.made.saturating_add(1);
        self.unanswered |= !is_answered;
        self.retry_after_ms = self.retry_after_ms.max(exchange.retry_after_ms);
        self.took = self.took.saturating_add(Duration::from_micros(exchange.total_us));
    }

    /// How long they took, where there were any.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        (self.made > 0).then_some(self.took)
    }
}

/// What is known of one attempt beside its outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Time inside the guest, in microseconds.
    pub cpu_us: u64,
    /// The most that all memories and tables held together, in bytes.
    pub memory_peak_bytes: u64,
    /// The revision that ran: the sha256 of the component, in hex. None where the host never came to run one.
    pub revision: Option<String>,
    /// The kept log lines.
    pub log: Vec<LogLine>,
    /// How many bytes of log and output went over the limit and were dropped.
    pub log_dropped_bytes: u64,
    /// How many lines of log and output were dropped or cut.
    pub log_dropped_lines: u64,
    /// The kept calls, in order.
    pub exchanges: Vec<Exchange>,
    /// How many calls were made and not kept.
    pub exchanges_dropped: u64,
    /// What they all come to. Not kept.
    pub calls: Calls,
    /// Whether a call had no connection because the host had none to give, or the attempt no instance. Not kept.
    pub crowded: bool,
    /// Whether it did not begin, because the host had no instance to give. Not kept.
    pub not_begun: bool,
}
