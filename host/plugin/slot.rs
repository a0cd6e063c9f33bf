//! One plugin's place: what serves, what was last seen of its files, and taking up what is new.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, UnixMs};
use crate::config::PluginFile;
use crate::lock::lock;

use super::egress::{Egress, Grants};
use super::folder::{self, Found, Seen, Stamp};
use super::granted::Granted;
use super::grants::{self, Denials};
use super::heavy::Habit;
use super::policy::Policy;
use super::registry::Publisher;
use super::revision::{Known, Prepared, Runtime, Source};
use super::{LoadError, Loading, Revision};

mod blocking;
mod coming;
mod files;
mod install;
mod meanwhile;
mod rest;
mod retry;
mod shown;
#[cfg(test)]
mod tests;

pub(super) use blocking::{blocking, scan};
use coming::Coming;
use files::Edit;
use retry::{Again, Retry};

/// What all slots share.
#[derive(Debug)]
pub(super) struct Place {
    /// What plugins run in.
    pub(super) runtime: Arc<Runtime>,
    /// The folder.
    pub(super) dir: PathBuf,
    /// When things are taken up.
    pub(super) clock: Arc<dyn Clock>,
    /// Who is told of changes.
    pub(super) publisher: Publisher,
}

/// The place of one plugin.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    place: Arc<Place>,
    /// How it computes, whatever its revision.
    habit: Arc<Habit>,
    /// The files as they were last accepted to be taken up. Looked at without waiting for a compilation.
    accepted: Mutex<Found>,
    /// What is being put over HTTP. Nobody who holds it waits for `accepted`.
    coming: Mutex<Coming>,
    /// Tells whoever compiles that `accepted` or `coming` is another now, or that what commands print is to be read again.
    accepted_changed: Notify,
    /// When what commands print is to be read again, and how long it holds then.
    refresh: Mutex<Option<(UnixMs, Duration)>>,
    /// What commands print is to be read again.
    is_stale: AtomicBool,
    /// One change at a time.
    state: Arc<tokio::sync::Mutex<Standing>>,
}

/// How a plugin stands.
#[derive(Debug)]
pub(super) struct Standing {
    taken: Found,
    file: PluginFile,
    grants: Arc<Grants>,
    /// Whether `file` says what the operator wrote. Until then nothing serves.
    is_file_known: bool,
    file_error: Option<LoadError>,
    revision: Option<(Arc<Revision>, UnixMs)>,
    component_error: Option<LoadError>,
    /// Whether `file` asks for another pin or other signers than when the component was last looked at.
    is_policy_new: bool,
    /// When what failed for the host's own reasons is tried again.
    retry: Option<Retry>,
    /// What of it is being tried now.
    again: Again,
    /// A file that keeps changing.
    unrest: Option<LoadError>,
    /// The component that will serve next, while it is being compiled.
    loading: Option<Arc<Loading>>,
    egress: Arc<Egress>,
    /// What was asked for in vain since the grants were last edited.
    denials: Arc<Denials>,
}

impl Slot {
    /// A place where nothing stands yet.
    pub(super) fn new(name: String, place: Arc<Place>) -> Self {
        let Granted { grants, way } = Granted::default();
        let egress = Arc::new(Egress::new(&name, place.runtime.outside.clone(), way));
        let standing = Standing {
            taken: Found::default(),
            file: PluginFile::default(),
            grants,
            is_file_known: true,
            file_error: None,
            revision: None,
            component_error: None,
            is_policy_new: false,
            retry: None,
            again: Again::default(),
            unrest: None,
            loading: None,
            egress,
            denials: Arc::default(),
        };
        let (accepted, coming, accepted_changed, refresh, is_stale) = Default::default();
        let state = Arc::new(tokio::sync::Mutex::new(standing));
        let habit = Habit::new(&name);
        Self { name, place, habit, accepted, coming, accepted_changed, refresh, is_stale, state }
    }

    /// The files as they were last accepted.
    pub(super) fn accepted(&self) -> Found {
        self.lock_accepted().clone()
    }

