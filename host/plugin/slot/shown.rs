//! What is seen of a plugin while it changes, and what is wrong with it.

use std::sync::Arc;

use super::super::egress::Grants;
use super::super::{LoadError, Loading, report};
use super::{Slot, Standing};

impl Standing {
    /// What is wrong, all of it.
    pub(super) fn load_error(&self) -> Option<LoadError> {
        let error = both(both(self.component_error.clone(), self.file_error.clone()), self.unrest.clone());
        error.map(|error| report::in_folder(masked(error, &self.grants)))
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
        if !self.standing.again.component {
            tracing::info!(plugin.name = self.slot.name, size_bytes, "a component is being compiled");
        }
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
    LoadError { summary: mask(error.summary), help: error.help.map(mask), cause: error.cause }
}

/// Two mistakes are told together. Nothing comes right by itself while one of them does not.
fn both(component: Option<LoadError>, file: Option<LoadError>) -> Option<LoadError> {
    match (component, file) {
        (Some(component), Some(file)) => {
            let summary = format!("{}; and {}", component.summary, file.summary);
            let [first, second] = if component.is_hosts_own() { [file, component] } else { [component, file] };
            let help = first.help.or(second.help.filter(|_| first.cause == second.cause));
            Some(LoadError { summary, help, cause: first.cause })
        }
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::LoadCause;
    use super::*;

    #[test]
    fn of_two_mistakes_the_one_that_does_not_come_right_by_itself_says_what_to_do() {
        let error = |summary: &str, cause| {
            Some(LoadError { summary: summary.to_owned(), help: Some(format!("mend {summary}")), cause })
        };
        let (files, host) = (error("a file", LoadCause::Files), error("the host", LoadCause::Host));
        for (component, file, told, help, cause) in [
            (&host, &files, "the host; and a file", "mend a file", LoadCause::Files),
            (&files, &host, "a file; and the host", "mend a file", LoadCause::Files),
            (&host, &host, "the host; and the host", "mend the host", LoadCause::Host),
            (&None, &host, "the host", "mend the host", LoadCause::Host),
        ] {
            let both = both(component.clone(), file.clone()).unwrap();
            assert_eq!((both.summary.as_str(), both.help.as_deref(), both.cause), (told, Some(help), cause));
        }
    }
}
