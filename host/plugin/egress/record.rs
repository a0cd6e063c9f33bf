//! The record of one call: always written, also when the attempt ends in the middle of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use url::Url;

use crate::clock::{Stopwatch, UnixMs};
use crate::job::Exchange;

use super::super::attempt::Attempt;
use super::super::secrets::Secrets;
use super::{Part, SendFailure, Sent, retry_after};

/// The longest URL and the longest error that is recorded.
const TEXT_BYTES_MAX: usize = 2 << 10;
/// The longest method that is recorded.
const METHOD_BYTES_MAX: usize = 32;
/// What stands for a value that is not recorded.
const MASK: &str = "***";

/// A call that is being made.
#[derive(Debug)]
pub(in crate::plugin) struct Recorder {
    attempt: Arc<Attempt>,
    watch: Stopwatch,
    exchange: Exchange,
    sent: Arc<Sent>,
    has_left: bool,
    is_over: bool,
}

impl Recorder {
    /// Starts the record of a call.
    pub(in crate::plugin) fn begin(attempt: Arc<Attempt>, method: &str, shown_url: String) -> Self {
        let exchange = Exchange {
            method: attempt.grants.secrets.line(method, METHOD_BYTES_MAX),
            url: shown_url,
            status: None,
            retry_after_ms: None,
            error: None,
            started_at: attempt.clock.now(),
            head_us: None,
            total_us: 0,
            sent_bytes: 0,
            received_bytes: 0,
        };
        attempt.calls_out.begin();
        let (sent, watch) = (Arc::default(), Stopwatch::start());
        Self { attempt, watch, exchange, sent, has_left: false, is_over: false }
    }

    /// Where the body tells what of it is sent.
    pub(in crate::plugin) fn sent(&self) -> Arc<Sent> {
        self.sent.clone()
    }

    /// The request was checked and is on its way: who gives it up now gives up an answer.
    pub(in crate::plugin) fn leaves(&mut self) {
        self.has_left = true;
    }

    /// The head of the answer came.
    pub(in crate::plugin) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.exchange.status = Some(status.as_u16());
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            self.exchange.retry_after_ms = retry_after::delay_ms(headers, wall(self.attempt.clock.now()));
        }
        self.exchange.head_us = Some(self.elapsed_us());
    }

    /// So much of its body came.
    pub(in crate::plugin) fn received(&mut self, bytes: usize) {
        self.exchange.received_bytes += bytes as u64;
        self.attempt.passed(bytes as u64);
    }

    /// The whole answer came, although more may be heard of its connection.
    pub(in crate::plugin) fn answered(&mut self) {
        self.close(None, Part::Answered);
    }

    /// An answer came, and only what fits of it was taken: why.
    pub(in crate::plugin) fn cut(&mut self, why: &str) {
        self.close(Some(why), Part::Answered);
    }

    /// No whole answer came.
    pub(in crate::plugin) fn failed(&mut self, failure: &SendFailure) {
        self.close(Some(failure.message()), failure.part());
    }

    fn close(&mut self, error: Option<&str>, part: Part) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.exchange.error = error.map(|why| self.attempt.grants.secrets.line(why, TEXT_BYTES_MAX));
        self.exchange.total_us = self.elapsed_us();
        self.exchange.sent_bytes = self.sent.bytes();
        // Nobody can answer half a request.
        let is_owed = self.exchange.status.is_some() || !self.sent.is_broken();
        let part = if part == Part::Owing && !is_owed { Part::None } else { part };
        self.attempt.ledger().exchanged(self.exchange.clone(), part);
        self.attempt.calls_out.end();
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.watch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The host's time, as the formats of HTTP count it.
fn wall(now: UnixMs) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.0.unsigned_abs())
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let part = if self.has_left { Part::Owing } else { Part::None };
        self.close(Some("the plugin or its attempt ended before the answer did"), part);
    }
}

/// A URL as it is recorded: without the secrets that are known, and with nothing where others usually are.
pub(super) fn shown(url: &Url, secrets: &Secrets) -> String {
    secrets.line(&masked(url, secrets), TEXT_BYTES_MAX)
}

