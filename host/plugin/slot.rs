//! One plugin's place: what serves, what was last seen of its files, and taking up what is new.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::clock::{Clock, Stopwatch, UnixMs};
use crate::config::PluginFile;

use super::egress::{Egress, Grants};
use super::folder::{self, COMPONENT_BYTES_MAX, Found, GRANTS_BYTES_MAX, ReadError, Stamp};
use super::granted::Granted;
use super::registry::Publisher;
use super::revision::{Prepared, Runtime, hex};
use super::sources::Sources;
use super::{LoadError, Loading, Plugin, Revision, report};

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
    /// The files as they were last accepted to be taken up. Looked at without waiting for a compilation.
    accepted: Mutex<Found>,
    /// When what commands print was read, and how long it holds.
    refresh: Mutex<Option<(Stopwatch, Duration)>>,
    /// What commands print is to be read again.
    is_stale: AtomicBool,
    /// One change at a time.
    state: tokio::sync::Mutex<Standing>,
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
    /// The component that will serve next, while it is being compiled.
    loading: Option<Arc<Loading>>,
    egress: Arc<Egress>,
}

impl Slot {
    /// A place where nothing stands yet.
    pub(super) fn new(name: String, place: Arc<Place>) -> Self {
        let Granted { grants, way } = Granted::default();
        let egress = Arc::new(Egress::new(place.runtime.outside.clone(), way));
        let standing = Standing {
            taken: Found::default(),
            file: PluginFile::default(),
            grants,
            is_file_known: true,
            file_error: None,
            revision: None,
            component_error: None,
            loading: None,
            egress,
        };
        let (accepted, refresh, is_stale) = Default::default();
        Self { name, place, accepted, refresh, is_stale, state: tokio::sync::Mutex::new(standing) }
    }

    /// The files that its grants are made of, as they lie there now.
    pub(super) async fn sources(&self) -> Sources {
        let known = self.accepted().sources.clone();
        if known.is_empty() { known } else { blocking(move || known.again()).await }
    }

    /// True once when what commands print is to be read again.
    pub(super) fn is_due(&self) -> bool {
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((read, holds)) = &mut *refresh else { return false };
        let is_due = read.elapsed() >= *holds;
        if is_due {
            *read = Stopwatch::start();
            self.is_stale.store(true, Ordering::Release);
        }
        is_due
    }

    /// The files as they were last accepted.
    pub(super) fn accepted(&self) -> MutexGuard<'_, Found> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the files as they were accepted last. A later change that waits already does it then.
    pub(super) async fn take_up(&self) {
        let mut standing = self.state.lock().await;
        let found = self.accepted().clone();
        let mut grants_edited = false;
        let mut is_changed = false;
        let is_stale = self.is_stale.swap(false, Ordering::AcqRel);
        if found.grants != standing.taken.grants || found.sources != standing.taken.sources || is_stale {
            grants_edited = self.take_grants(&mut standing, found.grants.as_ref()).await;
            standing.taken.grants.clone_from(&found.grants);
            is_changed = true;
        }
        if found.component != standing.taken.component {
            if is_changed && standing.revision.is_some() {
                // Compiling may take long. The new grants hold at once.
                self.publish(&standing, std::mem::take(&mut grants_edited));
            }
            self.take_component(&mut standing, found.component.as_ref()).await;
            standing.taken.component.clone_from(&found.component);
            is_changed = true;
        }
        if is_changed {
            self.publish(&standing, grants_edited);
        }
    }

