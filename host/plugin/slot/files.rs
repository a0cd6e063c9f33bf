//! A plugin's files: its grants and its signatures read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::PluginFile;
use crate::lock::lock;

use super::super::egress::Egress;
use super::super::folder::{self, Kind, ReadError, Stamp};
use super::super::granted::Granted;
use super::super::load_error::Unusable;
use super::super::report;
use super::super::signature::Signature;
use super::super::sources::Sources;
use super::blocking::blocking;
use super::retry::is_news;
use super::{Slot, Standing};

/// How long what is overdue waits for another look: the last one could not see to it, where the folder cannot be read.
const OVERDUE: Duration = Duration::from_secs(1);

/// What came of reading a plugin's file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edit {
    /// The file, what it grants or what is wrong with it is another than before.
    pub(super) is_news: bool,
    /// The plugin may reach something else, or is told something else: what it was denied it may be given now.
    pub(super) grants_edited: bool,
}

impl Slot {
    /// The files that its grants are made of, as they lie there now.
    pub(in super::super) async fn sources(&self) -> Sources {
        let known = self.accepted().sources;
        if known.is_empty() { known } else { blocking(move || known.again()).await }
    }

    /// True once when what commands print is to be read again.
    pub(in super::super) fn is_due(&self) -> bool {
        let now = self.place.clock.now();
        let mut refresh = lock(&self.refresh);
        let Some((at, holds)) = &mut *refresh else { return false };
        let is_due = now >= *at;
        if is_due {
            *at = now.after(*holds);
            self.is_stale.store(true, Ordering::Release);
            self.accepted_changed.notify_waiters();
        }
        is_due
    }

    /// How long it is until what commands print is to be read again, or what failed is to be tried again, where some is.
    /// What is overdue, as the last look left it, waits for a while.
    pub(in super::super) fn due_in(&self) -> Option<Duration> {
        let now = self.place.clock.now();
        let refresh = lock(&self.refresh).map(|(at, _)| at);
        let due = [refresh, self.retry_at()].into_iter().flatten().min();
        due.map(|at| if at <= now { OVERDUE } else { at.since(now) })
    }

    /// Reads the plugin's file and what it names. A file that is not right changes nothing but the report.
    pub(super) async fn take_grants(&self, standing: &mut Standing, stamp: Option<&Stamp>) -> Edit {
        let read = match self.read_grants(stamp).await {
            Ok(file) => {
                let sources = self.follow(&file).await;
                let granted = self.granted(&file).await;
                // Only now: who is gone before has taken nothing up.
                standing.taken.sources = sources;
                granted.map(|granted| (file, granted))
            }
            Err(why) => Err(why),
        };
        if read.is_err() && self.is_left(standing, stamp).await {
            return Edit::default();
        }
        let before = std::mem::replace(&mut standing.taken.grants, stamp.cloned());
        let is_other_file = standing.taken.grants != before;
        match read {
            Ok((file, granted)) => {
                let was_wrong = !std::mem::replace(&mut standing.is_file_known, true);
                let had_error = standing.file_error.take().is_some();
                let edit = self.grant(standing, file, granted);
                Edit { is_news: edit.is_news || was_wrong || had_error || is_other_file, ..edit }
            }
            Err(why) => {
                // A plugin that never had a file goes on without, until it is given one.
                standing.is_file_known &= before.is_some() || standing.revision.is_some();
                let error = report::bad_grants(&why, standing.is_file_known);
                if is_news(!is_other_file, standing.file_error.as_ref(), &error) {
                    let error = &*standing.grants.secrets.mask(&error.summary);
                    tracing::warn!(plugin.name = self.name, error, "a plugin's file is not right");
                }
                let last = standing.file_error.replace(error);
                Edit { is_news: last != standing.file_error || is_other_file, grants_edited: false }
            }
        }
    }

    /// Whether a file that was read before, and was to be read again, is another by now. What it said goes on until the next
    /// look takes the other one up.
    async fn is_left(&self, standing: &Standing, stamp: Option<&Stamp>) -> bool {
        stamp == standing.taken.grants.as_ref() && self.stamp(Kind::Grants).await.is_ok_and(|now| now.as_ref() != stamp)
    }

    /// Gives what a file grants. Where that is the same as before, all that is made of it stays too.
    fn grant(&self, standing: &mut Standing, file: PluginFile, granted: Granted) -> Edit {
        let is_same_way = standing.egress.goes(&granted.way);
        if is_same_way && standing.file == file {
            return Edit::default();
        }
        if !is_same_way {
            // Connections that were made under older grants are not used under these.
            let outside = self.place.runtime.outside.clone();
            standing.egress = Arc::new(Egress::new(&self.name, outside, granted.way));
        }
        standing.grants = granted.grants;
        standing.grants.tell_guessable();
        let old = std::mem::replace(&mut standing.file, file);
        let new = &standing.file;
        standing.is_policy_new |= old.sha256 != new.sha256 || old.signed_by != new.signed_by;
        let grants_edited = !is_same_way || old.config != new.config;
        if grants_edited {
            standing.denials = Arc::default();
        }
        Edit { is_news: true, grants_edited }
    }

