//! `[queue]`

use serde::{Deserialize, Serialize};

/// How much may wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// With so many unfinished jobs, further ones are refused with 429, but for plugins that have few beside others
    /// that have many, see `fairness.share`. 1 to 1000000000.
    pub high_water: u64,
    /// So many unfinished jobs are held in memory, of each plugin those due first; the others wait on disk. 1000 to
    /// 100000000; unless set, as many as `high_water` ever admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_in_memory: Option<usize>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { high_water: 1_000_000, held_in_memory: None }
    }
}

impl Queue {
    pub(super) fn validate(&self) -> Result<(), String> {
        super::file::within("queue.high_water", self.high_water, 1, 1_000_000_000)?;
        self.held_in_memory.map_or(Ok(()), |held| super::file::within("queue.held_in_memory", held, 1_000, 100_000_000))
    }
}
