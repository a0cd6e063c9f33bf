//! One request over `wasi:http`, with the same words for what can go wrong as `windlass:plugin/http` has.

use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use crate::wasi::io::streams::{InputStream, StreamError};

/// What one write may carry: the interface's limit.
const WRITE_BYTES_MAX: usize = 4_096;
/// What one read asks for.
const READ_BYTES: u64 = 64 << 10;

/// A whole answer.
pub struct Response {
    pub status: u16,
    /// In the order in which they came, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why there is none.
pub enum SendError {
    Denied(String),
    Invalid(String),
    Unreachable(String),
    Unanswered(String),
    TooLarge(String),
}

/// Sends it and waits for the whole answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, SendError> {
    let request = request(url, headers).ok_or_else(|| SendError::Invalid(format!("{url:?} cannot be asked")))?;
    let outgoing = request.body().expect("it was not taken before");
    let future = outgoing_handler::handle(request, None).map_err(of_code)?;
    // The body is written while the connection is being made. Where it cannot be, the answer says better why.
    let _ = write(outgoing, body);
    future.subscribe().block();
    let answer = future.get().expect("it is ready").expect("it was not taken before");
    receive(answer.map_err(of_code)?)
}

fn request(url: &str, headers: &[(&str, &str)]) -> Option<OutgoingRequest> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let request = OutgoingRequest::new(Fields::from_list(&headers).ok()?);
    request.set_method(&Method::Post).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(path)).ok()?;
    Some(request)
}

fn write(to: OutgoingBody, body: &[u8]) -> Option<()> {
    let stream = to.write().ok()?;
    for chunk in body.chunks(WRITE_BYTES_MAX) {
        stream.blocking_write_and_flush(chunk).ok()?;
    }
    // The stream is a child of the body and has to go before it.
    drop(stream);
    OutgoingBody::finish(to, None).ok()
}

fn receive(response: IncomingResponse) -> Result<Response, SendError> {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = response.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
    let incoming: IncomingBody = response.consume().expect("it was not taken before");
    let stream = incoming.stream().expect("it was not taken before");
    Ok(Response { status: response.status(), headers, body: read(&stream)? })
}

fn read(stream: &InputStream) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) => body.extend(chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = crate::wasi::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| SendError::Unanswered(error.to_debug_string()), of_code));
            }
        }
    }
}

/// What is known of the request: not sent, or perhaps.
fn of_code(code: ErrorCode) -> SendError {
    let message = match &code {
        ErrorCode::TlsCertificateError => "the certificate is not to be trusted".to_owned(),
        other => format!("{other:?}"),
    };
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => SendError::Denied(message),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => SendError::Invalid(message),
        ErrorCode::DnsError(_)
        | ErrorCode::DnsTimeout
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => SendError::Unreachable(message),
        ErrorCode::HttpResponseBodySize(_) => SendError::TooLarge(message),
        _ => SendError::Unanswered(message),
    }
}
