//! What the tests of the endpoints stand on: the real router over a store in memory and plugins that are only said.

mod log;
mod plugins;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower_service::Service as _;

pub(super) use log::Log;
pub(super) use plugins::{FakePlugin, FakePlugins};
pub(super) use serde_json::json;
pub(super) use store::{FakeStore, attempt_view, view};

use super::State;
use super::error::{PROBLEM_JSON, ProblemDocument, ProblemKind};
use crate::clock::{Clock, UnixMs};
use crate::config::Config;
use crate::job::{Gates, PluginStanding};
use crate::store::HealthKeeper;
use crate::telemetry::Metrics;

/// The moment at which every test begins: 2026-01-02T03:04:05.007Z.
pub(super) const NOW: UnixMs = UnixMs(1_767_323_045_007);

/// A clock that stands still until a test puts it on.
#[derive(Debug, Default)]
pub(super) struct TestClock {
    later_ms: AtomicI64,
}

impl TestClock {
    /// So much later than it was.
    pub(super) fn later(&self, ms: i64) {
        self.later_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixMs {
        NOW.moved(self.later_ms.load(Ordering::Relaxed))
    }
}

/// An API under test.
pub(super) struct Api {
    pub(super) state: State,
    pub(super) store: Arc<FakeStore>,
    pub(super) plugins: Arc<FakePlugins>,
    pub(super) clock: Arc<TestClock>,
}

impl Api {
    /// With the default settings and no plugins.
    pub(super) fn new() -> Self {
        Self::with_config(Config::default())
    }

    /// With these settings and no plugins.
    pub(super) fn with_config(config: Config) -> Self {
        Self::with_tokens(config, std::path::Path::new("/nowhere"))
    }

    /// With these settings, the tokens in that folder and no plugins.
    pub(super) fn with_tokens(config: Config, data: &std::path::Path) -> Self {
        let (store, plugins) = (Arc::<FakeStore>::default(), Arc::<FakePlugins>::default());
        let gates = Arc::new(std::sync::Mutex::new(Gates::new(config.limits.concurrency)));
        let clock = Arc::<TestClock>::default();
        let state = State {
            door: Arc::new(super::Door::in_folder(&config, data)),
            store: store.clone(),
            loader: plugins.clone(),
            keeper: HealthKeeper::new(store.clone(), gates.clone()),
            gates,
            wake: Arc::default(),
            config: Arc::new(config),
            clock: clock.clone(),
            metrics: Arc::new(Metrics::new()),
            arriving: Arc::default(),
            ready: Arc::new(AtomicBool::new(true)),
            stopping: tokio_util::sync::CancellationToken::new(),
        };
        Self { state, store, plugins, clock }
    }

    /// With a plugin of that name, ready to run.
    pub(super) fn plugin(self, name: &str) -> Self {
        self.plugins.put(FakePlugin::named(name));
        self.stand(name);
        self
    }

    /// Tells the gates of a plugin, as the worker does.
    pub(super) fn stand(&self, name: &str) {
        let plugin = self.plugins.find(name).expect("a plugin that was put there");
        let mut gates = self.state.gates();
        gates.set_standing(name, PluginStanding::Ready);
        gates.set_limits(name, plugin.file.gate_limits());
    }

    /// The router.
    pub(super) fn router(&self) -> Router {
        super::router(self.state.clone())
    }

    /// Sends any request.
    pub(super) async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router().call(request).await.expect("a router never fails");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Sends JSON, or no body, with these headers.
    pub(super) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<Value>,
    ) -> Answer {
        let mut builder = Request::builder().method(method).uri(path);
        if json.is_some() {
            builder = builder.header("content-type", "application/json");
        }
        let is_named = path.starts_with("http") || headers.iter().any(|(name, _)| *name == "host");
        if !is_named {
            builder = builder.header("host", "localhost");
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = json.map_or_else(Body::empty, |json| Body::from(json.to_string()));
        self.request(builder.body(body).expect("a request")).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, json: Option<Value>) -> Answer {
        self.send_with(method, path, &[("host", "localhost:7070")], json).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, json: Value) -> Answer {
        self.send("POST", path, Some(json)).await
    }

    /// Sends text as it is.
    pub(super) async fn post_text(&self, path: &str, content_type: &str, text: &str) -> Answer {
        let builder = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", content_type)
            .header("host", "localhost");
        self.request(builder.body(Body::from(text.to_owned())).expect("a request")).await
    }

    /// Sends bytes.
    pub(super) async fn put(&self, path: &str, bytes: &'static [u8]) -> Answer {
        self.request(
            Request::builder()
                .method("PUT")
                .uri(path)
                .header("host", "localhost")
                .body(Body::from(bytes))
                .expect("a request"),
        )
        .await
    }

    /// Enqueues a job and returns its id.
    pub(super) async fn enqueue(&self, job: Value) -> String {
        let answer = self.post("/v1/jobs", job).await;
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        answer.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Goes away when that answer has been waited for so often. True where it came before.
    pub(super) async fn left_after(waits: usize, answer: impl Future<Output = Answer>) -> bool {
        let came = {
            let mut answer = std::pin::pin!(answer);
            let mut left = waits;
            std::future::poll_fn(|context| {
                if answer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                left = left.saturating_sub(1);
                if left == 0 { Poll::Ready(false) } else { Poll::Pending }
            })
            .await
        };
        // Whatever goes on without it comes to its end.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        came
    }

    /// Checks that the dispatcher was woken.
    pub(super) async fn woken(&self) {
        assert!(self.state.wake.notified().now_or_never().is_some(), "nobody was woken");
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Checks that this is a problem of that kind.
    #[track_caller]
    pub(super) fn problem(&self, kind: ProblemKind) -> ProblemDocument {
        assert_eq!(self.status, kind.status().as_u16(), "{:?}", self.body);
        assert_eq!(self.header("content-type"), Some(PROBLEM_JSON));
        let problem: ProblemDocument = serde_json::from_slice(&self.body).expect("a problem document");
        assert_eq!(problem.kind, format!("urn:windlass:problem:{}", kind.code()), "{problem:?}");
        assert_eq!((problem.status, problem.title.as_str()), (self.status, kind.title()));
        assert!(!problem.detail.is_empty() && !problem.detail.contains('\n'), "{problem:?}");
        problem
    }
}
