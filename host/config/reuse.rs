//! `reuse` in a plugin's file: whether an instance may serve more than one job.

use serde::{Deserialize, Serialize};

use crate::job::units::{ByteSize, TimeSpan};

/// How long an instance goes on from job to job. What it remembers of one job, the next one can see: for plugins that
/// start slowly and whose author is trusted with that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reuse {
    /// Jobs that one instance handles in all. 1 to 1000000.
    pub max_jobs: u32,
    /// How long it waits for the next one. 10ms to 1h.
    pub max_idle: TimeSpan,
    /// What it may hold between two jobs. 1MiB to 4GiB.
    pub max_memory: ByteSize,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { max_jobs: 100, max_idle: TimeSpan::from_secs(30), max_memory: ByteSize(32 << 20) }
    }
}

impl Reuse {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("reuse.max_jobs", self.max_jobs, 1, 1_000_000)?;
        super::file::within("reuse.max_idle", self.max_idle, TimeSpan::from_ms(10), TimeSpan::from_secs(3_600))?;
        super::file::within("reuse.max_memory", self.max_memory, ByteSize(1 << 20), ByteSize(4 << 30))
    }
}
