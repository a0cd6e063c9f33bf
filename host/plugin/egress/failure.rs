//! Why a request has no complete answer.

use std::borrow::Cow;

use crate::causes::causes;

use super::super::secrets::Mask;

/// A request that the operator's grants do not allow. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{told}")]
pub(in crate::plugin) struct Denial {
    /// What the guest is told.
    pub told: String,
    /// What the operator is told: with the line to add.
    pub remedy: String,
}

/// Where the way to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Unreachable {
    /// The name has no address.
    Name,
    /// Nobody took the connection, or the request over it.
    Refused,
    /// It took too long.
    TimedOut,
    /// No safe connection came about.
    Tls,
}

/// What a downstream had to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Part {
    /// Nothing: it was not asked, or not for what it could have answered.
    None,
    /// It answered.
    Answered,
    /// It owes the answer, or some of it.
    Owing,
}

/// Why a request has no complete answer. Each text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum SendFailure {
    /// Not granted. Nothing was sent.
    Denied(Denial),
    /// Malformed. Nothing was sent.
    Invalid(String),
    /// No connection came about, or the server said that it did nothing of the request.
    Unreachable(Unreachable, String),
    /// The host had no connection to give. Nothing was sent.
    Crowded(String),
    /// Something may have been sent, and no complete answer came.
    Unanswered(String),
    /// The same, because the time for it was over.
    Silent(String),
    /// An answer came, larger than is allowed.
    TooLarge(String),
}

impl SendFailure {
    /// As the plugin may see it: what a server says as it fails can be a secret that was sent to it, which `cover` finds.
    /// What was refused before anything was sent repeats the guest's own words, and they stay: covered they would tell
    /// it which guess is right.
    pub(in crate::plugin) fn veiled(self, cover: Option<&Mask>) -> Self {
        let Some(cover) = cover else { return self };
        let veil = |text: String| match cover.text(&text) {
            Cow::Owned(veiled) => veiled,
            Cow::Borrowed(_) => text,
        };
        match self {
            own @ (Self::Denied(_) | Self::Invalid(_) | Self::Crowded(_)) => own,
            Self::Unreachable(what, message) => Self::Unreachable(what, veil(message)),
            Self::Unanswered(message) => Self::Unanswered(veil(message)),
            Self::Silent(message) => Self::Silent(veil(message)),
            Self::TooLarge(message) => Self::TooLarge(veil(message)),
        }
    }

    /// What the downstream had to do with it.
    pub(in crate::plugin) fn part(&self) -> Part {
        match self {
            Self::Denied(_) | Self::Invalid(_) | Self::Crowded(_) => Part::None,
            Self::Unreachable(..) | Self::Unanswered(_) | Self::Silent(_) => Part::Owing,
            Self::TooLarge(_) => Part::Answered,
        }
    }

    /// The text for people.
    pub(in crate::plugin) fn message(&self) -> &str {
        match self {
            Self::Denied(denial) => &denial.told,
            Self::Invalid(message)
            | Self::Unreachable(_, message)
            | Self::Crowded(message)
            | Self::Unanswered(message)
            | Self::Silent(message)
            | Self::TooLarge(message) => message,
        }
    }
}

/// An error and its causes on one line, without saying anything twice.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
    }
    told
}
