//! A component that is on its way to serving: how far it is, for people to see.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::clock::UnixMs;

use super::{LoadError, report};

/// A component that is being compiled. Shared with whoever shows it.
#[derive(Debug)]
pub struct Loading {
    /// How large it is.
    pub size_bytes: u64,
    /// Since when.
    pub since: UnixMs,
    step: AtomicU8,
}

/// What a component goes through, in order. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadStep {
    /// Others are being compiled.
    Waiting,
    /// It is being compiled.
    Compiling,
    /// It is started once, on trial.
    Starting,
}

impl Loading {
    /// At its first step.
    pub(super) fn new(size_bytes: u64, since: UnixMs) -> Self {
        Self { size_bytes, since, step: AtomicU8::new(0) }
    }

    /// Where it is.
    #[must_use]
    pub fn step(&self) -> LoadStep {
        match self.step.load(Ordering::Relaxed) {
            0 => LoadStep::Waiting,
            1 => LoadStep::Compiling,
            _ => LoadStep::Starting,
        }
    }

    /// It goes on.
    pub(super) fn reach(&self, step: LoadStep) {
        self.step.store(step as u8, Ordering::Relaxed);
    }
}

/// What lies in the plugins folder, looks like a plugin's and is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// The first of them.
    pub files: Vec<IgnoredFile>,
    /// How many more there are.
    pub more: usize,
}

/// A file that looks like a plugin's and is none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct IgnoredFile {
    /// Its name, fit to be shown.
    pub file: String,
    /// Why it is none.
    pub reason: String,
}

/// Who hands a component over, to be put into the folder.
pub struct Giver {
    may_still: Box<dyn Fn() -> bool + Send>,
    told: Box<dyn FnOnce() + Send>,
}

impl Giver {
    /// `may_still` is asked once the component is compiled and nothing of it lies in the folder yet; `told` is called when
    /// it serves, also where nobody waits for that any more.
    pub fn new(may_still: impl Fn() -> bool + Send + 'static, told: impl FnOnce() + Send + 'static) -> Self {
        Self { may_still: Box::new(may_still), told: Box::new(told) }
    }

    /// Whether it may still be put there.
    #[must_use]
    pub fn may_still(&self) -> bool {
        (self.may_still)()
    }

    /// It serves.
    pub fn tell(self) {
        (self.told)();
    }
}

impl<F: FnOnce() + Send + 'static> From<F> for Giver {
    /// One who always may.
    fn from(told: F) -> Self {
        Self::new(|| true, told)
    }
}

/// Why a component was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is no plugin.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// It was overtaken: the component in the folder was removed or replaced, or a later one was put there.
    #[error(
        "the component in the folder was removed or replaced, or another was put there, while this one was being checked \
         and compiled: it was given up; look at the plugin, and send it again if it is still wanted"
    )]
    Overtaken,
    /// Who handed it over may not put it there any more.
    #[error("who handed the component over may not do so any more: it was given up")]
    Withdrawn,
    /// The folder cannot be written.
    #[error("cannot write the plugins folder: {0}")]
    Folder(#[from] std::io::Error),
}

impl InstallError {
    /// The same, told to who handed the component over.
    pub(super) fn handed_over(self) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(report::handed_over(error)),
            other => other,
        }
    }
}
