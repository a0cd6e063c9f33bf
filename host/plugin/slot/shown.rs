//! What is seen of a plugin while it changes, and what is wrong with it.

use std::sync::Arc;

use super::super::egress::Grants;
use super::super::{LoadError, Loading};
use super::{Slot, Standing};

impl Standing {
    /// What is wrong, all of it.
    pub(super) fn load_error(&self) -> Option<LoadError> {
        let error = both(both(self.component_error.clone(), self.file_error.clone()), self.unrest.clone());
        error.map(|error| masked(error, &self.grants))
    }
}

/// A plugin that is seen to be loading, until that has ended: well, badly, or because nobody waits for it any more.
pub(super) struct Shown<'a> {
    slot: &'a Slot,
    /// How the plugin stands meanwhile.
    pub(super) standing: &'a mut Standing,
}

impl<'a> Shown<'a> {
    /// Not seen yet.
    pub(super) fn of(slot: &'a Slot, standing: &'a mut Standing) -> Self {
        Self { slot, standing }
    }

    /// It is seen from here on.
    pub(super) fn begin(&mut self, loading: Arc<Loading>) {
        let size_bytes = loading.size_bytes;
        tracing::info!(plugin.name = self.slot.name, size_bytes, "a component is being compiled");
        self.standing.loading = Some(loading);
        self.slot.publish(self.standing, false);
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if self.standing.loading.take().is_some() {
            self.slot.publish(self.standing, false);
        }
    }
}

/// What a component says of itself may hold what the operator gave it before.
fn masked(error: LoadError, grants: &Grants) -> LoadError {
    let mask = |text: String| grants.secrets.mask(&text).into_owned();
    LoadError { summary: mask(error.summary), help: error.help.map(mask) }
}

/// Two mistakes are told together.
fn both(component: Option<LoadError>, file: Option<LoadError>) -> Option<LoadError> {
    match (component, file) {
        (Some(component), Some(file)) => Some(LoadError {
            summary: format!("{}; and {}", component.summary, file.summary),
            help: component.help.or(file.help),
        }),
        (one, other) => one.or(other),
    }
}
