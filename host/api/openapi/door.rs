//! What the description says of the door: the token, the scope of each operation, and the answers that any request can get
//! before its handler sees it. Made from the table of [`super::super::access`].

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::super::access::{Access, access};
use super::super::error::PROBLEM_JSON;

/// What the token is called in the document.
const SCHEME: &str = "token";

/// The answers of the door itself, wherever an operation does not say something nearer.
const ANYWHERE: [(&str, &str); 6] = [
    ("400", "The request is malformed, or names no host"),
    ("403", "Asked under a name that is not the host's, by a page of another site, or with a token without the scope"),
    ("414", "The path and the query are too long"),
    ("431", "The headers are too large"),
    ("500", "The host broke off, or what it keeps is damaged"),
    ("503", "There is no room for the request, or the tokens cannot be read"),
];
/// The answers where a body is read.
const WITH_BODY: [(&str, &str); 2] = [("408", "The body took too long"), ("413", "Too large")];

/// Adds all that. Where tokens are `needed` an operation asks for one, else it may.
pub(super) fn describe(document: &mut OpenApi, needed: bool) {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.bearer_format = Some("wl_ID_SECRET".to_owned());
    scheme.description =
        Some("A token made by `windlass token new`; asked for as soon as the host has any.".to_owned());
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let access = access(&method, path).unwrap_or(Access::Needs(super::super::tokens::Need::Admin));
            describe_one(operation, access, needed);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (axum::http::Method, &mut Operation)> {
    use axum::http::Method;
    let all = [
        (Method::GET, item.get.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?)))
}

fn describe_one(operation: &mut Operation, access: Access, needed: bool) {
    let has_body = operation.request_body.is_some();
    let mut say = |status: &str, text: &str| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem(status, text)));
    };
    ANYWHERE.iter().chain(WITH_BODY.iter().filter(|_| has_body)).for_each(|(status, text)| say(status, text));
    match access {
        // An empty list: whatever else the document asks for, this needs nothing.
        Access::Open => operation.security = Some(Vec::new()),
        Access::Needs(need) => {
            let scope = need.to_string();
            say("401", "No token was sent, or one that is not valid");
            let needs = format!("Needs the scope `{scope}`.");
            operation.description = Some(match operation.description.take() {
                Some(text) => format!("{text}\n\n{needs}"),
                None => needs,
            });
            let mut security = vec![SecurityRequirement::new(SCHEME, [scope])];
            if !needed {
                security.push(SecurityRequirement::default());
            }
            operation.security = Some(security);
        }
    }
}

fn problem(status: &str, text: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
    let header = |kind: Type, text: &str| {
        HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind))).description(Some(text)).build()
    };
    let response = ResponseBuilder::new().description(text).content(PROBLEM_JSON, content);
    match status {
        "401" => {
            response.header("WWW-Authenticate", header(Type::String, "Bearer, and what is wrong (RFC 6750)")).build()
        }
        "503" => response.header("Retry-After", header(Type::Integer, "Seconds")).build(),
        _ => response.build(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::document;
    use crate::api::access::{Access, ROUTES};

    #[test]
    fn each_operation_says_its_scope_and_the_answers_of_the_door() {
        for needed in [true, false] {
            let told = serde_json::to_value(super::super::document_where(needed)).unwrap();
            assert_eq!(told["components"]["securitySchemes"]["token"]["scheme"], "bearer");
            for (method, path, access) in ROUTES {
                let operation = &told["paths"][path][method.to_ascii_lowercase()];
                for status in ["400", "403", "414", "431", "500", "503"] {
                    assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
                }
                let security = operation["security"].as_array().unwrap();
                match access {
                    Access::Open => assert!(security.is_empty() && operation["responses"]["401"].is_null(), "{path}"),
                    Access::Needs(need) => {
                        assert_eq!(security[0]["token"][0], need.to_string());
                        assert_eq!(security.len(), if needed { 1 } else { 2 }, "{method} {path}");
                        assert!(operation["responses"]["401"]["headers"]["WWW-Authenticate"].is_object());
                        let text = operation["description"].as_str().unwrap();
                        assert!(text.ends_with(&format!("Needs the scope `{need}`.")), "{text}");
                    }
                }
            }
        }
        assert_ne!(serde_json::to_value(document()).unwrap()["components"]["schemas"]["ProblemDocument"], Value::Null);
    }
}
