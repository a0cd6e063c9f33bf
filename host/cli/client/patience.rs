//! How long a server may say nothing, and how much of what it says is read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::timeout;
use tower_service::Service;

use crate::job::units::{ByteSize, TimeSpan};

/// How long it may take to reach a server, TLS included.
const CONNECT: TimeSpan = TimeSpan::from_secs(10);
/// How long a server may be silent.
const SILENCE: TimeSpan = TimeSpan::from_secs(30);
/// The same beyond the time that it was asked to wait.
const BEYOND_WAIT: TimeSpan = TimeSpan::from_secs(10);
/// The same where it compiles before it answers.
const COMPILE: TimeSpan = TimeSpan::from_secs(30 * 60);
/// What is sent has a second more for so many bytes.
const SENT_BYTES_PER_SEC: u64 = 64 << 10;
/// The largest answer.
const ANSWER_MAX: ByteSize = ByteSize(128 << 20);
/// The largest answer about one job, which brings its payload and its result.
const JOB_MAX: ByteSize = ByteSize(1 << 30);

/// What an answer is about: how long it may take, and how large it may be.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) enum About {
    /// What the server has at hand.
    #[default]
    Facts,
    /// One job, or one attempt of it.
    Job,
    /// One job, when it is final or so much time has passed.
    JobsEnd(Duration),
    /// A component, which is compiled first.
    Component,
}

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// What the user said.
    said: Option<TimeSpan>,
}

impl Patience {
    /// As the user said, or as is usual.
    pub(super) fn new(said: Option<TimeSpan>) -> Self {
        Self { said }
    }

    /// How long it may take to reach the server.
    pub(super) fn to_connect(self) -> TimeSpan {
        self.said.map_or(CONNECT, |said| said.min(CONNECT))
    }

    /// How long a request with so long a body may be without an answer.
    pub(super) fn to_answer(self, about: About, sent_bytes: usize) -> TimeSpan {
        let (usual, asked) = match about {
            About::Facts | About::Job => (SILENCE, Duration::ZERO),
            About::JobsEnd(asked) => (BEYOND_WAIT, asked),
            About::Component => (COMPILE, Duration::ZERO),
        };
        let sending = Duration::from_secs(sent_bytes as u64 / SENT_BYTES_PER_SEC);
        TimeSpan(self.said.unwrap_or(usual).0.saturating_add(asked).saturating_add(sending))
    }

    /// How long no more may come of an answer that has begun.
    pub(super) fn to_go_on(self) -> TimeSpan {
        self.said.unwrap_or(SILENCE)
    }
}

impl About {
    /// How large the answer may be.
    pub(super) fn bytes_max(self) -> ByteSize {
        match self {
            Self::Facts | Self::Component => ANSWER_MAX,
            Self::Job | Self::JobsEnd(_) => JOB_MAX,
        }
    }
}

/// A way to servers that gives up.
#[derive(Clone, Debug)]
pub(super) struct Within {
    way: HttpsConnector<HttpConnector>,
    most: TimeSpan,
    /// How many connections are being made.
    under_way: Arc<AtomicUsize>,
}

/// Counts a connection that is being made.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server was not reached in so long.
#[derive(Debug, thiserror::Error)]
#[error("no connection came about within {0}")]
pub(super) struct Unreached(TimeSpan);

impl Within {
    /// That way, given up after so long: name, connection and TLS together.
    pub(super) fn new(way: HttpsConnector<HttpConnector>, most: TimeSpan) -> Self {
        Self { way, most, under_way: Arc::default() }
    }

    /// Why a request has no answer, where that is because there is no connection yet.
    pub(super) fn unreached(&self) -> Option<Unreached> {
        (self.under_way.load(Ordering::Relaxed) > 0).then_some(Unreached(self.most))
    }
}

impl Service<Uri> for Within {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.way.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let (connecting, most) = (self.way.call(server), self.most);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(self.under_way.clone());
        Box::pin(async move {
            let _under_way = under_way;
            let connected = timeout(most.0, connecting).await;
            connected.unwrap_or_else(|_| Err(Unreached(most).into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_time_that_it_was_asked_to_take() {
        let secs = |secs| TimeSpan::from_secs(secs);
        let usual = Patience::new(None);
        assert_eq!((usual.to_connect(), usual.to_go_on()), (secs(10), secs(30)));
        let wait = About::JobsEnd(Duration::from_secs(60));
        for (about, sent, most) in
            [(About::Facts, 0, 30), (About::Job, 128 << 10, 32), (wait, 0, 70), (About::Component, 0, 1_800)]
        {
            assert_eq!(usual.to_answer(about, sent), secs(most), "{about:?}");
        }
        let short = Patience::new(Some(secs(2)));
        assert_eq!((short.to_connect(), short.to_go_on()), (secs(2), secs(2)));
        assert_eq!((short.to_answer(wait, 0), short.to_answer(About::Component, 0)), (secs(62), secs(2)));
        assert_eq!(Patience::new(Some(secs(60))).to_connect(), secs(10));
    }

    #[test]
    fn only_an_answer_about_one_job_is_large() {
        assert_eq!(About::Facts.bytes_max().to_string(), "128MiB");
        assert_eq!(About::JobsEnd(Duration::ZERO).bytes_max().to_string(), "1GiB");
    }
}
