//! What must come of a scenario, and what is different from that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Deserializer};

use super::content::{Bodies, Content, Place, excerpt};
use super::downstream::Seen;
use crate::cli::plugin::tried::Tried;
use crate::cli::print;
use crate::job::OutcomeKind;
use crate::job::units::{ByteSize, TimeSpan};

/// What is left out may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    outcome: Option<OutcomeKind>,
    code: Option<String>,
    /// A part of the message.
    message: Option<String>,
    /// How long the plugin says that the downstream wants to be left alone.
    delay: Option<TimeRange>,
    /// What becomes of the job.
    then: Option<Then>,
    /// How much later the next attempt is.
    next_try: Option<TimeRange>,
    result: Option<Content>,
    content_type: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    /// Parts of log lines, in this order; there may be other lines.
    log: Vec<String>,
    /// What must stand nowhere in what is kept of the attempt.
    nowhere: Vec<String>,
    requests: Option<Requests>,
    memory_below: Option<ByteSize>,
}

/// What becomes of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Then {
    Completed,
    Retryable,
    Discarded,
    Waiting,
}

/// What the downstream must have been asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Requests {
    Count(usize),
    Each(Vec<RequestExpect>),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestExpect {
    method: Option<String>,
    /// With the query.
    path: Option<String>,
    headers: BTreeMap<String, String>,
    without_headers: Vec<String>,
    body: Option<Content>,
}

/// One duration, or two with `..` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeRange(Duration, Duration);

impl<'de> Deserialize<'de> for TimeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (least, most) = text.split_once("..").unwrap_or((&text, &text));
        let read = |text: &str| text.parse::<TimeSpan>().map(|span| span.0).map_err(serde::de::Error::custom);
        Ok(Self(read(least)?, read(most)?))
    }
}

impl std::fmt::Display for TimeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == self.1 { write!(f, "{:?}", self.0) } else { write!(f, "{:?} to {:?}", self.0, self.1) }
    }
}

/// What there is to be compared.
pub(super) struct Found<'a> {
    pub(super) tried: &'a Tried,
    pub(super) seen: &'a [Seen],
    pub(super) payload: &'a [u8],
    pub(super) fill: &'a dyn Fn(&str) -> String,
}

