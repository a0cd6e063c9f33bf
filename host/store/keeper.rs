//! Brings what is to be kept of downstreams from the gates to the store.

use std::sync::{Arc, Mutex};

use super::{Standing, Store, StoreError};
use crate::clock::UnixMs;
use crate::job::gates::LaneRef;
use crate::job::health::{Act, Health};
use crate::job::{Gates, Lane};
use crate::lock::lock;

/// So many downstreams are looked at while the gates are locked.
const STEP: usize = 256;

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

    /// Keeps what is known of these downstreams. The store may write them at once.
    ///
    /// # Errors
    /// Where the store fails for one of them; the others may be kept or not.
    pub async fn keep(&self, lanes: &[Lane], now: UnixMs) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let standings: Vec<_> = {
            let gates = lock(&self.gates);
            let kept = |lane: &Lane| gates.health(lane).map(|health| health.kept(now)).unwrap_or_default();
            lanes.iter().map(|lane| Standing::Downstream { lane: lane.clone(), kept: kept(lane) }).collect()
        };
        let written = standings.into_iter().map(|standing| self.store.set_standing(standing));
        futures_util::future::join_all(written).await.into_iter().collect()
    }

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
            health.kept(act.at)
        };
        self.store.set_standing(Standing::Downstream { lane: lane.clone(), kept }).await?;
        lock(&self.gates).act(lane, act);
        Ok(())
    }

    /// A person pauses a plugin or lets it go on: on disk first, then in the gates.
    ///
    /// # Errors
    /// Where the store fails; nothing is changed then.
    pub async fn set_paused(&self, plugin: &str, paused: bool) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.store.set_standing(Standing::Plugin { name: plugin.to_owned(), paused }).await?;
        lock(&self.gates).set_paused(plugin, paused);
        Ok(())
    }

    /// Forgets, in the gates and on disk, holds that have ended, and outages that no job looked into for long and that
    /// none waits for.
    ///
    /// # Errors
    /// Where the store fails. What it still has is forgotten after the next start.
    pub async fn forget_past(&self, now: UnixMs) -> Result<(), StoreError> {
        let (mut downstream, mut plugin) = (String::new(), String::new());
        loop {
            let (past, last) = self.past_from((&*plugin, &*downstream).into(), now);
            for lane in &past {
                self.forget(lane, now).await?;
            }
            let Some(last) = last else { return Ok(()) };
            // The next name behind that one.
            (downstream, plugin) = (last.downstream.to_string(), format!("{}\0", last.plugin));
            tokio::task::yield_now().await;
        }
    }

    /// Some of those of which something is past, and the last that was looked at where there are more.
    fn past_from(&self, first: LaneRef<'_>, now: UnixMs) -> (Vec<Lane>, Option<Lane>) {
        let gates = lock(&self.gates);
        let known: Vec<_> = gates.known_from(first).take(STEP).map(|(key, plugin)| Lane::new(plugin, key)).collect();
        let last = known.last().filter(|_| known.len() == STEP).cloned();
        let has_past = |lane: &Lane| {
            gates.health(lane).is_some_and(|health| health.has_past(gates.outage_lasts(&lane.plugin), now))
        };
        (known.into_iter().filter(has_past).collect(), last)
    }

    async fn forget(&self, lane: &Lane, now: UnixMs) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let is_wanted = self.store.lanes(lane.into(), 1).first().is_some_and(|counts| counts.lane == *lane);
        let Some(kept) = lock(&self.gates).forget_past(lane, now, is_wanted) else { return Ok(()) };
        self.store.set_standing(Standing::Downstream { lane: lane.clone(), kept }).await
    }
}

impl std::fmt::Debug for HealthKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthKeeper").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
