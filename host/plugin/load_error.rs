//! Why a plugin was not taken up, and whose matter that is: what the host lacked for a moment is tried again by itself,
//! what is wrong with a file stays so until the file is another. Who makes an error says which of the two it is.

use std::io;

use serde::{Deserialize, Serialize};

use super::lack;

/// Why a component is no plugin, in a plugin author's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, utoipa::ToSchema)]
#[error("{summary}")]
pub struct LoadError {
    /// What is wrong, one line.
    pub summary: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
    /// Whose matter it is, and so whether it is tried again by itself.
    #[serde(default)]
    pub cause: LoadCause,
}

/// Whose matter it is that a plugin was not taken up. A closed list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadCause {
    /// That of the plugin's files: it stays so until one of them is another.
    #[default]
    Files,
    /// The host's own: it lacked something at that moment, such as open files, threads or memory, and tries again by
    /// itself.
    Host,
}

impl LoadError {
    /// Whether the host could not do its part, and tries again by itself.
    #[must_use]
    pub fn is_hosts_own(&self) -> bool {
        self.cause == LoadCause::Host
    }

    /// One line for who waits for the plugin.
    #[must_use]
    pub fn in_short(&self) -> String {
        match self.cause {
            LoadCause::Files => self.summary.clone(),
            LoadCause::Host => format!("{}; the host tries it again by itself", self.summary),
        }
    }
}

/// Why something that belongs to a plugin, or that its file names, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    /// What is wrong, and where.
    pub(super) why: String,
    /// Whose matter it is.
    pub(super) cause: LoadCause,
}

impl Unusable {
    /// What the system said as something was to be read or started. Unless the machine lacks something for the moment, or
    /// the disk does, it is about the thing itself.
    pub(super) fn of_system(error: &io::Error, tell: impl FnOnce(&io::Error) -> String) -> Self {
        let cause = if lack::may_pass(error) { LoadCause::Host } else { LoadCause::Files };
        Self { why: tell(error), cause }
    }

    /// The host lacks something for it.
    pub(super) fn hosts_own(why: String) -> Self {
        Self { why, cause: LoadCause::Host }
    }

    /// The same, with its place put in front.
    pub(super) fn at(self, place: &str) -> Self {
        self.told(|why| format!("{place}: {why}"))
    }

    /// The same, told in other words.
    pub(super) fn told(self, tell: impl FnOnce(String) -> String) -> Self {
        Self { why: tell(self.why), cause: self.cause }
    }
}

/// What is found wrong in a file is the file's matter.
impl From<String> for Unusable {
    fn from(why: String) -> Self {
        Self { why, cause: LoadCause::Files }
    }
}
