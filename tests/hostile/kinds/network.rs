//! Downstreams that hang, drip, flood and lie, and calls to where no plugin may call.

use super::Attack::{Brief, Verb};
use super::Expect::{Outcome, Result};
use super::Kind;

const DEADLINE: &str = "the deadline of the call and of the attempt";
const RESPONSE: &str = "`limits.response`";
const HEAD: &str = "128 KiB and 256 headers";

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::new(
            "hang",
            "takes the request and never answers",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/hang"}"#),
            Outcome("try-again"),
            DEADLINE,
        ),
        Kind::new(
            "drip",
            "answers one byte at a time",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/drip"}"#),
            Outcome("try-again"),
            DEADLINE,
        ),
        Kind::new(
            "endless",
            "answers without end",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/endless"}"#),
            Outcome("try-again"),
            RESPONSE,
        ),
        Kind::new(
            "endless-wasi",
            "answers without end, read through `wasi:http`",
            Verb(r#"{"do": "wasi-fetch", "url": "{downstream}/endless"}"#),
            Result("error"),
            RESPONSE,
        ),
        Kind::new(
            "break-off",
            "breaks off in the middle of its answer",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/break-off"}"#),
            Outcome("try-again"),
            "an answer is whole or it is none",
        ),
        Kind::new(
            "close",
            "closes without an answer",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/close"}"#),
            Outcome("try-again"),
            "an answer is whole or it is none",
        ),
        Kind::new(
            "garbage",
            "answers what is not HTTP",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/garbage"}"#),
            Outcome("try-again"),
            "the client's parser",
        ),
        Kind::new(
            "redirect-loop",
            "redirects to itself",
            Verb(r#"{"do": "fetch", "url": "{downstream}/redirect"}"#),
            Result(r#""status":302"#),
            "no redirect is followed",
        ),
        Kind::new(
            "continue-flood",
            "says `100 Continue` without end",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/continue"}"#),
            Outcome("try-again"),
            DEADLINE,
        ),
        Kind::new(
            "header-flood",
            "answers with 100,000 headers",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/headers"}"#),
            Outcome("try-again"),
            HEAD,
        ),
        Kind::new(
            "header-huge",
            "answers with a header of a megabyte",
            Verb(r#"{"do": "fetch-or-retry", "url": "{downstream}/header"}"#),
            Outcome("try-again"),
            HEAD,
        ),
        Kind::new(
            "header-endless",
            "answers with a header without end",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/header-endless"}"#),
            Outcome("try-again"),
            HEAD,
        ),
        Kind::new(
            "chunk-lies",
            "announces a chunk of 16 EiB",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/chunk"}"#),
            Outcome("try-again"),
            RESPONSE,
        ),
        Kind::new(
            "length-lies",
            "announces an answer of an exabyte",
            Brief(r#"{"do": "fetch-or-retry", "url": "{downstream}/length"}"#),
            Outcome("try-again"),
            RESPONSE,
        ),
        Kind::new(
            "gzip-bomb",
            "answers with a gzip bomb",
            Verb(r#"{"do": "fetch", "url": "{downstream}/gzip"}"#),
            Result(r#""content-encoding":"gzip""#),
            "no encoding is decoded",
        ),
        Kind::new(
            "request-flood",
            "sends a request with 1,000 headers",
            Verb(r#"{"do": "header-flood", "url": "{downstream}/ok", "count": 1000, "bytes": 10}"#),
            Result("Invalid"),
            "128 headers, 64 KiB of them",
        ),
        Kind::new(
            "not-granted",
            "calls an origin that it was not granted",
            Verb(r#"{"do": "fetch", "url": "{other}/ok"}"#),
            Result("denied"),
            "grants",
        ),
        Kind::new(
            "not-granted-wasi",
            "the same through `wasi:http`",
            Verb(r#"{"do": "wasi-fetch", "url": "{other}/ok"}"#),
            Result("error"),
            "grants",
        ),
        Kind::new(
            "private",
            "calls a private address",
            Verb(r#"{"do": "fetch", "url": "http://10.0.0.1/"}"#),
            Result("denied"),
            "grants",
        ),
        Kind::new(
            "metadata-service",
            "calls the cloud's metadata service, as an integer",
            Verb(r#"{"do": "fetch", "url": "http://2852039166/latest/meta-data/"}"#),
            Result("denied"),
            "grants, judged on the address",
        ),
        Kind::new(
            "private-name",
            "calls a granted name that resolves to this machine",
            Verb(r#"{"do": "fetch", "url": "{named}/ok"}"#),
            Result("error"),
            "the address is judged when it is dialled",
        ),
        Kind::new(
            "user-information",
            "hides the host behind user information",
            Verb(r#"{"do": "fetch", "url": "http://127.0.0.1@10.0.0.1/"}"#),
            Result("invalid"),
            "such a URL cannot be called",
        ),
    ]
}
