//! What of a downstream's health survives a restart, and what people do to it.

use serde::{Deserialize, Serialize};

use super::{Hold, Opening, Overrides};
use crate::clock::UnixMs;

/// So many acts are remembered.
pub(super) const ACTS_MAX: usize = 20;

/// What of a downstream's health survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Its outage, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Until when it is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// What a person set.
    pub overrides: Overrides,
    /// What people did to it lately, oldest first.
    pub acts: Vec<Act>,
}

impl Kept {
    /// The same after the clock was set by so many milliseconds: what is to come keeps its distance. A hold that ends when a
    /// person said so still ends then.
    #[must_use]
    pub fn carried_over(mut self, step_ms: i64) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.since = opening.since.moved(step_ms);
            opening.next_probe = opening.next_probe.moved(step_ms);
        }
        if let Some(Hold { until: Some(until), .. }) = &mut self.hold {
            let said = |act: &Act| matches!(act.what, ActKind::Hold { until: Some(said), .. } if said == *until);
            if !self.acts.iter().any(said) {
                *until = until.moved(step_ms);
            }
        }
        self
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a person did to a downstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: UnixMs,
    /// What.
    #[serde(flatten)]
    pub what: ActKind,
}

/// The things a person can do to a downstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum ActKind {
    /// Leave it alone.
    Hold {
        /// Until then; without it until it is released.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<UnixMs>,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// Let it go on, whatever held it.
    Release,
    /// See at once whether it is back.
    Probe,
    /// Bound it.
    Limit(Overrides),
}
