//! Plugins that are only said.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::NOW;
use crate::api::plugins::{PluginFolder, RevisionFacts, ServedPlugin};
use crate::clock::UnixMs;
use crate::config::{AttemptLimits, Limits, PluginFile};
use crate::plugin::{
    CheckSteps, DeniedGrant, Description, Giver, GrantsMissing, Ignored, IgnoredFile, InstallError, LoadCause,
    LoadError, Loading, Signature,
};

/// A plugin with what the API can see of one.
#[derive(Clone, Debug)]
pub(in super::super) struct FakePlugin {
    pub(in super::super) name: String,
    pub(in super::super) file: PluginFile,
    pub(in super::super) limits: AttemptLimits,
    pub(in super::super) revision: Option<FakeRevision>,
    pub(in super::super) load_error: Option<LoadError>,
    /// Why its schema refuses every payload.
    pub(in super::super) refuses: Option<String>,
    /// The threads on which its schema looked at payloads, which it takes long over; none where that is a small matter.
    pub(in super::super) checked_on: Option<Arc<Mutex<Vec<ThreadId>>>>,
}

#[derive(Clone, Debug)]
pub(in super::super) struct FakeRevision {
    digest: String,
    exports: Vec<String>,
    description: Description,
}

impl FakePlugin {
    /// A ready plugin that asks for a secret and has no file.
    pub(in super::super) fn named(name: &str) -> Self {
        let (file, limits) = (PluginFile::default(), Limits::default());
        Self {
            name: name.to_owned(),
            limits: limits.attempt(&file.limits),
            file,
            revision: Some(FakeRevision {
                digest: "ab".repeat(32),
                exports: vec!["windlass:plugin/handler@0.1.0".to_owned()],
                description: Description { secrets: vec!["key".to_owned()], ..Description::default() },
            }),
            load_error: None,
            refuses: None,
            checked_on: None,
        }
    }
}

impl ServedPlugin for FakePlugin {
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
        self.revision.as_ref().map(|revision| RevisionFacts {
            digest: &revision.digest,
            size_bytes: 9,
            imports: &[],
            exports: &revision.exports,
            description: Some(&revision.description),
            description_error: None,
        })
    }

    fn loaded_at(&self) -> Option<UnixMs> {
        self.revision.as_ref().map(|_| NOW)
    }

    fn load_error(&self) -> Option<&LoadError> {
        self.load_error.as_ref()
    }

    fn loading(&self) -> Option<&Loading> {
        None
    }

    fn grants_missing(&self) -> Option<GrantsMissing> {
        None
    }

    fn denied(&self) -> Vec<DeniedGrant> {
        Vec::new()
    }

    fn check_payload(&self, _: &str, _: &[u8], _: &mut CheckSteps) -> Result<(), String> {
        if let Some(checked_on) = &self.checked_on {
            checked_on.lock().unwrap().push(std::thread::current().id());
        }
        self.refuses.clone().map_or(Ok(()), Err)
    }

    fn check_small_payload(&self, content_type: &str, payload: &[u8]) -> Option<Result<(), String>> {
        self.checked_on.is_none().then(|| self.check_payload(content_type, payload, &mut CheckSteps::for_jobs(1)))
    }
}

/// A folder of them.
#[derive(Debug, Default)]
pub(in super::super) struct FakePlugins {
    plugins: Mutex<BTreeMap<String, FakePlugin>>,
    installed: Mutex<Vec<String>>,
    compiling: Notify,
    compiled: Notify,
}

impl FakePlugins {
    pub(in super::super) fn put(&self, plugin: FakePlugin) {
        self.plugins.lock().unwrap().insert(plugin.name.clone(), plugin);
    }

    pub(in super::super) fn find(&self, name: &str) -> Option<FakePlugin> {
        self.plugins.lock().unwrap().get(name).cloned()
    }

    pub(in super::super) fn forget(&self, name: &str) {
        self.plugins.lock().unwrap().remove(name);
    }

    /// Waits until a component that takes long is being compiled.
    pub(in super::super) async fn compiling(&self) {
        self.compiling.notified().await;
    }

    /// That one is compiled.
    pub(in super::super) fn compiled(&self) {
        self.compiled.notify_one();
    }

    /// The names of what was installed, in order.
    pub(in super::super) fn installed(&self) -> Vec<String> {
        self.installed.lock().unwrap().clone()
    }
}

#[async_trait]
impl PluginFolder for FakePlugins {
    fn get(&self, name: &str) -> Option<Arc<dyn ServedPlugin>> {
        self.find(name).map(|plugin| Arc::new(plugin) as Arc<dyn ServedPlugin>)
    }

    fn all(&self) -> Vec<Arc<dyn ServedPlugin>> {
        let plugins = self.plugins.lock().unwrap();
        plugins.values().map(|plugin| Arc::new(plugin.clone()) as Arc<dyn ServedPlugin>).collect()
    }

    /// The bytes say what becomes of them.
    async fn install(
        &self,
        name: &str,
        component: Bytes,
        signature: Option<Signature>,
        giver: Giver,
    ) -> Result<Arc<dyn ServedPlugin>, InstallError> {
        if &component[..] == b"takes long" {
            self.compiling.notify_one();
            self.compiled.notified().await;
        }
        match &component[..] {
            b"refuse me" => Err(InstallError::Refused(LoadError {
                summary: "it does not export a handler".to_owned(),
                help: Some("export windlass:plugin/handler".to_owned()),
                cause: LoadCause::Files,
            })),
            b"no room" => Err(InstallError::Refused(LoadError {
                summary: "too many open files".to_owned(),
                help: None,
                cause: LoadCause::Host,
            })),
            b"for ever" => std::future::pending().await,
            b"too late" => Err(InstallError::Overtaken),
            b"disk" => Err(InstallError::Folder(io::Error::other("no space"))),
            _ if !giver.may_still() => Err(InstallError::Withdrawn),
            _ => {
                let signature = signature.map(|signature| format!(" signed {signature}")).unwrap_or_default();
                self.installed.lock().unwrap().push(format!("{name}{signature}"));
                let plugin = FakePlugin::named(name);
                self.put(plugin.clone());
                giver.tell();
                // As of a real folder, the answer comes later.
                tokio::task::yield_now().await;
                if &component[..] == b"removed at once" {
                    self.forget(name);
                }
                Ok(Arc::new(plugin))
            }
        }
    }

    fn ignored(&self) -> Ignored {
        let file = IgnoredFile { file: "Odd.wasm".to_owned(), reason: "its name".to_owned() };
        Ignored { files: vec![file], more: 2 }
    }

    async fn remove(&self, name: &str) -> io::Result<bool> {
        if name == "stuck" {
            return Err(io::Error::other("read-only"));
        }
        let was_there = self.plugins.lock().unwrap().remove(name).is_some();
        tokio::task::yield_now().await;
        Ok(was_there)
    }
}
