//! Components that are put there, or removed, because somebody asks for it. What has begun to change the folder comes to
//! its end, also where who asked is gone.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::lock::lock;
use crate::to_its_end::to_its_end;

use super::super::folder::{self, COMPONENT_BYTES_MAX, Kind, Stamp};
use super::super::revision::{Prepared, Source};
use super::super::signature::Signature;
use super::super::{Giver, InstallError, Plugin, Revision, report};
use super::blocking::blocking;
use super::coming::Put;
use super::{Slot, Standing};

impl Slot {
    /// Checks a component, puts it into the folder, takes it up and tells the giver.
    pub(in super::super) async fn install(
        self: &Arc<Self>,
        bytes: Bytes,
        signature: Option<Signature>,
        giver: Giver,
    ) -> Result<Arc<Plugin>, InstallError> {
        self.installed(bytes, signature, giver).await.map_err(InstallError::handed_over)
    }

    /// Nothing is compiled for who is gone, or was overtaken; and nothing put there for who may not any more.
    async fn installed(
        self: &Arc<Self>,
        bytes: Bytes,
        signature: Option<Signature>,
        giver: Giver,
    ) -> Result<Arc<Plugin>, InstallError> {
        if bytes.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(report::too_large(COMPONENT_BYTES_MAX).into());
        }
        let mut put = Put::begin(self).await?;
        let revision = tokio::select! {
            biased;
            error = put.overtaken() => return Err(error),
            compiled = self.compiled(&put, bytes.clone(), signature.as_slice()) => Arc::new(compiled?),
        };
        let standing = self.admitted(&mut put, &revision.digest, signature.as_slice()).await?;
        if !giver.may_still() {
            return Err(InstallError::Withdrawn);
        }
        let slot = self.clone();
        let coming = (put, revision, giver);
        Ok(to_its_end(async move { slot.put(standing, coming, bytes, signature).await }).await?)
    }

    /// Compiles a component that may come in. Whoever takes up a change of the folder meanwhile waits for nothing.
    async fn compiled(&self, put: &Put, bytes: Bytes, signatures: &[Signature]) -> Result<Revision, InstallError> {
        let source = Source::Held(bytes);
        let known = self.known(&source).await?;
        self.glance(&known.digest, signatures).await?;
        let prepared = Prepared::new(&self.place.runtime, source, known).await?;
        let Some(loading) = prepared.loading() else { return Ok(prepared.load().await?) };
        self.tell_compiling(&loading);
        put.is_compiled(loading);
        // Who holds the place may be compiling for the folder: that is what is seen then.
        let (shown, loaded) = (pin!(self.show()), pin!(prepared.load()));
        let loaded = match select(shown, loaded).await {
            Either::Left(((), loaded)) => loaded.await,
            Either::Right((loaded, _)) => loaded,
        };
        Ok(loaded?)
    }

    /// Keeps out what the plugin's file does not let in, before anything is compiled. That file is not taken up for it.
    pub(super) async fn glance(&self, digest: &str, signatures: &[Signature]) -> Result<(), InstallError> {
        let asked = Instant::now();
        loop {
            let found = self.grants_at_rest(asked).await?;
            let file = self.read_grants(found.as_ref()).await;
            if self.stamp(Kind::Grants).await? != found {
                continue;
            }
            let has_older = self.place.publisher.shown(&self.name).is_some_and(|plugin| plugin.revision.is_some());
            let file = file.map_err(|why| report::bad_grants(&why, has_older))?;
            return Ok(self.policy(&file).admit(digest, Ok(signatures))?);
        }
    }

    /// Lets a component in by what the plugin's file says at this moment. From here to the end the place is held.
    pub(super) async fn admitted(
        &self,
        put: &mut Put,
        digest: &str,
        signatures: &[Signature],
    ) -> Result<OwnedMutexGuard<Standing>, InstallError> {
        let asked = Instant::now();
        loop {
            // Nobody is kept waiting for who saves a file.
            let found = self.grants_at_rest(asked).await?;
            put.ready();
            let mut standing = self.state.clone().lock_owned().await;
            if !self.refresh_grants(&mut standing, found).await? {
                continue;
            }
            if let Some(error) = &standing.file_error {
                // What an older file asked for may be less than what this one was to ask for.
                return Err(error.clone().into());
            }
            self.policy(&standing.file).admit(digest, Ok(signatures))?;
            put.check()?;
            return Ok(standing);
        }
    }

    /// Puts its files there and has it serve. Nobody else writes these files meanwhile: the place is held to the end.
    async fn put(
        &self,
        mut standing: OwnedMutexGuard<Standing>,
        (mut put, revision, giver): (Put, Arc<Revision>, Giver),
        bytes: Bytes,
        signature: Option<Signature>,
    ) -> io::Result<Arc<Plugin>> {
        put.writes();
        let (component, signature) = self.put_files(bytes, signature).await?;
        put.serves(&component);
        self.accept_files(Some(component.clone()), signature.clone());
        (standing.taken.component, standing.taken.signature) = (Some(component), signature);
        standing.is_policy_new = false;
        self.serve(&mut standing, revision);
        let plugin = self.publish(&standing, false);
        giver.tell();
        Ok(plugin)
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
            // What was let in lies there by now, whatever is left beside it.
            let cleared = match signature {
                None => folder::remove(&dir, &signature_name).map(|_| lies_beside = None),
                Some(signature) if older.is_some() => put_signatures(&[signature]).map(|put| lies_beside = Some(put)),
                Some(_) => Ok(()),
            };
            if let Err(error) = cleared {
                tracing::warn!(file = signature_name, %error, "a signature of an older component was left where it is");
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

    /// Removes the component and its signature from the folder. What is being compiled of it, or put in its place, is given
    /// up. Without the files nobody else would take up that it serves no more.
    pub(in super::super) async fn removed(self: Arc<Self>) -> io::Result<bool> {
        to_its_end(async move { self.remove().await }).await
    }

    async fn remove(&self) -> io::Result<bool> {
        let was_there = self.remove_files().await?;
        let was_coming = lock(&self.coming).overtake();
        if was_there {
            self.accept_files(None, None);
        } else {
            self.accepted_changed.notify_waiters();
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
        Ok(was_there || was_coming)
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
mod tests;
