//! What the API needs of the plugins folder. [`Loader`] has it; tests bring their own.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::UnixMs;
use crate::config::{AttemptLimits, PluginFile};
use crate::job::spec::is_json;
use crate::plugin::{
    CheckSteps, DeniedGrant, Description, Giver, GrantsMissing, Ignored, InstallError, LoadError, Loader, Loading,
    Plugin, Signature,
};

/// The plugins by name, and the folder in which they are.
#[async_trait]
pub trait PluginFolder: Send + Sync {
    /// The plugin of that name.
    fn get(&self, name: &str) -> Option<Arc<dyn ServedPlugin>>;

    /// All plugins, by name.
    fn all(&self) -> Vec<Arc<dyn ServedPlugin>>;

    /// Checks a component and, where it is a plugin and the giver still may, puts it into the folder with its signature,
    /// takes it up and tells the giver: also where nobody waits for the answer any more. Answers the plugin as it stands
    /// with it.
    async fn install(
        &self,
        name: &str,
        component: Bytes,
        signature: Option<Signature>,
        giver: Giver,
    ) -> Result<Arc<dyn ServedPlugin>, InstallError>;

    /// What lies in the folder, looks like a plugin's and is none.
    fn ignored(&self) -> Ignored;

    /// Removes the component of that name from the folder. False where there was none.
    async fn remove(&self, name: &str) -> io::Result<bool>;
}

/// A plugin as it stands.
pub trait ServedPlugin: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Its grants and policy.
    fn file(&self) -> &PluginFile;

    /// What its attempts may use.
    fn limits(&self) -> &AttemptLimits;

    /// The revision that serves, if any.
    fn revision(&self) -> Option<RevisionFacts<'_>>;

    /// When that revision was taken up.
    fn loaded_at(&self) -> Option<UnixMs>;

    /// Why the newest component or the newest file was not taken up.
    fn load_error(&self) -> Option<&LoadError>;

    /// The component that will serve next, while it is being compiled.
    fn loading(&self) -> Option<&Loading>;

    /// What it asks for and is not given.
    fn grants_missing(&self) -> Option<GrantsMissing>;

    /// What its attempts asked for in vain.
    fn denied(&self) -> Vec<DeniedGrant>;

    /// Checks a payload against the plugin's own schema, where it has one, with the steps that are left for the payloads of
    /// the request. The error names the place. It may take a while: not for a thread that serves.
    fn check_payload(&self, content_type: &str, payload: &[u8], left: &mut CheckSteps) -> Result<(), String>;

    /// The same where it is a small matter; none where it is not.
    fn check_small_payload(&self, content_type: &str, payload: &[u8]) -> Option<Result<(), String>>;

    /// The downstream of a job with that payload, where the job names none.
    fn downstream_of(&self, content_type: &str, payload: &[u8]) -> String {
        let rule = self.file().downstream.as_ref();
        let key = rule.and_then(|rule| rule.key(is_json(content_type).then_some(payload)));
        key.unwrap_or_else(|| self.name().to_owned())
    }
}

/// What is told of a revision.
#[derive(Clone, Copy, Debug)]
pub struct RevisionFacts<'a> {
    /// The sha256 of its bytes, in hex.
    pub digest: &'a str,
    /// How large it is.
    pub size_bytes: u64,
    /// The interfaces that it imports.
    pub imports: &'a [String],
    /// The interfaces that it exports.
    pub exports: &'a [String],
    /// What it says of itself.
    pub description: Option<&'a Description>,
    /// Why that, or the payload schema in it, is of no use.
    pub description_error: Option<&'a str>,
}

#[async_trait]
impl PluginFolder for Loader {
    fn get(&self, name: &str) -> Option<Arc<dyn ServedPlugin>> {
        self.registry.get(name).map(|plugin| plugin as Arc<dyn ServedPlugin>)
    }

    fn all(&self) -> Vec<Arc<dyn ServedPlugin>> {
        self.registry.all().values().map(|plugin| plugin.clone() as Arc<dyn ServedPlugin>).collect()
    }

    async fn install(
        &self,
        name: &str,
        component: Bytes,
        signature: Option<Signature>,
        giver: Giver,
    ) -> Result<Arc<dyn ServedPlugin>, InstallError> {
        Self::install(self, name, component, signature, giver).await.map(|plugin| plugin as Arc<dyn ServedPlugin>)
    }

    fn ignored(&self) -> Ignored {
        Self::ignored(self)
    }

    async fn remove(&self, name: &str) -> io::Result<bool> {
        Self::remove(self, name).await
    }
}

impl ServedPlugin for Plugin {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self) -> &PluginFile {
        &self.file
    }

    fn limits(&self) -> &AttemptLimits {
        &self.limits
    }

    fn revision(&self) -> Option<RevisionFacts<'_>> {
        self.revision.as_deref().map(|revision| RevisionFacts {
            digest: &revision.digest,
            size_bytes: revision.size_bytes,
            imports: &revision.imports,
            exports: &revision.exports,
            description: revision.description.as_ref(),
            description_error: revision.description_error.as_deref(),
        })
    }

    fn loaded_at(&self) -> Option<UnixMs> {
        self.loaded_at
    }

    fn load_error(&self) -> Option<&LoadError> {
        self.load_error.as_ref()
    }

    fn loading(&self) -> Option<&Loading> {
        self.loading.as_deref()
    }

    fn grants_missing(&self) -> Option<GrantsMissing> {
        self.grants_missing()
    }

    fn denied(&self) -> Vec<DeniedGrant> {
        self.denied()
    }

    fn check_payload(&self, content_type: &str, payload: &[u8], left: &mut CheckSteps) -> Result<(), String> {
        self.revision.as_ref().map_or(Ok(()), |revision| revision.check_payload(content_type, payload, left))
    }

    fn check_small_payload(&self, content_type: &str, payload: &[u8]) -> Option<Result<(), String>> {
        self.revision.as_ref().map_or(Some(Ok(())), |revision| revision.check_small_payload(content_type, payload))
    }
}