    /// Takes up the file of grants as it was found at rest: it may ask something of the component that is about to come.
    /// False where it is another by now.
    pub(super) async fn refresh_grants(&self, standing: &mut Standing, found: Option<Stamp>) -> io::Result<bool> {
        if found != standing.taken.grants {
            // Whoever asked may be gone before it is read: then it still counts as new, and the next look takes it up.
            let edit = self.take_grants(standing, found.as_ref()).await;
            let before = self.accepted();
            self.accept(&before, folder::Found { grants: found, ..before.clone() });
            self.publish(standing, edit.grants_edited);
        }
        Ok(self.stamp(Kind::Grants).await? == standing.taken.grants)
    }

    /// What the plugin's file says; nothing where there is none.
    pub(super) async fn read_grants(&self, stamp: Option<&Stamp>) -> Result<PluginFile, Unusable> {
        let Some(stamp) = stamp else { return Ok(PluginFile::default()) };
        let path = self.path(Kind::Grants);
        let shown = path.display().to_string();
        let bytes = self.read(Kind::Grants, stamp).await.map_err(|unusable| unusable.at(&shown))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: the file is not UTF-8"))?;
        Ok(PluginFile::parse(&path, &text, &self.place.runtime.limits).map_err(|error| error.to_string())?)
    }

    /// Remembers what the file is made of, before it is read: what changes from here on is taken up again.
    async fn follow(&self, file: &PluginFile) -> Sources {
        let paths = self.place.runtime.outside.files(file);
        let sources = blocking(move || Sources::look(paths)).await;
        self.lock_accepted().sources.clone_from(&sources);
        let secrets = file.secrets.values().chain(self.place.runtime.outside.proxy_credentials(file));
        let refresh = secrets.filter_map(|secret| secret.refresh).min();
        let now = self.place.clock.now();
        *lock(&self.refresh) = refresh.map(|refresh| (now.after(refresh.0), refresh.0));
        sources
    }

    /// Commands may take a while: they run where nobody else waits.
    async fn granted(&self, file: &PluginFile) -> Result<Granted, Unusable> {
        let shown = self.path(Kind::Grants).display().to_string();
        let (name, file, runtime) = (shown.clone(), file.clone(), self.place.runtime.clone());
        let granted = blocking(move || Granted::read(&name, &file, &runtime.outside)).await;
        granted.map_err(|unusable| unusable.at(&shown))
    }

    /// The signatures beside the component; none where there is no file of them.
    pub(super) async fn signatures(&self, stamp: Option<&Stamp>) -> Result<Vec<Signature>, Unusable> {
        let Some(stamp) = stamp else { return Ok(Vec::new()) };
        let bytes = self.read(Kind::Signature, stamp).await?;
        let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        Ok(Signature::read_all(&text).map_err(|error| error.to_string())?)
    }

    /// A file that changes while it is read is seen as changed by the next look.
    async fn read(&self, kind: Kind, stamp: &Stamp) -> Result<Vec<u8>, Unusable> {
        let (dir, name, stamp) = (self.place.dir.clone(), self.name.clone(), stamp.clone());
        let read = blocking(move || folder::read(&dir, &name, kind, &stamp)).await;
        read.map_err(|error| match error {
            ReadError::Io(error) => Unusable::of_system(&error, ToString::to_string),
            other => other.to_string().into(),
        })
    }

    /// How a file of this plugin stands now.
    pub(super) async fn stamp(&self, kind: Kind) -> io::Result<Option<Stamp>> {
        let (dir, path) = (self.place.dir.clone(), self.path(kind));
        blocking(move || folder::stamp(&dir.canonicalize()?, &path, kind)).await
    }

    /// Where a file of this plugin lies.
    pub(super) fn path(&self, kind: Kind) -> PathBuf {
        self.place.dir.join(format!("{}{}", self.name, kind.ending()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::clock::SystemClock;
    use crate::plugin::Loader;

    use super::super::super::testing::{Bench, echo};

    #[tokio::test]
    async fn a_pin_that_was_read_for_a_component_holds_when_who_brought_that_is_gone() {
        let bench = Bench::new();
        let dir = bench.dir.path().join("plugins");
        let (loader, _changes) = Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
        loader.install("a", echo(), None, || {}).await.unwrap();
        std::fs::write(dir.join("a.toml"), format!("sha256 = \"{}\"", "ab".repeat(32))).unwrap();
        let slot = loader.folder.slot("a");
        let found = slot.grants_at_rest(Instant::now()).await.unwrap();
        assert!(slot.refresh_grants(&mut *slot.state.lock().await, found).await.unwrap());
        let is_held = async {
            while slot.state.lock().await.component_error.is_none() {
                loader.look().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_held).await.expect("it is not the pinned one");
        assert!(!slot.is_retry_due(), "once");
    }
}
