//! What is typed, checked before anything is done with it. What is right is passed on as it was typed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use super::WrongUsage;
use crate::clock::UnixMs;
use crate::config::{downstream_key, parse_rate};
use crate::job::RetryOverride;
use crate::job::spec::{IDEMPOTENCY_KEY_BYTES_MAX, is_idempotency_key};
use crate::job::units::TimeSpan;

/// A duration.
pub(super) fn span(text: &str) -> Result<String, String> {
    text.parse::<TimeSpan>().map(|_| text.to_owned())
}

/// The wall time of an attempt.
pub(super) fn deadline(text: &str) -> Result<String, String> {
    match text.parse::<TimeSpan>()? {
        span if span.as_ms() == 0 => Err("no attempt ends in 0ms".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// How long to wait for a server.
pub(super) fn patience(text: &str) -> Result<TimeSpan, String> {
    text.parse().and_then(|span: TimeSpan| match span.as_ms() {
        0 => Err("no server answers in 0ms".to_owned()),
        _ => Ok(span),
    })
}

/// A moment.
pub(super) fn moment(text: &str) -> Result<String, String> {
    UnixMs::parse(text).map(|_| text.to_owned())
}

/// So many starts per time.
pub(super) fn rate(text: &str) -> Result<String, String> {
    parse_rate(text).map(|_| text.to_owned())
}

/// The key of a downstream.
pub(super) fn downstream(text: &str) -> Result<String, String> {
    downstream_key(text).map(|()| text.to_owned())
}

/// A key by which jobs are limited together.
pub(super) fn limit_key(text: &str) -> Result<String, String> {
    let refusal = |_| "a key has 1 to 200 characters without control characters".to_owned();
    downstream_key(text).map(|()| text.to_owned()).map_err(refusal)
}

/// A key by which a repeat is recognised.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let refusal = || format!("a key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters without spaces");
    is_idempotency_key(text).then(|| text.to_owned()).ok_or_else(refusal)
}

/// A number of attempts.
pub(super) fn max_attempts(text: &str) -> Result<u32, String> {
    let most = text.parse().map_err(|_| "it is not a whole number".to_owned())?;
    RetryOverride { max_attempts: Some(most), ..RetryOverride::default() }.validate().map(|()| most)
}

/// Reads `NAME=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    if name.is_empty() || name.contains(':') {
        return Err("the name of a label is not empty and has no colon".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// How many to list.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "it is a whole number from 1".to_owned())
}

/// The labels of a job, each once.
pub(super) fn labels(given: &[(String, String)]) -> Result<BTreeMap<String, String>, WrongUsage> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if labels.insert(name.clone(), value.clone()).is_some() {
            return Err(WrongUsage::new(&format!("--label: {name:?} is there twice")));
        }
    }
    Ok(labels)
}

/// What is in a file that was named. One that cannot be read is wrong usage, whichever command it was named to.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, WrongUsage> {
    std::fs::read(path).map_err(|error| unread(path, &error))
}

/// The same of a text.
pub(super) fn text_file(path: &Path) -> Result<String, WrongUsage> {
    std::fs::read_to_string(path).map_err(|error| unread(path, &error))
}

fn unread(path: &Path, error: &dyn std::fmt::Display) -> WrongUsage {
    WrongUsage::new(&format!("cannot read {}: {error}", path.display()))
}

/// The payload that is given as text, or as `@FILE`, or as `-` for standard input.
pub(super) fn payload(given: &str) -> anyhow::Result<Vec<u8>> {
    if given == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("cannot read the payload from standard input")?;
        return Ok(bytes);
    }
    match given.strip_prefix('@') {
        Some(file) => {
            let refusal = |error| WrongUsage::new(&format!("--payload: {error}")).into();
            self::file(Path::new(file)).map_err(refusal)
        }
        None => Ok(given.as_bytes().to_vec()),
    }
}
