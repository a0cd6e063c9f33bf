//! A request by the standard interface, `wasi:http`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::{Value, json};

use crate::fetch::{Answer, Trouble};
use crate::verb::body_bytes;
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme};
use crate::wasi::io::streams::{InputStream, StreamError};

/// The most that one read or write may carry; for writes the interface sets it.
const CHUNK_BYTES: usize = 4_096;

/// Sends it.
pub fn send(
    url: &str,
    method: Option<&str>,
    body: Option<Value>,
    headers: &BTreeMap<String, String>,
) -> Result<Answer, Trouble> {
    let request = request(url, method.unwrap_or("GET"), headers)?;
    let outgoing = request.body().map_err(|()| trouble("the request has no body"))?;
    let future = outgoing_handler::handle(request, None).map_err(trouble)?;
    // That nothing takes the body is the consequence of a fault that the answer tells better.
    let _ = write(outgoing, &body_bytes(body));
    future.subscribe().block();
    let response = future.get().ok_or_else(|| trouble("no answer after waiting"))?;
    receive(response.map_err(|()| trouble("the answer was taken before"))?.map_err(trouble)?)
}

/// Has so many requests out at the same time.
pub fn flood(url: &str, count: u32) -> Value {
    let send = |_| {
        let request = request(url, "GET", &BTreeMap::new())?;
        outgoing_handler::handle(request, None).map_err(trouble)
    };
    let out: Vec<_> = (0..count).filter_map(|number| send(number).ok()).collect();
    let answered = |future: &outgoing_handler::FutureIncomingResponse| {
        future.subscribe().block();
        matches!(future.get(), Some(Ok(Ok(_))))
    };
    // Each answer is held to the end: its request is out until it is let go.
    let (mut answers, mut sent) = (Vec::new(), 0);
    for future in &out {
        sent += u32::from(answered(future));
        answers.push(future);
    }
    json!({ "sent": sent, "refused": count - sent })
}

/// Whether a request takes a method of so many letters.
pub fn takes_method(letters: usize) -> bool {
    OutgoingRequest::new(Fields::new()).set_method(&Method::Other("X".repeat(letters))).is_ok()
}

/// Whether a request takes an authority of so many letters.
pub fn takes_authority(letters: usize) -> bool {
    OutgoingRequest::new(Fields::new()).set_authority(Some(&"x".repeat(letters))).is_ok()
}

/// Whether a request takes a path of so many letters.
pub fn takes_path(letters: usize) -> bool {
    OutgoingRequest::new(Fields::new()).set_path_with_query(Some(&format!("/{:x<1$}", "", letters - 1))).is_ok()
}

fn request(url: &str, method: &str, headers: &BTreeMap<String, String>) -> Result<OutgoingRequest, Trouble> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| trouble("the URL has no scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, &value.as_bytes().to_vec()).map_err(trouble)?;
    }
    let request = OutgoingRequest::new(fields);
    request.set_method(&Method::Other(method.to_owned())).map_err(|()| trouble("the method is refused"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| trouble("the scheme is refused"))?;
    request.set_authority(Some(authority)).map_err(|()| trouble("the authority is refused"))?;
    request.set_path_with_query(Some(path)).map_err(|()| trouble("the path is refused"))?;
    Ok(request)
}

fn write(to: OutgoingBody, body: &[u8]) -> Result<(), Trouble> {
    let stream = to.write().map_err(|()| trouble("the body was taken before"))?;
    for chunk in body.chunks(CHUNK_BYTES) {
        stream.blocking_write_and_flush(chunk).map_err(trouble)?;
    }
    // The stream is the body's child and has to go before it.
    drop(stream);
    OutgoingBody::finish(to, None).map_err(trouble)
}

fn receive(response: IncomingResponse) -> Result<Answer, Trouble> {
    let entries = response.headers().entries();
    let headers = entries.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    let incoming: IncomingBody = response.consume().map_err(|()| trouble("the body was taken before"))?;
    let stream = incoming.stream().map_err(|()| trouble("the body was read before"))?;
    Ok(Answer { status: response.status(), headers: headers.collect(), body: read(&stream)? })
}

fn read(stream: &InputStream) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES as u64) {
            Ok(chunk) => body.extend(chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(error) => return Err(trouble(error)),
        }
    }
}

fn trouble(error: impl Debug) -> Trouble {
    Trouble { kind: "wasi", message: format!("{error:?}") }
}