    /// Checks a component, puts it into the folder and takes it up.
    pub(super) async fn install(&self, bytes: Bytes) -> Result<Arc<Plugin>, super::InstallError> {
        if bytes.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(report::too_large(COMPONENT_BYTES_MAX).into());
        }
        let mut standing = self.state.lock().await;
        let revision = Arc::new(self.compile(&mut standing, bytes.clone()).await?);
        let (dir, file_name) = (self.place.dir.clone(), self.file_name("wasm"));
        let stamp = blocking(move || {
            folder::put(&dir, &file_name, &bytes)?;
            Ok::<_, std::io::Error>(folder::stamp(&dir.canonicalize()?, &dir.join(&file_name)))
        });
        let stamp = stamp.await?;
        self.accepted().component.clone_from(&stamp);
        standing.taken.component = stamp;
        self.serve(&mut standing, revision);
        Ok(self.publish(&standing, false))
    }

    /// Removes the component from the folder.
    pub(super) async fn remove(&self) -> std::io::Result<bool> {
        let mut standing = self.state.lock().await;
        let (dir, file_name) = (self.place.dir.clone(), self.file_name("wasm"));
        let was_there = blocking(move || folder::remove(&dir, &file_name)).await?;
        if was_there {
            self.accepted().component = None;
            standing.taken.component = None;
            self.take_component(&mut standing, None).await;
            self.publish(&standing, false);
        }
        Ok(was_there)
    }

    /// Answers whether the grants are others now. A file that is not right changes nothing but the report.
    async fn take_grants(&self, standing: &mut Standing, stamp: Option<&Stamp>) -> bool {
        let file = match stamp {
            None => Ok(PluginFile::default()),
            Some(stamp) => self.read_grants(stamp).await,
        };
        let read = match file {
            Ok(file) => {
                self.follow(standing, &file).await;
                self.granted(&file).await.map(|granted| (file, granted))
            }
            Err(why) => Err(why),
        };
        match read {
            Ok((file, granted)) => {
                let old = std::mem::replace(&mut standing.file, file);
                let is_same_way = standing.egress.goes(&granted.way);
                if !is_same_way {
                    // Connections that were made under older grants are not used under these.
                    standing.egress = Arc::new(Egress::new(self.place.runtime.outside.clone(), granted.way));
                }
                standing.grants = granted.grants;
                standing.is_file_known = true;
                standing.file_error = None;
                !is_same_way || old.config != standing.file.config
            }
            Err(why) => {
                // A plugin that never had a file goes on without, until it is given one.
                standing.is_file_known &= standing.taken.grants.is_some() || standing.revision.is_some();
                let error = report::bad_grants(&why, standing.is_file_known);
                tracing::warn!(plugin.name = self.name, error = error.summary, "a plugin's file is not right");
                standing.file_error = Some(error);
                false
            }
        }
    }

    async fn read_grants(&self, stamp: &Stamp) -> Result<PluginFile, String> {
        let path = self.place.dir.join(self.file_name("toml"));
        let shown = path.display().to_string();
        let bytes = self.read(path.clone(), stamp.clone(), GRANTS_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| format!("{shown}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: the file is not UTF-8"))?;
        PluginFile::parse(&path, &text, &self.place.runtime.limits).map_err(|error| error.to_string())
    }

    /// Remembers what the file is made of, before it is read: what changes from here on is taken up again.
    async fn follow(&self, standing: &mut Standing, file: &PluginFile) {
        let paths = self.place.runtime.outside.files(file);
        let sources = blocking(move || Sources::look(paths)).await;
        self.accepted().sources.clone_from(&sources);
        standing.taken.sources = sources;
        let secrets = file.secrets.values().chain(self.place.runtime.outside.proxy_credentials(file));
        let refresh = secrets.filter_map(|secret| secret.refresh).min();
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) =
            refresh.map(|refresh| (Stopwatch::start(), refresh.0));
    }

    /// Commands may take a while: they run where nobody else waits.
    async fn granted(&self, file: &PluginFile) -> Result<Granted, String> {
        let shown = self.place.dir.join(self.file_name("toml")).display().to_string();
        let (name, file, runtime) = (shown.clone(), file.clone(), self.place.runtime.clone());
        let granted = blocking(move || Granted::read(&name, &file, &runtime.outside)).await;
        granted.map_err(|why| format!("{shown}: {why}"))
    }

    async fn take_component(&self, standing: &mut Standing, stamp: Option<&Stamp>) {
        let Some(stamp) = stamp else {
            standing.revision = None;
            standing.component_error = None;
            return;
        };
        let path = self.place.dir.join(self.file_name("wasm"));
        let serving = standing.revision.as_ref().map(|(revision, _)| revision.digest.clone());
        match self.load(standing, path, stamp, serving.as_deref()).await {
            Ok(Some(revision)) => self.serve(standing, Arc::new(revision)),
            Ok(None) => standing.component_error = None,
            Err(error) => {
                tracing::warn!(plugin.name = self.name, error = error.summary, "a component was not taken up");
                standing.component_error = Some(error);
            }
        }
    }

    /// None where the file holds what serves already.
    async fn load(
        &self,
        standing: &mut Standing,
        path: PathBuf,
        stamp: &Stamp,
        serving: Option<&str>,
    ) -> Result<Option<Revision>, LoadError> {
        let bytes = match self.read(path, stamp.clone(), COMPONENT_BYTES_MAX).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(ReadError::Refused(why)) => return Err(report::refused_file(&why)),
            Err(ReadError::TooLarge(bytes_max)) => return Err(report::too_large(bytes_max)),
            Err(error @ ReadError::Unsettled) => return Err(report::refused_file(&error.to_string())),
            Err(ReadError::Io(error)) => return Err(report::unreadable(&error)),
        };
        let content = bytes.clone();
        let digest = blocking(move || hex(&Sha256::digest(&content))).await;
        if serving == Some(digest.as_str()) {
            return Ok(None);
        }
        self.compile(standing, bytes).await.map(Some)
    }

    /// Where it takes a while, the plugin says so meanwhile.
    async fn compile(&self, standing: &mut Standing, bytes: Bytes) -> Result<Revision, LoadError> {
        let prepared = Prepared::new(&self.place.runtime, bytes).await?;
        if let Some(loading) = prepared.loading() {
            tracing::info!(plugin.name = self.name, size_bytes = loading.size_bytes, "a component is being compiled");
            standing.loading = Some(loading);
            self.publish(standing, false);
        }
        let loaded = prepared.load().await;
        if standing.loading.take().is_some() && loaded.is_err() {
            self.publish(standing, false);
        }
        loaded
    }

    /// A file that changes while it is read is seen as changed by the next look.
    async fn read(&self, path: PathBuf, stamp: Stamp, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
        let dir = self.place.dir.clone();
        blocking(move || folder::read(&dir.canonicalize()?, &path, &stamp, bytes_max)).await
    }

    fn serve(&self, standing: &mut Standing, revision: Arc<Revision>) {
        tracing::info!(
            plugin.name = self.name,
            plugin.revision = revision.digest,
            compile_ms = u64::try_from(revision.compile_time.as_millis()).unwrap_or(u64::MAX),
            "a component serves"
        );
        standing.revision = Some((revision, self.place.clock.now()));
        standing.component_error = None;
    }

    fn publish(&self, standing: &Standing, grants_edited: bool) -> Arc<Plugin> {
        let plugin = Arc::new(self.plugin(standing));
        if standing.taken == Found::default() && standing.loading.is_none() {
            self.place.publisher.remove(&self.name);
        } else {
            self.place.publisher.update(&plugin, grants_edited);
        }
        plugin
    }

    fn plugin(&self, standing: &Standing) -> Plugin {
        let serving = standing.revision.clone().filter(|_| standing.is_file_known);
        let (revision, loaded_at) = serving.unzip();
        Plugin {
            name: self.name.clone(),
            limits: self.place.runtime.limits.attempt(&standing.file.limits),
            revision,
            loaded_at,
            loading: standing.loading.clone(),
            load_error: both(standing.component_error.clone(), standing.file_error.clone())
                .map(|error| masked(error, &standing.grants)),
            grants: standing.grants.clone(),
            egress: standing.egress.clone(),
            warm: self.place.runtime.warm_pool(&standing.file),
            runtime: self.place.runtime.clone(),
            file: standing.file.clone(),
        }
    }

    fn file_name(&self, extension: &str) -> String {
        format!("{}.{extension}", self.name)
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

/// Files are read and written off the threads that serve.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Looks through a folder, off the threads that serve.
pub(super) async fn scan(dir: &Path) -> std::io::Result<folder::Scan> {
    let dir = dir.to_path_buf();
    blocking(move || folder::scan(&dir)).await
}
