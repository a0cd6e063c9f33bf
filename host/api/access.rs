//! Which scope each route needs: the whole table, in one place.
//!
//! A route that is not in it needs `admin`, and fails the tests below.

use axum::http::Method;

use super::tokens::Need;

/// What a route asks of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it says no more than that the host is there.
    Open,
    /// A token with this scope.
    Needs(Need<'static>),
}

/// Method, path and what is asked for. `HEAD` is as `GET`.
pub const ROUTES: &[(&str, &str, Access)] = &[
    ("GET", "/v1/jobs", Access::Needs(Need::Read)),
    ("POST", "/v1/jobs", Access::Needs(Need::EnqueueSome)),
    ("POST", "/v1/jobs/batch", Access::Needs(Need::EnqueueSome)),
    ("GET", "/v1/jobs/{id}", Access::Needs(Need::Read)),
    ("GET", "/v1/jobs/{id}/attempts/{n}", Access::Needs(Need::Read)),
    ("POST", "/v1/jobs/{id}/cancel", Access::Needs(Need::Operate)),
    ("POST", "/v1/jobs/{id}/retry", Access::Needs(Need::Operate)),
    ("GET", "/v1/plugins", Access::Needs(Need::Read)),
    ("GET", "/v1/plugins/{name}", Access::Needs(Need::Read)),
    ("PUT", "/v1/plugins/{name}", Access::Needs(Need::Admin)),
    ("DELETE", "/v1/plugins/{name}", Access::Needs(Need::Admin)),
    ("POST", "/v1/plugins/{name}/pause", Access::Needs(Need::Operate)),
    ("POST", "/v1/plugins/{name}/resume", Access::Needs(Need::Operate)),
    ("GET", "/v1/downstreams", Access::Needs(Need::Read)),
    ("GET", "/v1/downstreams/{key}", Access::Needs(Need::Read)),
    ("POST", "/v1/downstreams/{key}/hold", Access::Needs(Need::Operate)),
    ("POST", "/v1/downstreams/{key}/release", Access::Needs(Need::Operate)),
    ("POST", "/v1/downstreams/{key}/probe", Access::Needs(Need::Operate)),
    ("POST", "/v1/downstreams/{key}/limit", Access::Needs(Need::Operate)),
    ("GET", "/healthz", Access::Open),
    ("GET", "/readyz", Access::Open),
    ("GET", "/metrics", Access::Needs(Need::Read)),
    ("GET", "/openapi.json", Access::Open),
];

/// Which places a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// None: it is answered at once, in a few bytes.
    None,
    /// Those for scrapes, which nobody else takes.
    Scrapes,
    /// Those for who needs no token, so that strangers take none of others.
    Strangers,
    /// Those for everybody, and of large answers the bytes.
    Requests,
}

/// What is asked for there; nothing where the table has no such line.
pub(super) fn access(method: &Method, path: &str) -> Option<Access> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().find(|(known, route, _)| *known == method && *route == path).map(|(_, _, access)| *access)
}

/// Which places a request to that route takes, which asks for that; no route where nothing is there. Who watches over the
/// process is answered however much is asked by others.
pub(super) fn places(path: Option<&str>, access: Option<Access>) -> Places {
    match (path, access) {
        (Some("/healthz" | "/readyz"), _) => Places::None,
        (Some("/metrics"), _) => Places::Scrapes,
        (_, Some(Access::Open)) => Places::Strangers,
        _ => Places::Requests,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_route_of_the_router_has_its_line_and_no_other() {
        let mut routed = BTreeSet::new();
        for line in include_str!("router.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once('"').unwrap();
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                if handlers.contains(&format!("{}(", method.to_ascii_lowercase())) {
                    routed.insert((method, path));
                }
            }
        }
        let told: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(told.len(), ROUTES.len(), "a route stands there twice");
        assert_eq!(told, routed);
    }

    #[test]
    fn each_operation_of_the_description_has_its_line() {
        let told = serde_json::to_value(crate::api::document()).unwrap();
        for (path, operations) in told["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                assert!(access(&method, path).is_some(), "{method} {path}");
            }
        }
    }

    #[test]
    fn only_what_tells_nothing_is_open() {
        let open: Vec<_> = ROUTES.iter().filter(|(_, _, access)| *access == Access::Open).map(|line| line.1).collect();
        assert_eq!(open, ["/healthz", "/readyz", "/openapi.json"]);
        assert_eq!(access(&Method::HEAD, "/v1/jobs"), Some(Access::Needs(Need::Read)));
        assert_eq!(access(&Method::PATCH, "/v1/jobs"), None);
    }
}