impl Expect {
    /// Refuses what nothing can be, and what everything is.
    ///
    /// # Errors
    /// The key, and what is wrong there.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, range) in [("delay", self.delay), ("next_try", self.next_try)] {
            if let Some(range) = range.filter(|range| range.0 > range.1) {
                return Err(format!("{key}: {range} ends before it begins"));
            }
        }
        let each = match &self.requests {
            Some(Requests::Each(each)) => &each[..],
            Some(Requests::Count(_)) | None => &[],
        };
        for expected in each {
            for (key, mut names) in [
                ("headers", expected.headers.keys().collect::<Vec<_>>()),
                ("without_headers", expected.without_headers.iter().collect()),
            ] {
                names.retain(|name| HeaderName::from_bytes(name.as_bytes()).is_err());
                if let Some(name) = names.first() {
                    return Err(format!("requests.{key}: {name:?} is no name of a header"));
                }
            }
            if matches!(expected.body, Some(Content::Same(Place::Request))) {
                return Err("requests.body.same: \"request\" is that body itself".to_owned());
            }
        }
        Ok(())
    }

    /// Everything that is different, a line each.
    pub(super) fn mismatches(&self, found: &Found<'_>) -> Vec<String> {
        let mut told = self.of_outcome(found);
        told.extend(self.of_completion(found));
        told.extend(self.of_record(found));
        told.extend(self.of_requests(found));
        told
    }

    fn of_outcome(&self, found: &Found<'_>) -> Vec<String> {
        let Found { tried, fill, .. } = found;
        let outcome = &tried.outcome;
        let mut told = Vec::new();
        if let Some(expected) = self.outcome.filter(|expected| *expected != outcome.kind()) {
            let why = outcome.message().map(|message| format!(": {message}")).unwrap_or_default();
            told.push(format!("outcome: expected {}, found {}{why}", expected.name(), outcome.kind().name()));
        }
        if let Some(expected) = self.code.as_deref().filter(|expected| Some(*expected) != outcome.code()) {
            told.push(format!("code: expected {expected:?}, found {}", or_none(outcome.code())));
        }
        if let Some(expected) = self.message.as_deref().map(fill) {
            let message = outcome.message().unwrap_or_default();
            if !message.contains(&expected) {
                told.push(format!("message: expected {expected:?} in it, found {message:?}"));
            }
        }
        let delay = outcome.delay_ms().map(|delay_ms| Duration::from_millis(delay_ms.into()));
        told.extend(self.delay.and_then(|expected| expected.mismatch("delay", delay.map(|delay| (delay, delay)))));
        let then = self.then.map(|then| format!("{then:?}").to_lowercase());
        if let Some(expected) = then.filter(|expected| *expected != tried.fate.then) {
            told.push(format!("then: expected {expected}, found {}", tried.fate.then));
        }
        told.extend(self.next_try.and_then(|expected| expected.mismatch("next_try", tried.fate.next)));
        told
    }

    fn of_completion(&self, found: &Found<'_>) -> Vec<String> {
        let Some(completion) = found.tried.completion() else {
            // That there is none has been told.
            let wants = self.result.is_some() || self.content_type.is_some() || self.attributes.is_some();
            let untold = wants && self.outcome.is_none_or(|outcome| outcome != OutcomeKind::Completed);
            return if untold { vec!["result: the attempt was not completed".to_owned()] } else { Vec::new() };
        };
        let mut told = Vec::new();
        let differs = |content: &Content| content.mismatch(&completion.body, found.bodies(), found.fill);
        if let Some(why) = self.result.as_ref().and_then(differs) {
            told.push(format!("result: {why}"));
        }
        if let Some(expected) = self.content_type.as_ref().filter(|expected| **expected != completion.content_type) {
            told.push(format!("content_type: expected {expected:?}, found {:?}", completion.content_type));
        }
        if let Some(expected) = &self.attributes {
            let expected: BTreeMap<_, _> =
                expected.iter().map(|(name, value)| (name.clone(), (found.fill)(value))).collect();
            let attributes: BTreeMap<_, _> = completion.attributes.iter().cloned().collect();
            if expected != attributes {
                told.push(format!("attributes: expected {expected:?}, found {attributes:?}"));
            }
        }
        told
    }

    fn of_record(&self, found: &Found<'_>) -> Vec<String> {
        let evidence = &found.tried.evidence;
        let mut told = Vec::new();
        let mut lines = evidence.log.iter().map(|line| line.message.as_str());
        for expected in self.log.iter().map(|part| (found.fill)(part)) {
            if !lines.any(|line| line.contains(&expected)) {
                let log: Vec<_> = evidence.log.iter().map(|line| line.message.as_str()).collect();
                told.push(format!("log: expected {expected:?}, in this order, in {log:?}"));
                break;
            }
        }
        let kept = print::as_answer(&found.tried.document());
        // As they are written, as they are read, and whatever the bytes of the result are.
        let result = found.tried.completion().map(|completion| String::from_utf8_lossy(&completion.body));
        let kept = [kept.text.into(), kept.value.to_string().into(), result.unwrap_or_default()];
        let stands = |text: &&String| kept.iter().any(|kept: &Cow<'_, str>| kept.contains(text.as_str()));
        for secret in self.nowhere.iter().filter(stands) {
            told.push(format!("nowhere: {secret:?} stands in what is kept of the attempt"));
        }
        if let Some(most) = self.memory_below.filter(|most| evidence.memory_peak_bytes >= most.0) {
            told.push(format!("memory_below: expected less than {most}, found {} bytes", evidence.memory_peak_bytes));
        }
        told
    }

    fn of_requests(&self, found: &Found<'_>) -> Vec<String> {
        let (count, each) = match &self.requests {
            None => return Vec::new(),
            Some(Requests::Count(count)) => (*count, &[][..]),
            Some(Requests::Each(each)) => (each.len(), &each[..]),
        };
        let mut told = Vec::new();
        if count != found.seen.len() {
            told.push(format!("requests: expected {count}, found {}", found.seen.len()));
        }
        for (number, (expected, seen)) in (1..).zip(each.iter().zip(found.seen)) {
            told.extend(expected.mismatches(seen, found).into_iter().map(|why| format!("request {number}: {why}")));
        }
        told
    }
}

impl RequestExpect {
    fn mismatches(&self, seen: &Seen, found: &Found<'_>) -> Vec<String> {
        let mut told = Vec::new();
        let same = |expected: &Option<String>, found: &str| expected.as_ref().is_none_or(|expected| expected == found);
        if !same(&self.method, &seen.method) || !same(&self.path, &seen.path) {
            let (method, path) = (self.method.as_deref().unwrap_or("*"), self.path.as_deref().unwrap_or("*"));
            told.push(format!("expected {method} {path}, found {} {}", seen.method, seen.path));
        }
        for (name, expected) in &self.headers {
            let (expected, value) = ((found.fill)(expected), seen.header(name));
            if value != Some(&*expected) {
                told.push(format!("header {name}: expected {expected:?}, found {}", or_none(value)));
            }
        }
        for name in self.without_headers.iter().filter(|name| seen.header(name).is_some()) {
            told.push(format!("header {name}: expected none, found {}", or_none(seen.header(name))));
        }
        let bodies = Bodies { request: &seen.body, ..found.bodies() };
        if let Some(why) = self.body.as_ref().and_then(|body| body.mismatch(&seen.body, bodies, found.fill)) {
            told.push(format!("body: {why}"));
        }
        told
    }
}

impl Found<'_> {
    fn bodies(&self) -> Bodies<'_> {
        let answer = self.seen.last().map(|seen| &seen.answered[..]).unwrap_or_default();
        let request = self.seen.last().map(|seen| &seen.body[..]).unwrap_or_default();
        Bodies { payload: self.payload, request, answer }
    }
}

impl TimeRange {
    fn mismatch(self, name: &str, found: Option<(Duration, Duration)>) -> Option<String> {
        match found {
            Some((least, most)) if least >= self.0 && most <= self.1 => None,
            Some((least, most)) => Some(format!("{name}: expected {self}, found {}", TimeRange(least, most))),
            None => Some(format!("{name}: expected {self}, found none")),
        }
    }
}

fn or_none(found: Option<&str>) -> String {
    found.map_or_else(|| "none".to_owned(), |found| excerpt(found.as_bytes()))
}
