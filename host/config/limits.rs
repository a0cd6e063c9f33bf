//! `[limits]`, in `windlass.toml` (defaults and ceilings) and in a plugin's file.

use serde::{Deserialize, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

/// What an attempt may use: the default of every plugin and the ceiling of what a plugin's file or a job can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Wall time of one attempt. 10ms to 24h.
    pub deadline: TimeSpan,
    /// Time inside the guest. 10ms to 24h.
    pub cpu: TimeSpan,
    /// All memories and tables of the attempt together. 1MiB to 4GiB.
    pub memory: ByteSize,
    /// One downstream response. 1KiB to 1GiB.
    pub response: ByteSize,
    /// Log lines and output kept per attempt. 0B to 64MiB.
    pub output: ByteSize,
    /// The payload of a job, and the result of one. 1KiB to 256MiB.
    pub payload: ByteSize,
    /// Attempts at once in this host. 1 to 10000.
    pub concurrency: u32,
}

/// What a plugin's file says of its limits, none above the host's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitOverride {
    /// See [`Limits::deadline`].
    pub deadline: Option<TimeSpan>,
    /// See [`Limits::cpu`].
    pub cpu: Option<TimeSpan>,
    /// See [`Limits::memory`].
    pub memory: Option<ByteSize>,
    /// See [`Limits::response`].
    pub response: Option<ByteSize>,
    /// See [`Limits::output`].
    pub output: Option<ByteSize>,
    /// See [`Limits::payload`].
    pub payload: Option<ByteSize>,
}

/// The limits of one plugin's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// See [`Limits::deadline`].
    pub deadline: TimeSpan,
    /// See [`Limits::cpu`].
    pub cpu: TimeSpan,
    /// See [`Limits::memory`].
    pub memory: ByteSize,
    /// See [`Limits::response`].
    pub response: ByteSize,
    /// See [`Limits::output`].
    pub output: ByteSize,
    /// See [`Limits::payload`].
    pub payload: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: TimeSpan::from_secs(30),
            cpu: TimeSpan::from_secs(5),
            memory: ByteSize(64 << 20),
            response: ByteSize(8 << 20),
            output: ByteSize(256 << 10),
            payload: ByteSize(1 << 20),
            concurrency: 256,
        }
    }
}

impl Limits {
    /// The limits of a plugin whose file says `narrower`.
    #[must_use]
    pub fn attempt(&self, narrower: &LimitOverride) -> AttemptLimits {
        AttemptLimits {
            deadline: narrower.deadline.unwrap_or(self.deadline).min(self.deadline),
            cpu: narrower.cpu.unwrap_or(self.cpu).min(self.cpu),
            memory: narrower.memory.unwrap_or(self.memory).min(self.memory),
            response: narrower.response.unwrap_or(self.response).min(self.response),
            output: narrower.output.unwrap_or(self.output).min(self.output),
            payload: narrower.payload.unwrap_or(self.payload).min(self.payload),
        }
    }

    /// Checks that a plugin's file asks for no more than the host gives.
    ///
    /// # Errors
    /// Names the key, the value and the ceiling.
    pub fn admits(&self, narrower: &LimitOverride) -> Result<(), String> {
        below("limits.deadline", narrower.deadline, self.deadline)?;
        below("limits.cpu", narrower.cpu, self.cpu)?;
        below("limits.memory", narrower.memory, self.memory)?;
        below("limits.response", narrower.response, self.response)?;
        below("limits.output", narrower.output, self.output)?;
        below("limits.payload", narrower.payload, self.payload)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let (ten_ms, day) = (TimeSpan::from_ms(10), TimeSpan::from_secs(86_400));
        super::file::within("limits.deadline", self.deadline, ten_ms, day)?;
        super::file::within("limits.cpu", self.cpu, ten_ms, day)?;
        super::file::within("limits.memory", self.memory, ByteSize(1 << 20), ByteSize(4 << 30))?;
        super::file::within("limits.response", self.response, ByteSize(1 << 10), ByteSize(1 << 30))?;
        super::file::within("limits.output", self.output, ByteSize(0), ByteSize(64 << 20))?;
        super::file::within("limits.payload", self.payload, ByteSize(1 << 10), ByteSize(256 << 20))?;
        super::file::within("limits.concurrency", self.concurrency, 1, 10_000)
    }
}

fn below<T: PartialOrd + std::fmt::Display>(key: &str, asked: Option<T>, ceiling: T) -> Result<(), String> {
    match asked {
        Some(asked) if asked > ceiling => Err(format!(
            "{key}: {asked} is above the host's ceiling of {ceiling}; raise {key} in windlass.toml or ask for less"
        )),
        _ => Ok(()),
    }
}
