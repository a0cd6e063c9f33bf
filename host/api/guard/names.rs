//! The names that a request calls the host by, and the pages that send requests: against DNS rebinding and pages of other
//! sites. There is no CORS.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, Version};

use super::super::error::{Problem, ProblemKind, quoted};
use crate::config::{self, is_loopback_name, split_authority};

/// How browsers say from where a page asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) fn refusal(server: &config::Server, request: &Request) -> Option<Problem> {
    let named = match named(request) {
        Ok(named) => named,
        Err(why) => return Some(Problem::new(ProblemKind::HeaderInvalid, why)),
    };
    foreign_name(server, named).or_else(|| {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let origin = if is_read { None } else { foreign_origin(server, request.headers(), named) };
        origin.map(|origin| {
            let detail = format!("a page of {} tried to change something; ask from a program instead", quoted(&origin));
            Problem::new(ProblemKind::OriginRefused, detail)
        })
    })
}

/// A name and a port, as a client said them.
type Named<'a> = (&'a str, Option<u16>);

/// The one name under which the request was sent; nothing in an HTTP/1.0 that says none.
fn named(request: &Request) -> Result<Option<Named<'_>>, String> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| "the header Host is not text".to_owned())?),
        (Some(_), Some(_)) => return Err("the header Host stands there more than once; send it once".to_owned()),
    };
    // In an absolute target, and in HTTP/2.
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let read = |text: &str| format!("{} is no host with or without a port", quoted(text));
    let target = target.map(|text| split_authority(text).ok_or_else(|| read(text))).transpose()?;
    let host = host.map(|text| split_authority(text).ok_or_else(|| read(text))).transpose()?;
    match (host, target) {
        (Some(host), Some(target)) if !is_same(host, target) => {
            Err("the header Host and the target of the request name different hosts".to_owned())
        }
        (None, None) if request.version() >= Version::HTTP_11 => {
            Err("the header Host is missing; HTTP/1.1 asks for it".to_owned())
        }
        (host, target) => Ok(target.or(host)),
    }
}

fn is_same(one: Named<'_>, other: Named<'_>) -> bool {
    one.0.eq_ignore_ascii_case(other.0) && one.1 == other.1
}

fn foreign_name(server: &config::Server, named: Option<Named<'_>>) -> Option<Problem> {
    let is_own = |(name, port): Named<'_>| {
        server.hosts.iter().any(|own| own.answers(name, port)) || server.is_loopback() && is_loopback_name(name)
    };
    let detail = match named {
        _ if server.hosts.is_empty() && !server.is_loopback() => return None,
        Some(named) if is_own(named) => return None,
        // Nothing that a browser sends.
        None if server.hosts.is_empty() => return None,
        None => "the request names no host; send the header Host".to_owned(),
        Some((name, _)) if server.hosts.is_empty() => format!(
            "this host answers to localhost, 127.0.0.1 and [::1], not to {}; add the name to server.hosts if it is the \
             host's own",
            quoted(name)
        ),
        Some((name, port)) => {
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            format!("this host does not answer to {}; server.hosts lists its names", quoted(&format!("{name}{port}")))
        }
    };
    Some(Problem::new(ProblemKind::HostRefused, detail))
}

/// The origin of the page that sent the request, where that is not the host's own.
fn foreign_origin(server: &config::Server, headers: &HeaderMap, named: Option<Named<'_>>) -> Option<String> {
    let mut origins = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or("(not text)")).peekable();
    if origins.peek().is_some() {
        return origins.find(|origin| !is_own_origin(server, origin, named)).map(str::to_owned);
    }
    let site = headers.get(SEC_FETCH_SITE)?.to_str().unwrap_or("(not text)");
    (!matches!(site, "same-origin" | "none")).then(|| format!("another site ({site})"))
}

/// Whether a page of that origin came from this host: under the name that the request was sent to, or, as a proxy may have
/// changed that, under one of the host's own.
fn is_own_origin(server: &config::Server, origin: &str, named: Option<Named<'_>>) -> bool {
    let is_tls = server.tls.is_some() || server.behind_proxy;
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "https" => 443,
        "http" if !is_tls => 80,
        _ => return false,
    };
    let Some((name, port)) = split_authority(authority) else { return false };
    let port = port.unwrap_or(default_port);
    let is_sent_to =
        named.is_some_and(|named| is_same((named.0, Some(named.1.unwrap_or(default_port))), (name, Some(port))));
    // A name without a port is the host's own under the usual port; others may serve other things.
    let is_listed = server.hosts.iter().any(|own| match own.port() {
        Some(_) => own.answers(name, Some(port)),
        None => port == default_port && own.answers(name, None),
    });
    is_sent_to || is_listed
}

#[cfg(test)]
mod tests;
