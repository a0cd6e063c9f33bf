//! Components that are put there, or removed, because somebody asks for it. What has begun to change the folder comes to
//! its end, also where who asked is gone.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use crate::to_its_end::to_its_end;

use super::super::folder::{self, COMPONENT_BYTES_MAX, Kind, Stamp};
use super::super::revision::Source;
use super::super::signature::Signature;
use super::super::{InstallError, Plugin, Revision, report};
use super::blocking::blocking;
use super::{Slot, Standing};

impl Slot {
    /// Checks a component, puts it into the folder, takes it up and tells `put`.
    pub(in super::super) async fn install(
        self: &Arc<Self>,
        bytes: Bytes,
        signature: Option<Signature>,
        put: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Plugin>, InstallError> {
        let installed = self.admitted(bytes, signature, put).await;
        if installed.is_err() {
            // The plugin's file may have been read for it, and ask something of what lies in the folder.
            let slot = self.clone();
            to_its_end(async move { slot.take_up().await }).await;
        }
        installed.map_err(InstallError::handed_over)
    }

    /// Nothing is compiled for who is gone.
    async fn admitted(
        self: &Arc<Self>,
        bytes: Bytes,
        signature: Option<Signature>,
        put: impl FnOnce() + Send + 'static,
    ) -> Result<Arc<Plugin>, InstallError> {
        if bytes.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(report::too_large(COMPONENT_BYTES_MAX).into());
        }
        let source = Source::Held(bytes.clone());
        let known = self.known(&source).await?;
        let mut standing = self.state.clone().lock_owned().await;
        self.admit_now(&mut standing, &known.digest, signature.as_slice()).await?;
        let revision = Arc::new(self.compile(&mut standing, source, known).await?);
        // Meanwhile its file may have come to ask for something else.
        self.admit_now(&mut standing, &revision.digest, signature.as_slice()).await?;
        let slot = self.clone();
        Ok(to_its_end(async move { slot.put(standing, revision, bytes, signature, put).await }).await?)
    }

    /// Puts its files there and has it serve. Nobody else writes these files meanwhile: the place is held to the end.
    async fn put(
        &self,
        mut standing: OwnedMutexGuard<Standing>,
        revision: Arc<Revision>,
        bytes: Bytes,
        signature: Option<Signature>,
        put: impl FnOnce() + Send,
    ) -> io::Result<Arc<Plugin>> {
        let (component, signature) = self.put_files(bytes, signature).await?;
        self.accept_files(Some(component.clone()), signature.clone());
        (standing.taken.component, standing.taken.signature) = (Some(component), signature);
        standing.is_policy_new = false;
        self.serve(&mut standing, revision);
        let plugin = self.publish(&standing, false);
        put();
        Ok(plugin)
    }

    /// Lets a component in by what the plugin's file says at this moment.
    pub(super) async fn admit_now(
        &self,
        standing: &mut Standing,
        digest: &str,
        signatures: &[Signature],
    ) -> Result<(), InstallError> {
        self.refresh_grants(standing).await?;
        if let Some(error) = &standing.file_error {
            // What an older file asked for may be less than what this one was to ask for.
            return Err(error.clone().into());
        }
        Ok(self.policy(standing).admit(digest, Ok(signatures))?)
    }

    /// Puts a component and its signature into the folder. At no moment does a file of signatures lie there that does
    /// not have the signature of the component beside it: first both are in it, then the component changes, then the
    /// older one goes. Answers the files that it put there, whatever somebody else has put in their place by then.
    async fn put_files(&self, component: Bytes, signature: Option<Signature>) -> io::Result<(Stamp, Option<Stamp>)> {
        let dir = self.place.dir.clone();
        let name_of = |kind: Kind| format!("{}{}", self.name, kind.ending());
        let (component_name, signature_name) = (name_of(Kind::Component), name_of(Kind::Signature));
        let older = self.older_signature().await?;
        blocking(move || {
            let put_signatures = |lines: &[Signature]| {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                folder::put(&dir, &signature_name, text.as_bytes())
            };
            let mut lies_beside = match (signature, older) {
                (None, _) => None,
                (Some(signature), None) => Some(put_signatures(&[signature])?),
                (Some(signature), Some(older)) => Some(put_signatures(&[signature, older])?),
            };
            let component = folder::put(&dir, &component_name, &component)?;
            match signature {
                None => drop(folder::remove(&dir, &signature_name)?),
                Some(signature) if older.is_some() => lies_beside = Some(put_signatures(&[signature])?),
                Some(_) => {}
            }
            Ok((component, lies_beside))
        })
        .await
    }

