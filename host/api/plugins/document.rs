//! A plugin, as it is told. Secrets and configuration values are told by name only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::State;
use super::ServedPlugin;
use crate::clock::UnixMs;
use crate::config::{AttemptLimits, PluginFile};
use crate::job::RetryOverride;
use crate::job::live::Tally;
use crate::plugin::{DeniedGrant, Description, Grant, GrantsMissing, LoadError, LoadStep, Loading, side_by_side};

/// How a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// A revision serves. Where `load_error` is there too, the newest file was refused and the older one goes on.
    Ready,
    /// Its component is being compiled, and there is no earlier revision: its jobs wait.
    Loading,
    /// Its component could not be loaded, and there is no earlier revision: its jobs wait.
    Broken,
    /// A person paused it: its jobs wait.
    Paused,
    /// There is no component: its jobs wait.
    Missing,
}

/// A plugin as it stands.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PluginDocument {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: PluginState,
    /// The revision that serves: the sha256 of the component. Null where none does.
    pub revision: Option<String>,
    /// How large the component is.
    pub size_bytes: Option<u64>,
    /// When the revision was taken up.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub loaded_at: Option<UnixMs>,
    /// Why the newest component or the newest file was not taken up.
    pub load_error: Option<LoadError>,
    /// The component that will serve next, while it is being compiled; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loading: Option<PluginLoading>,
    /// What the plugin says of itself and asks for.
    pub asked: Option<Description>,
    /// Why what the revision says of itself, or the payload schema in it, is of no use; null where nothing is wrong with it.
    /// It serves all the same, and payloads are not checked.
    pub description_error: Option<String>,
    /// What the operator grants.
    pub granted: PluginGrants,
    /// The same side by side: each thing that it asks for or is given.
    pub grants: Vec<Grant>,
    /// What it asks for and is not given, with the lines to add; null where nothing is missing. Values of `config` are
    /// optional and not among them.
    pub grants_missing: Option<GrantsMissing>,
    /// What its attempts asked for in vain since the grants were last edited.
    pub denied: Vec<DeniedGrant>,
    /// The downstream of its jobs, where they name none.
    pub downstream: String,
    /// The most attempts at once; null where only the host's own limit holds.
    pub concurrency: Option<u32>,
    /// The most starts in a second; null where there is no limit.
    pub rate_per_second: Option<f64>,
    /// What its attempts may use; null where there is no plugin.
    pub limits: Option<AttemptLimits>,
    /// What is different in its retry policy.
    pub retry: RetryOverride,
    /// Where its unfinished jobs stand.
    pub counts: PluginCounts,
    /// The interfaces that it imports, with versions.
    pub imports: Vec<String>,
    /// The interfaces that it exports, with versions.
    pub exports: Vec<String>,
}

/// A component on its way to serving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PluginLoading {
    /// How far it is.
    pub step: LoadStep,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: UnixMs,
    /// How large it is.
    pub size_bytes: u64,
}

impl PluginLoading {
    fn of(loading: &Loading) -> Self {
        Self { step: loading.step(), since: loading.since, size_bytes: loading.size_bytes }
    }
}

/// What the operator grants to a plugin, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PluginGrants {
    /// The origins that it may reach.
    pub origins: Vec<String>,
    /// The names of the values that it may read.
    pub config: Vec<String>,
    /// The names of the secrets that it may use.
    pub secrets: Vec<String>,
}

/// Where the unfinished jobs of a plugin stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PluginCounts {
    /// Due ones that do not run.
    pub available: u64,
    /// Running ones.
    pub running: u64,
    /// Those whose time has not come.
    pub later: u64,
    /// Those that wait for a grant.
    pub held: u64,
}

impl PluginDocument {
    /// A plugin that the folder knows.
    pub(super) fn of(state: &State, plugin: &dyn ServedPlugin, tally: Tally) -> Self {
        let (file, revision) = (plugin.file(), plugin.revision());
        let names = |texts: &[String]| texts.to_vec();
        Self {
            name: plugin.name().to_owned(),
            state: standing(state, plugin),
            revision: revision.map(|revision| revision.digest.to_owned()),
            size_bytes: revision.map(|revision| revision.size_bytes),
            loaded_at: plugin.loaded_at(),
            load_error: plugin.load_error().cloned(),
            loading: plugin.loading().map(PluginLoading::of),
            asked: revision.and_then(|revision| revision.description.cloned()),
            description_error: revision.and_then(|revision| revision.description_error).map(str::to_owned),
            granted: PluginGrants::of(file),
            grants: side_by_side(file, revision.and_then(|revision| revision.description)),
            grants_missing: plugin.grants_missing(),
            denied: plugin.denied(),
            downstream: plugin.file().downstream.as_ref().map_or_else(|| plugin.name().to_owned(), ToString::to_string),
            concurrency: file.concurrency,
            rate_per_second: file.rate.map(|rate| rate.per_second),
            limits: Some(*plugin.limits()),
            retry: file.retry.clone(),
            counts: tally.into(),
            imports: revision.map(|revision| names(revision.imports)).unwrap_or_default(),
            exports: revision.map(|revision| names(revision.exports)).unwrap_or_default(),
        }
    }

    /// A plugin of which there is nothing but its jobs.
    pub(super) fn missing(state: &State, name: &str, tally: Tally) -> Self {
        let paused = state.gates().is_paused(name);
        Self {
            name: name.to_owned(),
            state: if paused { PluginState::Paused } else { PluginState::Missing },
            revision: None,
            size_bytes: None,
            loaded_at: None,
            load_error: None,
            loading: None,
            asked: None,
            description_error: None,
            granted: PluginGrants::default(),
            grants: Vec::new(),
            grants_missing: None,
            denied: Vec::new(),
            downstream: name.to_owned(),
            concurrency: None,
            rate_per_second: None,
            limits: None,
            retry: RetryOverride::default(),
            counts: tally.into(),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }
}

/// Paused beats everything else, as it does in the gates.
fn standing(state: &State, plugin: &dyn ServedPlugin) -> PluginState {
    if state.gates().is_paused(plugin.name()) {
        return PluginState::Paused;
    }
    match (plugin.revision(), plugin.load_error()) {
        (Some(_), _) => PluginState::Ready,
        (None, _) if plugin.loading().is_some() => PluginState::Loading,
        (None, Some(_)) => PluginState::Broken,
        (None, None) => PluginState::Missing,
    }
}

impl PluginGrants {
    fn of(file: &PluginFile) -> Self {
        fn names<T>(map: &BTreeMap<String, T>) -> Vec<String> {
            map.keys().cloned().collect()
        }
        Self {
            origins: file.origins.iter().map(ToString::to_string).collect(),
            config: names(&file.config),
            secrets: names(&file.secrets),
        }
    }
}

impl From<Tally> for PluginCounts {
    fn from(Tally { available, running, later, held }: Tally) -> Self {
        Self { available, running, later, held }
    }
}
