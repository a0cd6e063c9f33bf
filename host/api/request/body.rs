//! Bodies: bounded in size and in time, and of the media type that is read.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::super::State;
use super::super::error::{Problem, ProblemKind, quoted};
use crate::job::units::ByteSize;

/// So much of a body that is too large is read and thrown away, so that a client which sends all before it reads learns
/// why it was refused, instead of a broken connection.
const DISCARDED_BYTES_MAX: usize = 128 << 20;

/// Reads a JSON body of at most `most` bytes.
pub(in super::super) async fn json_body(
    state: &State,
    request: Request,
    most: ByteSize,
    told: &str,
) -> Result<Bytes, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    if !content_type.is_some_and(is_json) {
        let got = content_type.map_or_else(|| "none is said".to_owned(), |got| format!("this one is {}", quoted(got)));
        let detail = format!("the body must have the Content-Type application/json; {got}");
        return Err(Problem::new(ProblemKind::MediaTypeUnsupported, detail));
    }
    read_body(state, request, most, told).await
}

/// Whether a media type is JSON: `application/json`, or one that ends in `+json`.
pub(in super::super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence == crate::job::spec::JSON || (essence.contains('/') && essence.ends_with("+json"))
}

/// Reads a body of at most `most` bytes; `told` says of which limit that comes.
pub(in super::super) async fn read_body(
    state: &State,
    request: Request,
    most: ByteSize,
    told: &str,
) -> Result<Bytes, Problem> {
    let timeout = state.config.server.body_timeout.0;
    let (parts, body) = request.into_parts();
    let said_bytes = content_length(&parts.headers);
    if said_bytes.is_some_and(|said| said > most.0) {
        // Who asks before it sends need not send at all.
        if !parts.headers.contains_key(EXPECT) {
            discard(body, timeout).await;
        }
        return Err(too_large(said_bytes, most, told));
    }
    let mut limited = Limited::new(body, most.as_usize());
    match tokio::time::timeout(timeout, BodyExt::collect(&mut limited)).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(limited, timeout).await;
            Err(too_large(None, most, told))
        }
        Ok(Err(error)) => {
            Err(Problem::new(ProblemKind::BodyIncomplete, format!("the body broke off before its end: {error}")))
        }
        Err(_) => {
            let detail = format!(
                "the body was not complete after {}; server.body_timeout bounds it",
                state.config.server.body_timeout
            );
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(said_bytes: Option<u64>, most: ByteSize, told: &str) -> Problem {
    let size = said_bytes.map_or_else(|| format!("more than {most}"), |said| ByteSize(said).to_string());
    Problem::new(ProblemKind::TooLarge, format!("the body is {size}; at most {most} is taken ({told})"))
}

/// Reads a body and throws it away, up to a bound in bytes and in time. What comes of it does not matter.
async fn discard<B>(body: B, timeout: Duration)
where
    B: axum::body::HttpBody + Unpin,
{
    let mut body = body;
    let read = async {
        let mut read_bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read_bytes += frame.data_ref().map_or(0, bytes::Buf::remaining);
            if read_bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(timeout, read).await;
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::api::testing::Api;
    use crate::config::Config;
    use crate::job::units::TimeSpan;

    const MOST: ByteSize = ByteSize(4);

    fn request_with(body: Body, headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().method("POST").uri("/");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(body).unwrap()
    }

    async fn read(body: Body, headers: &[(&str, &str)]) -> Result<Bytes, Problem> {
        read_body(&Api::new().state, request_with(body, headers), MOST, "the test's limit").await
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit() {
        assert_eq!(read(Body::from("four"), &[]).await.unwrap(), "four");
    }

    #[tokio::test]
    async fn a_larger_body_is_refused_with_both_sizes() {
        let problem = read(Body::from("fives"), &[("content-length", "5")]).await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::TooLarge);
        assert!(problem.detail.contains("5B") && problem.detail.contains("4B"), "{problem:?}");
        let problem = read(Body::from("fives"), &[]).await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::TooLarge, "also where it does not say its size");
    }

    #[tokio::test]
    async fn who_expects_to_be_asked_is_answered_at_once() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let headers = [("content-length", "5"), ("expect", "100-continue")];
        assert_eq!(read(never, &headers).await.unwrap_err().kind, ProblemKind::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = futures_util::stream::iter([Ok(Bytes::from("x")), Err(std::io::Error::other("cut"))]);
        assert_eq!(read(Body::from_stream(broken), &[]).await.unwrap_err().kind, ProblemKind::BodyIncomplete);
    }

    #[tokio::test]
    async fn a_body_that_takes_too_long_is_refused() {
        let mut config = Config::default();
        config.server.body_timeout = TimeSpan::from_ms(1);
        let api = Api::with_config(config);
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read_body(&api.state, request_with(never, &[]), MOST, "").await.unwrap_err();
        assert_eq!(problem.kind, ProblemKind::BodyTimeout);
    }

    #[test]
    fn json_has_these_names() {
        for name in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_json(name), "{name}");
        }
        for name in ["", "text/json", "text/plain", "application/jsonp", "+json"] {
            assert!(!is_json(name), "{name}");
        }
    }
}
