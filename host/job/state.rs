//! The states of a job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its first attempt lies in the future.
    Scheduled,
    /// It may run now.
    Available,
    /// An attempt is under way.
    Running,
    /// An attempt failed and the next one lies in the future.
    Retryable,
    /// Done. Final.
    Completed,
    /// Given up: attempts used up, or the plugin said that none can help. Final but for an explicit retry.
    Discarded,
    /// Called off by a person. Final but for an explicit retry.
    Cancelled,
}

/// The final states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// See [`State::Completed`].
    Completed,
    /// See [`State::Discarded`].
    Discarded,
    /// See [`State::Cancelled`].
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Completed,
        Self::Discarded,
        Self::Cancelled,
    ];

    /// The name in the API, the store and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }

    /// The final state that this is, if it is one.
    #[must_use]
    pub const fn end(self) -> Option<EndState> {
        match self {
            Self::Completed => Some(EndState::Completed),
            Self::Discarded => Some(EndState::Discarded),
            Self::Cancelled => Some(EndState::Cancelled),
            Self::Scheduled | Self::Available | Self::Running | Self::Retryable => None,
        }
    }
}

impl EndState {
    /// Every final state.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Discarded, Self::Cancelled];
}

impl From<EndState> for State {
    fn from(end: EndState) -> Self {
        match end {
            EndState::Completed => Self::Completed,
            EndState::Discarded => Self::Discarded,
            EndState::Cancelled => Self::Cancelled,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is not a job state; the states are {names}")
        })
    }
}