    /// Accepts what was found, unless something else was accepted meanwhile. What is being compiled of an older file is
    /// given up, and so is what is being put over HTTP since another component lay there.
    pub(super) fn accept(&self, before: &Found, found: Found) -> bool {
        let mut accepted = self.lock_accepted();
        if *accepted != *before {
            return false;
        }
        if accepted.component != found.component {
            lock(&self.coming).found(found.component.as_ref());
        }
        *accepted = found;
        self.accepted_changed.notify_waiters();
        true
    }

    fn accept_files(&self, component: Option<Stamp>, signature: Option<Stamp>) {
        let mut accepted = self.lock_accepted();
        (accepted.component, accepted.signature) = (component, signature);
        self.accepted_changed.notify_waiters();
    }

    fn lock_accepted(&self) -> MutexGuard<'_, Found> {
        lock(&self.accepted)
    }

    /// Whether nothing stands here, nor comes or goes.
    pub(super) fn is_vacant(&self) -> bool {
        let is_nothing = |found: &Found| found.is_nobody() && found.signature.is_none();
        let is_idle = |standing: &Standing| is_nothing(&standing.taken) && standing.unrest.is_none();
        is_nothing(&self.lock_accepted()) && self.state.try_lock().is_ok_and(|standing| is_idle(&standing))
    }

    /// Says that a file keeps changing, or no longer does.
    pub(super) async fn tell_unrest(&self, unrest: Option<LoadError>) {
        let mut standing = self.state.lock().await;
        if standing.unrest != unrest {
            standing.unrest = unrest;
            self.publish(&standing, false);
        }
    }

    /// Takes up the files as they were accepted last. A later change that waits already does it then.
    pub(super) async fn take_up(&self) {
        let mut standing = self.state.lock().await;
        let found = self.accepted();
        let began = self.place.clock.now();
        standing.begin(&found, began);
        let is_other = found.grants != standing.taken.grants || found.sources != standing.taken.sources;
        let mut was_tried = self.is_stale.swap(false, Ordering::AcqRel) || is_other || standing.again.file;
        let mut edit = Edit::default();
        if was_tried {
            edit = self.take_grants(&mut standing, found.grants.as_ref()).await;
        }
        if self.is_component_due(&standing, &found) {
            if edit.is_news && standing.revision.is_some() {
                // Compiling may take long. The new grants hold at once.
                self.publish(&standing, std::mem::take(&mut edit.grants_edited));
            }
            // While it is compiled its file may come to ask for something else: then it is looked at once more.
            let is_policy_new = std::mem::take(&mut standing.is_policy_new);
            if self.take_component(&mut standing, &found).await {
                (standing.taken.component, standing.taken.signature) = (found.component, found.signature);
                (was_tried, edit.is_news) = (true, true);
            } else {
                standing.is_policy_new |= is_policy_new;
            }
            // It was seen to be compiled, and is so no longer.
            edit.is_news |= standing.loading.take().is_some();
        }
        if edit.is_news {
            self.publish(&standing, edit.grants_edited);
        }
        standing.end(was_tried, began, self.place.clock.now());
    }

    /// Whether the component is to be looked at. It is not before its own file is right: that may let nobody in. What
    /// serves goes on meanwhile.
    fn is_component_due(&self, standing: &Standing, found: &Found) -> bool {
        let taken = &standing.taken;
        let is_other = found.component != taken.component || found.signature != taken.signature;
        match &found.component {
            None => is_other,
            Some(_) => {
                let is_due = is_other || standing.is_policy_new || standing.again.component;
                is_due && standing.file_error.is_none()
            }
        }
    }

    /// False where the files are others by now: nothing is changed then, and whoever found the new ones takes them up.
    async fn take_component(&self, standing: &mut Standing, found: &Found) -> bool {
        let Some(stamp) = &found.component else {
            (standing.revision, standing.component_error) = (None, None);
            return true;
        };
        let loaded = tokio::select! {
            biased;
            () = self.superseded(found) => return false,
            loaded = self.load(standing, stamp, found.signature.as_ref()) => loaded,
        };
        match loaded {
            // The file that says who may come in is another by now.
            Ok(Some(_)) if self.accepted().grants != found.grants => return false,
            Ok(Some(revision)) => self.serve(standing, Arc::new(revision)),
            Ok(None) => standing.component_error = None,
            Err(error) => {
                if retry::is_news(standing.again.component, standing.component_error.as_ref(), &error) {
                    let error = &*standing.grants.secrets.mask(&error.summary);
                    tracing::warn!(plugin.name = self.name, error, "a component was not taken up");
                }
                standing.component_error = Some(error);
            }
        }
        true
    }

    /// Waits until another component or another signature is accepted, or is about to be.
    async fn superseded(&self, found: &Found) {
        loop {
            let changed = self.accepted_changed.notified();
            let accepted = self.accepted();
            let is_other = accepted.component != found.component || accepted.signature != found.signature;
            if is_other || lock(&self.coming).is_one_ready() {
                return;
            }
            changed.await;
        }
    }

    /// None where the file holds what serves already.
    async fn load(
        &self,
        standing: &mut Standing,
        stamp: &Stamp,
        signature: Option<&Stamp>,
    ) -> Result<Option<Revision>, LoadError> {
        let seen = Seen { dir: self.place.dir.clone(), name: self.name.clone(), stamp: stamp.clone() };
        let source = Source::File(seen);
        let known = self.known(&source).await?;
        let policy = self.policy(&standing.file);
        let signatures = if policy.asks_for_signature() { self.signatures(signature).await } else { Ok(Vec::new()) };
        policy.admit(&known.digest, signatures.as_deref().map_err(Clone::clone))?;
        if standing.revision.as_ref().is_some_and(|(serving, _)| serving.digest == known.digest) {
            return Ok(None);
        }
        self.compile(standing, source, known).await.map(Some)
    }

    async fn known(&self, source: &Source) -> Result<Known, LoadError> {
        let source = source.clone();
        self.place.runtime.read_aside(move || source.known()).await
    }

    fn policy<'a>(&'a self, file: &'a PluginFile) -> Policy<'a> {
        Policy { name: &self.name, file, host: self.place.runtime.signed_by.as_ref() }
    }

    /// Where it takes a while, the plugin says so meanwhile, and what serves obeys edits of its file.
    async fn compile(&self, standing: &mut Standing, source: Source, known: Known) -> Result<Revision, LoadError> {
        let prepared = Prepared::new(&self.place.runtime, source, known).await?;
        if let Some(loading) = prepared.loading() {
            if !standing.again.component {
                self.tell_compiling(&loading);
            }
            standing.loading = Some(loading);
            self.publish(standing, false);
        }
        self.obeying(standing, prepared.load()).await
    }

    fn tell_compiling(&self, loading: &Loading) {
        tracing::info!(plugin.name = self.name, size_bytes = loading.size_bytes, "a component is being compiled");
    }

    fn serve(&self, standing: &mut Standing, revision: Arc<Revision>) {
        tracing::info!(
            plugin.name = self.name,
            plugin.revision = revision.digest,
            compile_ms = u64::try_from(revision.compile_time.as_millis()).unwrap_or(u64::MAX),
            "a component serves"
        );
        if let Some(why) = &revision.description_error {
            tracing::warn!(
                plugin.name = self.name,
                plugin.revision = revision.digest,
                why,
                "a component's metadata.describe is of no use: payloads are not checked"
            );
        }
        let asked = revision.description.as_ref();
        if let Some(missing) = grants::missing(&self.grants_file(), &self.name, &standing.file, asked, &BTreeSet::new())
        {
            let lines = missing.toml;
            tracing::warn!(
                plugin.name = self.name,
                file = missing.file,
                lines,
                "a component asks for more than it is given"
            );
        }
        standing.revision = Some((revision, self.place.clock.now()));
        standing.component_error = None;
    }
}
