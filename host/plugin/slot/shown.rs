//! What is seen of a plugin, also while it changes, and what is wrong with it.

use std::sync::Arc;

use crate::lock::lock;

use super::super::egress::Grants;
use super::super::folder::Kind;
use super::super::warm::WarmPool;
use super::super::{LoadError, Plugin, Revision, report};
use super::{Slot, Standing};

impl Standing {
    /// What is wrong, all of it.
    pub(super) fn load_error(&self) -> Option<LoadError> {
        let error = both(both(self.component_error.clone(), self.file_error.clone()), self.unrest.clone());
        error.map(|error| report::in_folder(masked(error, &self.grants)))
    }
}

impl Slot {
    /// Shows how the plugin stands, as soon as nobody is at it.
    pub(super) async fn show(&self) {
        self.publish(&*self.state.lock().await, false);
    }

    /// Shows how the plugin stands, or that it is gone. What is about to be taken up is not gone.
    pub(super) fn publish(&self, standing: &Standing, grants_edited: bool) -> Arc<Plugin> {
        let plugin = Arc::new(self.plugin(standing));
        let is_nobody = standing.taken.is_nobody() && self.lock_accepted().is_nobody();
        if is_nobody && plugin.loading.is_none() && standing.unrest.is_none() {
            self.place.publisher.remove(&plugin);
        } else {
            self.place.publisher.update(&plugin, grants_edited);
        }
        plugin
    }

    /// Where its grants stand, as people read it.
    pub(super) fn grants_file(&self) -> String {
        self.path(Kind::Grants).display().to_string()
    }

    fn plugin(&self, standing: &Standing) -> Plugin {
        let serving = standing.revision.clone().filter(|_| standing.is_file_known);
        let (revision, loaded_at) = serving.unzip();
        let description = revision.as_ref().and_then(|revision| revision.description.as_ref());
        let asked = description.map(|description| description.secrets.as_slice()).unwrap_or_default();
        let grants = Grants::clone(&standing.grants).asked(self.grants_file(), asked, standing.denials.clone());
        let warm = self.warm_pool(standing, revision.as_ref());
        Plugin {
            name: self.name.clone(),
            limits: self.place.runtime.limits.attempt(&standing.file.limits),
            revision,
            loaded_at,
            loading: standing.loading.clone().or_else(|| lock(&self.coming).loading()),
            load_error: standing.load_error(),
            grants: Arc::new(grants),
            egress: standing.egress.clone(),
            warm,
            habit: self.habit.clone(),
            runtime: self.place.runtime.clone(),
            file: standing.file.clone(),
        }
    }

    /// Where its instances wait for their next job. Those that wait go on as long as all that they were made with is the
    /// same, whatever else is told of the plugin.
    fn warm_pool(&self, standing: &Standing, revision: Option<&Arc<Revision>>) -> Option<Arc<WarmPool>> {
        let is_same = |shown: &Arc<Plugin>| {
            shown.revision.as_ref().map(Arc::as_ptr) == revision.map(Arc::as_ptr)
                && Arc::ptr_eq(&shown.grants.secrets, &standing.grants.secrets)
                && Arc::ptr_eq(&shown.egress, &standing.egress)
                && shown.file == standing.file
        };
        match self.place.publisher.shown(&self.name).filter(is_same) {
            Some(shown) => shown.warm.clone(),
            None => self.place.runtime.warm_pool(&standing.file),
        }
    }
}

/// What a component says of itself, or a command as it fails, may hold what the operator gave before.
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