/// A URL without user information and without the values of its query: both carry secrets. Where one that is known stands
/// in the query, nothing of this is shown: its own letters may look like the end of a name.
fn masked(url: &Url, secrets: &Secrets) -> String {
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !has_user && url.query().is_none() && url.fragment().is_none() {
        return url.as_str().to_owned();
    }
    let mut shown = url.clone();
    // Both fail only for URLs that can have none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    let whole = url.as_str();
    let (before, behind) = whole.split_at(whole.find(['?', '#']).unwrap_or(whole.len()));
    let masked_behind = secrets.mask(behind);
    if secrets.mask(whole) != format!("{}{masked_behind}", secrets.mask(before)) {
        // One stands across both.
        shown.set_query(None);
        return format!("{}?{MASK}", secrets.fragment(shown.as_str()));
    }
    if masked_behind != behind {
        shown.set_query(Some(MASK));
        return shown.into();
    }
    let query = url.query().map(|query| {
        let names = query.split('&').map(|pair| pair.split_once('=').map(|(name, _)| name));
        let masked: Vec<_> = names.map(|name| name.map_or(MASK.to_owned(), |name| format!("{name}={MASK}"))).collect();
        masked.join("&")
    });
    shown.set_query(query.as_deref());
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{LimitOverride, Limits};

    #[test]
    fn only_a_request_that_left_is_owed_an_answer() {
        for has_left in [false, true] {
            let limits = Limits::default().attempt(&LimitOverride::default());
            let clock = Arc::new(SystemClock::start());
            let attempt = Attempt::start(limits, Duration::from_secs(9), Arc::default(), None, clock);
            let mut recorder = Recorder::begin(attempt.clone(), "GET", "http://a.example/".to_owned());
            if has_left {
                recorder.leaves();
            }
            drop(recorder);
            let evidence = attempt.evidence(None);
            assert_eq!((evidence.calls.made, evidence.calls.unanswered), (u32::from(has_left), has_left));
            assert!(evidence.exchanges[0].error.is_some());
        }
    }

    #[test]
    fn no_secret_of_a_url_is_recorded() {
        for (text, shown) in [
            ("https://a.example/v1?key=s3cret&n=2#frag", "https://a.example/v1?key=***&n=***"),
            ("https://user:pass@a.example/", "https://a.example/"),
            ("https://a.example/?s3cret", "https://a.example/?***"),
            ("https://a.example/?a=b=c", "https://a.example/?a=***"),
            ("https://a.example", "https://a.example/"),
        ] {
            assert_eq!(super::shown(&Url::parse(text).unwrap(), &Secrets::default()), shown);
        }
    }

    #[test]
    fn no_secret_is_cut_where_its_letters_end_a_value_or_a_path() {
        let secrets =
            Secrets::given(&[("key", "QWxhZGRpbjpvcGVu=="), ("odd", "p4ss&w0rd=l3ft"), ("far", "abcdef?ghijkl")]);
        for (text, shown) in [
            ("https://a.example/v1?n=2", "https://a.example/v1?n=***"),
            ("https://a.example/?QWxhZGRpbjpvcGVu==", "https://a.example/?***"),
            ("https://a.example/?n=2&QWxhZGRpbjpvcGVu==&m", "https://a.example/?***"),
            ("https://a.example/?p4ss&w0rd=l3ft", "https://a.example/?***"),
            ("https://a.example/?a=p4ss&w0rd=l3ft", "https://a.example/?***"),
            ("https://a.example/?n=1#p4ss&w0rd=l3ft", "https://a.example/?***"),
            ("https://a.example/v1/abcdef?ghijkl=1", "https://a.example/v1/…?***"),
            ("https://a.example/abcdef?ghijkl/abcdef", "https://a.example/…?***"),
            ("https://a.example/p4ss&w0rd=l3ft/x?a=1", "https://a.example/[odd]/x?a=***"),
            ("https://a.example/p4ss&w0rd=l3ft/x", "https://a.example/[odd]/x"),
        ] {
            assert_eq!(super::shown(&Url::parse(text).unwrap(), &secrets), shown, "{text}");
        }
    }
}
