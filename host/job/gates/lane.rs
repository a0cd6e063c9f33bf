//! The lines in which jobs wait.

use std::borrow::Cow;
use std::sync::Arc;

/// One line of waiting jobs: those of one plugin that call one downstream under one limit key, if any. Order is kept per
/// lane; health and limits per plugin and downstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The downstream's key.
    pub downstream: Arc<str>,
    /// The key under which the jobs asked to be limited together.
    pub limit_key: Option<Arc<str>>,
}

/// A plugin, and the limit key of some of its jobs.
pub type KeyName = (Arc<str>, Arc<str>);

/// The parts of a [`Lane`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRef<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// The downstream's key.
    pub downstream: &'a str,
    /// The limit key.
    pub limit_key: Option<&'a str>,
}

impl Lane {
    /// The lane of that plugin and that downstream, without a limit key.
    #[must_use]
    pub fn new(plugin: &str, downstream: &str) -> Self {
        LaneRef { plugin, downstream, limit_key: None }.to_lane()
    }

    /// The name of its limit key, where it has one.
    #[must_use]
    pub fn key(&self) -> Option<KeyName> {
        Some((self.plugin.clone(), self.limit_key.clone()?))
    }

    /// The lane of its jobs without a limit key: under its name health is kept.
    #[must_use]
    pub fn whole(&self) -> Cow<'_, Self> {
        if self.limit_key.is_none() {
            Cow::Borrowed(self)
        } else {
            Cow::Owned(Self { limit_key: None, ..self.clone() })
        }
    }
}

impl LaneRef<'_> {
    /// A lane of its own.
    #[must_use]
    pub fn to_lane(self) -> Lane {
        Lane {
            plugin: self.plugin.into(),
            downstream: self.downstream.into(),
            limit_key: self.limit_key.map(Into::into),
        }
    }
}

impl<'a> From<(&'a str, &'a str)> for LaneRef<'a> {
    fn from((plugin, downstream): (&'a str, &'a str)) -> Self {
        Self { plugin, downstream, limit_key: None }
    }
}

impl<'a> From<&'a Lane> for LaneRef<'a> {
    fn from(lane: &'a Lane) -> Self {
        Self { plugin: &lane.plugin, downstream: &lane.downstream, limit_key: lane.limit_key.as_deref() }
    }
}
