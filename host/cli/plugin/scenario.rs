//! A file of scenarios: jobs, what the downstream does, and what is expected. `docs/plugins/scenarios.md` is its manual.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::super::typed;
use crate::config::LimitOverride;
use crate::job::RetryOverride;
use crate::job::units::TimeSpan;

mod check;
mod content;
mod downstream;
mod expect;
mod play;

pub(super) use play::{Played, play};

use content::Content;
use expect::Expect;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScenarioFile {
    /// What is granted in every scenario.
    #[serde(default)]
    grants: Grants,
    /// The scenarios, in order.
    #[serde(rename = "scenario")]
    pub(super) scenarios: Vec<Scenario>,
}

/// One attempt of one job against one downstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// What it shows.
    pub(super) name: String,
    /// The job.
    #[serde(default)]
    job: Job,
    /// What is granted beside the file's grants, or instead of them.
    #[serde(default)]
    grants: Grants,
    /// What the downstream does with each request, in order; with more requests than answers, the last one is repeated.
    #[serde(default)]
    downstream: Vec<Answer>,
    /// What must come of it.
    #[serde(default)]
    expect: Expect,
}

/// The job, as the plugin gets it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Job {
    payload: Option<Content>,
    /// Where it is another than the payload's kind says.
    content_type: Option<String>,
    attempt: Option<u32>,
    max_attempts: Option<u32>,
    idempotency_key: Option<String>,
    labels: BTreeMap<String, String>,
}

/// What an operator would grant in the plugin's file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Grants {
    /// Instead of the downstream's own origin.
    origins: Option<Vec<String>>,
    config: BTreeMap<String, String>,
    /// The values themselves: those of a test are no secrets.
    secrets: BTreeMap<String, String>,
    /// Names of values and secrets that are not granted in this scenario.
    without: Vec<String>,
    limits: LimitOverride,
    retry: RetryOverride,
}

/// What the downstream does with one request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Answer {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: Option<Content>,
    /// How long after the request.
    delay: Option<TimeSpan>,
    fault: Option<Fault>,
}

/// How a downstream fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// Nobody listens.
    Refuse,
    /// It reads the request and closes the connection.
    Close,
    /// It reads the request and resets the connection.
    Reset,
    /// It sends the head and half of the body, and closes.
    Half,
    /// It reads the request and never answers.
    Stall,
    /// What it answers is not HTTP.
    Garbage,
    /// It speaks TLS with a certificate that nobody trusts.
    BadTls,
}

impl ScenarioFile {
    /// Reads one.
    ///
    /// # Errors
    /// Where it cannot be read. The inner error is a mistake in it: file, line and what is wrong there.
    pub(super) fn read(path: &Path) -> anyhow::Result<Result<Self, String>> {
        let text = typed::text_file(path)?;
        Ok(Self::parse(&text).map_err(|why| format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut file: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        if file.scenarios.is_empty() {
            return Err("there is no [[scenario]] in it".to_owned());
        }
        file.check()?;
        for scenario in &mut file.scenarios {
            scenario.grants = file.grants.clone().overridden(std::mem::take(&mut scenario.grants));
        }
        Ok(file)
    }
}

impl Grants {
    fn overridden(mut self, narrower: Self) -> Self {
        self.config.extend(narrower.config);
        self.secrets.extend(narrower.secrets);
        self.config.retain(|name, _| !narrower.without.contains(name));
        self.secrets.retain(|name, _| !narrower.without.contains(name));
        let (limits, retry) = (narrower.limits, narrower.retry);
        Self {
            origins: narrower.origins.or(self.origins),
            limits: self.limits.overridden(&limits),
            retry: RetryOverride {
                base: retry.base.or(self.retry.base),
                factor: retry.factor.or(self.retry.factor),
                cap: retry.cap.or(self.retry.cap),
                jitter: retry.jitter.or(self.retry.jitter),
                max_attempts: retry.max_attempts.or(self.retry.max_attempts),
            },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        ScenarioFile::parse(text).unwrap_err()
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("", "scenario"),
            ("scenario = []", "no [[scenario]]"),
            ("[[scenario]]\nname = \"a\"\nspeed = 1", "`speed`"),
            ("[[scenario]]\nname = \"a\"\ndownstream = [{ status = 99 }]", "\"a\": downstream.status"),
            ("[[scenario]]\nname = \"a\"\ndownstream = [{ fault = \"refuse\" }, {}]", "refuses"),
            ("[[scenario]]\nname = \"a\"\ndownstream = [{ fault = \"explode\" }]", "explode"),
            ("[[scenario]]\nname = \"a\"\ndownstream = [{ fault = \"close\", status = 200 }]", "neither"),
            ("[[scenario]]\nname = \"a\"\n[scenario.expect]\noutcome = \"done\"", "done"),
            ("[[scenario]]\nname = \"a\"\n[scenario.expect]\ndelay = \"soon\"", "soon"),
            ("[[scenario]]\nname = \"a\"\n[scenario.job]\npayload.file = \"x\"", "file"),
            ("[[scenario]]\nname = \"a\"\n[scenario.grants.retry]\nfactor = 0.1", "\"a\": grants.retry.factor"),
        ] {
            let why = refusal(text);
            assert!(why.contains(told) && !why.contains('\n'), "{text:?} gave {why:?}");
        }
    }

    #[test]
    fn a_scenario_adds_to_the_grants_of_its_file() {
        let file = ScenarioFile::parse(
            "grants = { config = { a = \"1\", b = \"2\" }, limits = { cpu = \"1s\", memory = \"2MiB\" } }\n\
             [[scenario]]\nname = \"x\"\n[scenario.grants]\nconfig = { b = \"3\" }\nwithout = [\"a\"]\nlimits = { cpu = \"3s\" }",
        )
        .unwrap();
        let grants = &file.scenarios[0].grants;
        assert_eq!(grants.config, BTreeMap::from([("b".to_owned(), "3".to_owned())]));
        assert_eq!(grants.limits.cpu, Some(TimeSpan::from_secs(3)));
        assert!(grants.limits.memory.is_some());
    }
}
