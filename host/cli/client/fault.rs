//! Why a server's answer is none that can be used.

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use hyper_util::client::legacy;

use super::patience::Unreached;
use crate::causes::{cause, causes};

/// When to look again for a server that is not there.
const AWAY: Duration = Duration::from_millis(250);

/// What kept a request from being answered as it was meant.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub(in crate::cli) struct Fault {
    /// It, for people.
    told: String,
    /// How soon the same request may be answered, where that can be.
    pub(in crate::cli) again: Option<Duration>,
    /// What the server answered, where it did.
    status: Option<StatusCode>,
}

impl Fault {
    /// Nobody answered to the end: a server that is being started anew does later.
    pub(super) fn absent(told: String) -> Self {
        Self { told, again: Some(AWAY), status: None }
    }

    /// The server refused, or who stands before it: what such a one says of a server that is away is no more than that.
    pub(super) fn refused(told: String, status: StatusCode, again: Option<Duration>) -> Self {
        const AWAY_NOW: [StatusCode; 3] =
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        let again = again.or_else(|| AWAY_NOW.contains(&status).then_some(AWAY));
        Self { told, again, status: Some(status) }
    }

    /// There is no use in asking that server.
    fn hopeless(told: String) -> Self {
        Self { told, again: None, status: None }
    }

    /// Why no answer came of a request to the server with that URL.
    pub(super) fn of(error: &legacy::Error, base: &str) -> Self {
        if let Some(fault) = cause(error) {
            return Self::hopeless(of_tls(fault, base));
        }
        if !error.is_connect() {
            let speaks_no_http = causes(error).filter_map(|cause| cause.downcast_ref()).any(hyper::Error::is_parse);
            let help = match base.strip_prefix("http://") {
                Some(host) if speaks_no_http => format!("; if it speaks TLS, name it https://{host}"),
                _ => String::new(),
            };
            return Self::absent(format!("{base} gave no answer: {}{help}", told(error)));
        }
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if causes(error).filter_map(|cause| cause.downcast_ref()).any(is_refused) {
            let help = "start one with `windlass serve`, or name it with --server";
            return Self::absent(format!("no windlass answers at {base}; {help}"));
        }
        let why = causes(error).find(|cause| cause.is::<Unreached>()).or_else(|| causes(error).last());
        Self::unreached(base, why.unwrap_or(error))
    }

    /// There is no way to that server.
    pub(super) fn unreached(base: &str, why: &(dyn Error + 'static)) -> Self {
        let help = "look at its name and port in --server or WINDLASS_SERVER, at the network, and at the server itself";
        Self::absent(format!("{base} cannot be reached: {why}; {help}"))
    }

    /// Whether the server refused this request for what it asks, so that it may well grant the next.
    pub(in crate::cli) fn is_of_this_request(&self) -> bool {
        const OF_THE_CLIENT: [StatusCode; 3] =
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
        // A damaged row is one job's matter.
        self.status.is_some_and(|status| {
            status == StatusCode::INTERNAL_SERVER_ERROR || status.is_client_error() && !OF_THE_CLIENT.contains(&status)
        })
    }
}

/// What TLS found wrong.
fn of_tls(fault: &rustls::Error, base: &str) -> String {
    // What is no record of TLS is an answer in something else.
    if matches!(fault, rustls::Error::InvalidMessage(_)) {
        let host = base.trim_start_matches("https://");
        return format!("{base} does not speak TLS ({fault}); if it is a windlass without TLS, name it http://{host}");
    }
    format!("the TLS of {base} is not to be trusted: {fault}; --ca names an authority of your own")
}

/// All of it.
fn told(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
