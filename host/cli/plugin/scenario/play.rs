//! Plays one scenario: a downstream, an attempt, a comparison.

use std::sync::Arc;

use bytes::Bytes;

use super::content::{Bodies, Content};
use super::downstream::Downstream;
use super::expect::Found;
use super::{Grants, Scenario};
use crate::cli::plugin::solo::{Solo, Trial, ceilings};
use crate::cli::plugin::tried::Tried;
use crate::clock::Chance;
use crate::config::{PluginFile, SecretSource};
use crate::job::retry::Jitter;
use crate::job::{IdSource, RetryOverride, RetryPolicy};
use crate::plugin::{Call, Revision};

/// What came of a scenario.
pub(in super::super) struct Played {
    /// The attempt.
    pub(in super::super) tried: Tried,
    /// What is different from what was expected, a line each.
    pub(in super::super) mismatches: Vec<String>,
}

/// Plays it.
///
/// # Errors
/// Where the machine has no port for the downstream, or the scenario says what no plugin's file may.
pub(in super::super) async fn play(
    solo: &Solo,
    name: &str,
    revision: Arc<Revision>,
    scenario: &Scenario,
) -> anyhow::Result<Played> {
    let payload = |base: &str| match &scenario.job.payload {
        Some(payload) => payload.bytes(Bodies::default(), &filler(base)),
        None => b"null".to_vec(),
    };
    let downstream = Downstream::start(&scenario.downstream, payload, solo.clock())?;
    let fill = filler(&downstream.base);
    let file = scenario.grants.file(&downstream.base, &fill).map_err(anyhow::Error::msg)?;
    let call = scenario.call(solo, downstream.payload(), &file);
    let trial = Trial { name: name.to_owned(), grants_file: format!("{name}.toml"), file, call };
    let tried = solo.attempt(revision, trial).await?;
    let seen = downstream.seen();
    let found = Found { tried: &tried, seen: &seen, payload: &downstream.payload(), fill: &fill };
    let mismatches = scenario.expect.mismatches(&found);
    Ok(Played { tried, mismatches })
}

/// What stands for the downstream's address in a scenario becomes it.
pub(super) fn filler(base: &str) -> impl Fn(&str) -> String {
    move |text| text.replace("{downstream}", base)
}

impl Scenario {
    fn call(&self, solo: &Solo, payload: Bytes, file: &PluginFile) -> Call {
        let now = solo.now();
        let id = IdSource::after(0).next(now, &Chance::from_machine());
        let job = &self.job;
        let media_type = job.payload.as_ref().map_or("application/json", Content::media_type);
        let max_attempts = RetryPolicy::default().overridden(&file.retry).max_attempts;
        Call {
            job: id,
            attempt: job.attempt.unwrap_or(1),
            max_attempts: job.max_attempts.unwrap_or(max_attempts),
            idempotency_key: job.idempotency_key.clone().unwrap_or_else(|| id.to_string()),
            content_type: job.content_type.clone().unwrap_or_else(|| media_type.to_owned()),
            payload,
            enqueued_at: now,
            attributes: job.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())).collect(),
            deadline: None,
        }
    }
}

impl Grants {
    /// The plugin's file that says the same. Without jitter, unless it is asked for: a test wants one answer.
    ///
    /// # Errors
    /// The key of what no plugin's file may say.
    pub(super) fn file(&self, downstream: &str, fill: &dyn Fn(&str) -> String) -> Result<PluginFile, String> {
        let origins = self.origins.clone().unwrap_or_else(|| vec![downstream.to_owned()]);
        let origins = origins.iter().map(|origin| fill(origin).parse());
        self.retry.validate()?;
        ceilings().admits(&self.limits)?;
        Ok(PluginFile {
            origins: origins.collect::<Result<_, _>>().map_err(|why| format!("origins: {why}"))?,
            config: self.config.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            secrets: self
                .secrets
                .iter()
                .map(|(name, value)| (name.clone(), SecretSource::Given(fill(value)).into()))
                .collect(),
            retry: RetryOverride { jitter: self.retry.jitter.or(Some(Jitter::None)), ..self.retry.clone() },
            limits: self.limits.clone(),
            ..PluginFile::default()
        })
    }
}
