//! The HTTP interface's doors for the fuzzer: the real server over a wire in memory, and the real router by itself.

mod answers;
mod heads;
mod request;
mod wire;

use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_request;

use super::testing::{Api, json};
use crate::lock::lock;
use heads::{Read, Tail};
use wire::{Heard, Tee};

pub use request::request;

/// Runs what is asynchronous, with nothing real to wait for.
static TOKIO: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts"));

/// What opens a connection of HTTP/2.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A host with a plugin and a job, always the same.
async fn api() -> Api {
    let api = Api::new().plugin("echo");
    api.enqueue(json!({"plugin": "echo", "payload": 1, "labels": {"k": "v"}})).await;
    api
}

/// The bytes that a client sends on one connection.
///
/// # Panics
/// Where an answer is not well-formed or no problem document, the host breaks off, or the server takes for requests what
/// a strict reader does not.
pub fn http(input: &[u8]) {
    let heard = Arc::<Mutex<Vec<Heard>>>::default();
    let answered = TOKIO.block_on(async {
        let (api, ledger) = (api().await, heard.clone());
        let router = api.router().layer(map_request(move |request| {
            let request = heard_of(&ledger, request);
            async move { request }
        }));
        let (door, config) = (api.state.door.clone(), api.state.config.clone());
        wire::exchange(input, |wire| super::server::serve_one(wire, router, door, config)).await
    });
    let heard = lock(&heard);
    if input.len() >= HTTP_2.len() && input.starts_with(HTTP_2) {
        return;
    }
    let read = heads::read(input);
    is_same(&heard, &read);
    answers::check(&answered, &heard, &read);
}

/// Writes a request down, and its body as far as somebody reads it.
fn heard_of(ledger: &Arc<Mutex<Vec<Heard>>>, request: Request) -> Request {
    let mut heard = lock(ledger);
    let (place, head) = (heard.len(), Heard::of(&request));
    heard.push(head);
    request.map(|body| Body::new(Tee::new(body, ledger.clone(), place)))
}

/// No request that the strict reader does not see, none that differs, none behind the point where it is at a loss.
fn is_same(heard: &[Heard], read: &Read) {
    for (heard, read) in heard.iter().zip(&read.requests) {
        assert_eq!((&heard.method, &heard.target), (&read.method, &read.target), "another request");
        let is_right = if heard.is_whole { heard.body == read.body } else { read.body.starts_with(&heard.body) };
        assert!(is_right, "another body: {:?} instead of {:?}", heard.body, read.body);
    }
    let more = heard.get(read.requests.len()..).unwrap_or_default();
    match (&read.tail, more) {
        (_, []) => {}
        // One whose head is clear, and whose body is still to come or makes no sense, closes the connection.
        (Tail::Body { method, target }, [last]) => {
            assert_eq!((&last.method, &last.target), (method, target), "another request");
            assert!(!last.is_whole || last.is_chunked, "a body that is not there was taken for whole: {last:?}");
        }
        (tail, more) => panic!("the server heard {more:?} where there is {tail:?}"),
    }
}
