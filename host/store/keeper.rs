//! Brings what is to be kept of downstreams from the gates to the store.

use std::sync::{Arc, Mutex};

use super::{Standing, Store, StoreError};
use crate::job::health::{Act, Health};
use crate::job::{Gates, Lane};
use crate::lock::lock;

/// Writes the health of downstreams as it is at the moment of writing, one after the other, so that an older state
/// never overwrites a newer one.
#[derive(Clone)]
pub struct HealthKeeper {
    store: Arc<dyn Store>,
    gates: Arc<Mutex<Gates>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl HealthKeeper {
    /// Between those two.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, gates: Arc<Mutex<Gates>>) -> Self {
        Self { store, gates, turn: Arc::default() }
    }

    /// Tells the gates what was kept.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let standings = self.store.standings().await?;
        let mut gates = lock(&self.gates);
        for name in &standings.paused_plugins {
            gates.set_paused(name, true);
        }
        for (lane, kept) in standings.downstreams {
            gates.restore_health(&lane, kept);
        }
        Ok(())
    }

    /// Keeps what is known of that downstream.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn keep(&self, lane: &Lane) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let kept = {
            let gates = lock(&self.gates);
            gates.health(lane).map(Health::kept).unwrap_or_default()
        };
        self.store.set_standing(Standing::Downstream { lane: lane.clone(), kept }).await
    }
}

impl HealthKeeper {
    /// A person does something to a downstream: on disk first, then in the gates.
    ///
    /// # Errors
    /// Where the store fails; nothing is changed then.
    pub async fn act(&self, lane: &Lane, act: Act) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let kept = {
            let gates = lock(&self.gates);
            let policy = gates.health_policy();
            let mut health = gates.health(lane).cloned().unwrap_or_else(|| Health::new(policy));
            health.act(policy, act.clone());
            health.kept()
        };
        self.store.set_standing(Standing::Downstream { lane: lane.clone(), kept }).await?;
        lock(&self.gates).act(lane, act);
        Ok(())
    }
}

impl std::fmt::Debug for HealthKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthKeeper").finish_non_exhaustive()
    }
}
