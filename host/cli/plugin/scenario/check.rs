//! What is wrong in a file of scenarios that can be read: told before anything is played.

use http::{HeaderName, HeaderValue};

use super::content::{Bodies, Content, Place};
use super::downstream::dates_filled;
use super::play::filler;
use super::{Answer, Fault, Grants, Job, Scenario, ScenarioFile};
use crate::clock::UnixMs;
use crate::job::retry::MAX_ATTEMPTS_CEILING;

/// Stands for a downstream that is not started yet.
const SOME_DOWNSTREAM: &str = "http://127.0.0.1:9";

impl ScenarioFile {
    /// Refuses what cannot be played as it is written.
    ///
    /// # Errors
    /// The scenario, the key, and what is wrong there.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.grants.without.is_empty() {
            return Err("grants.without: there is nothing before these grants to take back from".to_owned());
        }
        self.grants.check()?;
        for scenario in &self.scenarios {
            scenario.check(&self.grants).map_err(|why| format!("scenario {:?}: {why}", scenario.name))?;
        }
        Ok(())
    }
}

impl Scenario {
    fn check(&self, of_file: &Grants) -> Result<(), String> {
        self.job.check().map_err(|why| format!("job.{why}"))?;
        let is_granted = |name: &String| of_file.config.contains_key(name) || of_file.secrets.contains_key(name);
        if let Some(name) = self.grants.without.iter().find(|name| !is_granted(name)) {
            return Err(format!("grants.without: the file's grants have no {name:?}"));
        }
        self.grants.check()?;
        if self.downstream.len() > 1 && self.downstream.iter().any(|answer| answer.fault == Some(Fault::Refuse)) {
            return Err("a downstream that refuses connections gives no other answers".to_owned());
        }
        self.downstream.iter().try_for_each(Answer::check)?;
        self.expect.check().map_err(|why| format!("expect.{why}"))
    }
}

impl Job {
    fn check(&self) -> Result<(), String> {
        if self.attempt == Some(0) {
            return Err("attempt: the first attempt is 1".to_owned());
        }
        if self.max_attempts.is_some_and(|most| !(1..=MAX_ATTEMPTS_CEILING).contains(&most)) {
            return Err(format!("max_attempts must lie between 1 and {MAX_ATTEMPTS_CEILING}"));
        }
        if matches!(self.payload, Some(Content::Same(_))) {
            return Err("payload.same: nothing comes before a payload that it could be the same as".to_owned());
        }
        Ok(())
    }
}

impl Grants {
    fn check(&self) -> Result<(), String> {
        self.file(SOME_DOWNSTREAM, &filler(SOME_DOWNSTREAM)).map(drop).map_err(|why| format!("grants.{why}"))
    }
}

impl Answer {
    fn check(&self) -> Result<(), String> {
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err("downstream.status must lie between 200 and 599".to_owned());
        }
        if self.fault.is_some_and(|fault| fault != Fault::Half) && (self.status.is_some() || self.body.is_some()) {
            return Err("an answer with this fault has neither status nor body".to_owned());
        }
        if matches!(self.body, Some(Content::Same(Place::Answer))) {
            return Err("downstream.body.same: \"answer\" is that body itself".to_owned());
        }
        self.headers.iter().try_for_each(|(name, value)| self.check_header(name, value))
    }

    fn check_header(&self, name: &str, value: &str) -> Result<(), String> {
        let Ok(known) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(format!("downstream.headers: {name:?} is no name of a header"));
        };
        let refused = |why: &str| Err(format!("downstream.headers.{name}: {why}"));
        if HeaderValue::from_bytes(value.as_bytes()).is_err() {
            return refused("a value is one line, without control characters");
        }
        let says_length = [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&known);
        if says_length && self.fault == Some(Fault::Half) {
            return refused("an answer that breaks off half-way announces its length by itself");
        }
        let is_length = |length| value.parse() == Ok(length);
        if known == http::header::CONTENT_LENGTH && !self.length().is_some_and(is_length) {
            return refused("it follows from the body, and is not that; leave it out");
        }
        Ok(())
    }

    /// How long its body is, where that is known yet.
    fn length(&self) -> Option<usize> {
        // Every date is as long as any other.
        let fill = |text: &str| dates_filled(text, UnixMs(0));
        match &self.body {
            None => Some(0),
            Some(Content::Same(_)) => None,
            Some(content) => Some(content.bytes(Bodies::default(), &fill).len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a scenario that has that in it.
    fn checked(scenario: &str) -> Result<(), String> {
        let file = "[grants]\nsecrets = { token = \"t\" }\n[[scenario]]\nname = \"a\"\n";
        ScenarioFile::parse(&format!("{file}{scenario}")).map(drop)
    }

    #[test]
    fn what_cannot_be_played_as_it_is_written_is_refused() {
        for (scenario, told) in [
            ("job.attempt = 0", "job.attempt"),
            ("job.max_attempts = 0", "job.max_attempts"),
            ("job.payload.same = \"payload\"", "job.payload.same"),
            ("grants.without = [\"tokn\"]", "grants.without: the file's grants have no \"tokn\""),
            ("grants.limits.cpu = \"9999h\"", "grants.limits.cpu"),
            ("grants.origins = [\"nowhere\"]", "grants.origins"),
            ("downstream = [{ headers = { \"x y\" = \"1\" } }]", "downstream.headers: \"x y\""),
            ("downstream = [{ headers = { x = \"1\\r\\ny: 2\" } }]", "downstream.headers.x"),
            ("downstream = [{ fault = \"half\", headers = { Content-Length = \"0\" } }]", "headers.Content-Length"),
            ("downstream = [{ headers = { content-length = \"1\" } }]", "headers.content-length"),
            ("downstream = [{ body.text = \"{date}\", headers = { content-length = \"6\" } }]", "content-length"),
            ("downstream = [{ body.same = \"request\", headers = { content-length = \"6\" } }]", "content-length"),
            ("downstream = [{ body.same = \"answer\" }]", "downstream.body.same"),
            ("expect.delay = \"9s..1s\"", "expect.delay: 9s to 1s"),
            ("expect.next_try = \"1m..1s\"", "expect.next_try"),
            ("expect.requests = [{ headers = { \"x y\" = \"1\" } }]", "expect.requests.headers: \"x y\""),
            ("expect.requests = [{ without_headers = [\"x:\"] }]", "expect.requests.without_headers: \"x:\""),
            ("expect.requests = [{ body.same = \"request\" }]", "expect.requests.body.same"),
        ] {
            let why = checked(scenario).expect_err(scenario);
            assert!(why.starts_with("scenario \"a\": ") && why.contains(told), "{scenario} gave {why:?}");
        }
        let why = ScenarioFile::parse("grants.without = [\"a\"]\n[[scenario]]\nname = \"a\"").unwrap_err();
        assert!(why.starts_with("grants.without"), "{why:?}");
    }

    #[test]
    fn what_can_be_is_not() {
        for scenario in [
            "job = { attempt = 30, payload.text = \"{downstream}\" }",
            "grants = { without = [\"token\"], origins = [\"{downstream}\"] }",
            "downstream = [{ body.text = \"{date}\", headers = { content-length = \"29\", x = \"grün\" } }]",
            "downstream = [{ body.same = \"payload\" }, { fault = \"half\", headers = { x = \"1\" } }]",
            "expect = { delay = \"1s..1s\", requests = [{ body.same = \"answer\", without_headers = [\"Cookie\"] }] }",
        ] {
            assert_eq!(checked(scenario), Ok(()), "{scenario}");
        }
    }
}
