//! A downstream on loopback that answers as a test tells it to, and remembers every request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Response};

/// A request as the downstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was complete.
    pub at: Instant,
    /// When it was answered.
    pub answered: Option<Instant>,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The idempotency key.
    pub fn key(&self) -> &str {
        self.header("idempotency-key")
    }
}

/// What the downstream does with a request.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer with that status and no body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same with a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }
}

/// A running downstream.
pub struct Downstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Downstream {
    /// Starts one that answers by `answer`, which is told the request and how many with the same idempotency key came
    /// before it.
    pub async fn start<F>(answer: impl Fn(Seen, usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send,
    {
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let keys = Arc::new(Mutex::new(std::collections::HashMap::<String, usize>::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let ledger = seen.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (ledger, answer, keys) = (ledger.clone(), answer.clone(), keys.clone());
            async move {
                let seen = read(request).await;
                let before = {
                    let mut keys = keys.lock().unwrap();
                    let count = keys.entry(seen.key().to_owned()).or_default();
                    *count += 1;
                    *count - 1
                };
                let place = {
                    let mut ledger = ledger.lock().unwrap();
                    ledger.push(seen.clone());
                    ledger.len() - 1
                };
                let reply = answer(seen, before).await;
                ledger.lock().unwrap()[place].answered = Some(now());
                respond(reply)
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("the downstream serves") });
        Self { address, seen, server }
    }

    /// Starts one that always answers with that status.
    pub async fn always(status: u16) -> Self {
        Self::start(move |_, _| async move { Reply::status(status) }).await
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A URL there.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn read(request: Request) -> Seen {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    Seen { at: now(), answered: None, method: head.method.to_string(), target, headers: head.headers, body }
}

fn respond(reply: Reply) -> Response<axum::body::Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(reply.body.into()).expect("the test gave a well-formed answer")
}

#[expect(clippy::disallowed_methods, reason = "the ledger tells what really happened when")]
fn now() -> Instant {
    Instant::now()
}