    /// The first signature that lies in the folder now: the only one, unless somebody else wrote the file. None where that
    /// holds none that can be read: it may be replaced.
    async fn older_signature(&self) -> io::Result<Option<Signature>> {
        let stamp = self.stamp(Kind::Signature).await?;
        Ok(self.signatures(stamp.as_ref()).await.unwrap_or_default().into_iter().next())
    }

    /// Removes the component and its signature from the folder. What is being compiled of it is given up. Without the
    /// files nobody else would take up that it serves no more.
    pub(in super::super) async fn removed(self: Arc<Self>) -> io::Result<bool> {
        to_its_end(async move { self.remove().await }).await
    }

    async fn remove(&self) -> io::Result<bool> {
        let was_there = self.remove_files().await?;
        if was_there {
            self.accept_files(None, None);
        }
        let mut standing = self.state.lock().await;
        // One may have been put there while this waited.
        let was_there = self.remove_files().await? || was_there;
        if was_there {
            self.accept_files(None, None);
            (standing.taken.component, standing.taken.signature) = (None, None);
            (standing.revision, standing.component_error) = (None, None);
            self.publish(&standing, false);
        }
        Ok(was_there)
    }

    /// Removes the component, then its signatures: these alone make no plugin.
    async fn remove_files(&self) -> io::Result<bool> {
        let (dir, name) = (self.place.dir.clone(), self.name.clone());
        blocking(move || {
            let was_there = folder::remove(&dir, &format!("{name}{}", Kind::Component.ending()))?;
            folder::remove(&dir, &format!("{name}{}", Kind::Signature.ending()))?;
            Ok(was_there)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::DirEntry;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use crate::clock::SystemClock;
    use crate::plugin::Loader;

    use super::super::super::testing::{Bench, echo};

    #[tokio::test]
    async fn a_removal_goes_on_when_who_asked_for_it_is_gone() {
        let bench = Bench::new();
        let dir = bench.dir.path().join("plugins");
        let (loader, _changes) = Loader::new(bench.host.clone(), dir, Arc::new(SystemClock::start())).unwrap();
        let serving = loader.install("a", echo(), None, || {}).await.unwrap();
        assert!(serving.revision.is_some());
        let slot = loader.folder.slot("a");
        let busy = slot.state.lock().await;
        let files_gone = async {
            while slot.accepted().component.is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            removed = loader.remove("a") => panic!("it did not wait: {removed:?}"),
            () = files_gone => {}
        }
        drop(busy);
        let gone = async {
            while loader.registry.get("a").is_some() {
                loader.look().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it serves no more");
    }

    #[tokio::test]
    async fn a_component_is_put_there_whole_when_who_brought_it_is_gone() {
        let bench = Bench::new();
        let dir = bench.dir.path().join("plugins");
        let (loader, _changes) = Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
        for n in 0..10 {
            let name = format!("a{n}");
            let is_its = |file: std::io::Result<DirEntry>| file.unwrap().file_name().to_string_lossy().contains(&name);
            let is_begun = || std::fs::read_dir(&dir).unwrap().any(is_its);
            let begun = async {
                while !is_begun() {
                    tokio::task::yield_now().await;
                }
            };
            let is_told = Arc::<AtomicBool>::default();
            let told = is_told.clone();
            let put = move || told.store(true, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = begun => {}
                // It was faster than this.
                installed = loader.install(&name, echo(), None, put) => drop(installed.unwrap()),
            }
            let slot = loader.folder.slot(&name);
            let standing = slot.state.lock().await;
            assert!(standing.taken.component.is_some() && slot.accepted() == standing.taken);
            assert!(loader.registry.get(&name).unwrap().revision.is_some() && is_told.load(Ordering::Relaxed));
        }
    }
}
