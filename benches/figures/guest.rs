//! Plugins for benches: the shipped one, and those that are built from source.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use windlass::clock::{Chance, Clock, SystemClock};
use windlass::config::{Config, PluginFile};
use windlass::job::{IdSource, JobId};
use windlass::plugin::{Call, Plugin};

use crate::machine::Folder;
use crate::{api, folder};

/// The component that the repository ships.
pub fn shipped() -> Bytes {
    std::fs::read("plugins/http.wasm").expect("the repository holds it").into()
}

/// The component of that guest, built from source where it is not there yet; none where that does not go.
pub fn built(name: &str) -> Option<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guests");
    let status = Command::new("plugins/build").arg(&folder).status();
    let is_there = status.is_ok_and(|status| status.success());
    let component = is_there.then(|| std::fs::read(folder.join(format!("{name}.wasm"))).ok());
    component.flatten().map(Bytes::from)
}

/// A plugin without a folder and without a queue, for so many attempts at once.
pub struct Alone {
    /// It itself.
    pub plugin: Arc<Plugin>,
    id: JobId,
    clock: Arc<dyn Clock>,
    _cache: Folder,
}

impl Alone {
    /// Of that component, with what its file says.
    pub async fn load(component: Bytes, file: &str, concurrency: u32) -> Self {
        let mut config = Config::default();
        config.limits.concurrency = concurrency;
        let (cache, clock) = (folder(), Arc::new(SystemClock::start()) as Arc<dyn Clock>);
        let host = api::plugin_host(&config, &cache.path().join("compiled"), &clock);
        let revision = Arc::new(host.load(component).await.expect("it loads"));
        let file = PluginFile::parse(Path::new("bench.toml"), file, &config.limits).expect("a file");
        let plugin = Arc::new(host.plugin("bench", "bench.toml", revision, file).expect("a plugin"));
        let id = IdSource::after(0).next(clock.now(), &Chance::seeded(1));
        Self { plugin, id, clock, _cache: cache }
    }

    /// One attempt's call, with that payload.
    pub fn call(&self, payload: &Bytes) -> Call {
        Call {
            job: self.id,
            attempt: 1,
            max_attempts: 20,
            idempotency_key: self.id.to_string(),
            content_type: windlass::job::spec::JSON.to_owned(),
            payload: payload.clone(),
            enqueued_at: self.clock.now(),
            attributes: Vec::new(),
            deadline: None,
        }
    }
}
