//! The first look through the plugins folder, begun before the store is open: files must lie still for a moment before
//! they are taken up, and there is no reason to wait for that when everything else is ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use crate::lock::lock;
use crate::plugin::Loader;
use crate::worker::PluginSource;

/// A loader whose first look is under way.
pub(super) struct EarlyLook {
    loader: Arc<Loader>,
    first: Mutex<Option<JoinHandle<Option<Duration>>>>,
}

impl EarlyLook {
    /// Begins it.
    pub(super) fn begin(loader: &Arc<Loader>) -> Self {
        let looking = loader.clone();
        let first = tokio::spawn(async move { PluginSource::look(&*looking).await });
        Self { loader: loader.clone(), first: Mutex::new(Some(first)) }
    }

    fn first(&self) -> Option<JoinHandle<Option<Duration>>> {
        lock(&self.first).take()
    }
}

#[async_trait]
impl PluginSource for EarlyLook {
    async fn look(&self) -> Option<Duration> {
        match self.first() {
            // Two looks at once would be in each other's way.
            Some(first) => first.await.unwrap_or(Some(Duration::ZERO)),
            None => PluginSource::look(&*self.loader).await,
        }
    }

    async fn changed(&self) {
        self.loader.changed().await;
    }
}
