//! Origins that close connections without saying so beforehand.
//!
//! A request over a connection that its server closes at that moment is lost, and nobody knows whether it was read (RFC 9112,
//! section 9.3.1). It is not sent again, but the next ones to that origin have connections of their own, and those that are
//! kept are ended: what happened to one may be about to happen to all.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::Uri;

use crate::clock::Stopwatch;
use crate::lock::lock;

/// For so long after it was seen.
const LASTS: Duration = Duration::from_secs(600);
/// So many origins are remembered.
const ORIGINS_MAX: usize = 256;

/// The origins of one plugin of which that was seen, and when.
#[derive(Debug, Default)]
pub(super) struct Brief(Mutex<BTreeMap<String, Stopwatch>>);

impl Brief {
    /// That origin closed a connection that was kept.
    pub(super) fn note(&self, uri: &Uri) {
        let mut origins = lock(&self.0);
        origins.retain(|_, seen| seen.elapsed() < LASTS);
        if origins.len() < ORIGINS_MAX {
            origins.insert(origin(uri), Stopwatch::start());
        }
    }

    /// Whether connections to that origin are to be used once only.
    pub(super) fn holds(&self, uri: &Uri) -> bool {
        let origins = lock(&self.0);
        !origins.is_empty() && origins.get(&origin(uri)).is_some_and(|seen| seen.elapsed() < LASTS)
    }
}

/// The origin of that URL.
pub(super) fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |authority| authority.as_str()))
}
