//! Heads: how long the target may be, how many headers there may be, and how large they all are. The listener itself takes
//! a little more, so that most of what is too large is told why.

use axum::extract::Request;

use super::super::error::{Problem, ProblemKind};

/// The longest target: path and query.
pub(in super::super) const TARGET_BYTES_MAX: usize = 8 << 10;
/// The most headers.
pub(in super::super) const HEADERS_MAX: usize = 100;
/// The largest head, names and values together.
pub(in super::super) const HEADER_BYTES_MAX: usize = 32 << 10;

pub(super) fn refusal(request: &Request) -> Option<Problem> {
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > TARGET_BYTES_MAX {
        let detail =
            format!("the path and the query are {target_bytes} bytes long; at most {TARGET_BYTES_MAX} are read");
        return Some(Problem::new(ProblemKind::UriTooLong, detail));
    }
    let headers = request.headers();
    if headers.len() > HEADERS_MAX {
        let detail = format!("there are {} headers; at most {HEADERS_MAX} are read", headers.len());
        return Some(Problem::new(ProblemKind::HeadersTooLarge, detail));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (bytes > HEADER_BYTES_MAX).then(|| {
        let detail = format!("the headers are {bytes} bytes; at most {HEADER_BYTES_MAX} are read");
        Problem::new(ProblemKind::HeadersTooLarge, detail)
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::api::testing::Api;

    #[tokio::test]
    async fn a_long_target_is_refused() {
        let api = Api::new();
        let path = format!("/v1/jobs?label=k:{}", "x".repeat(TARGET_BYTES_MAX));
        api.get(&path).await.problem(ProblemKind::UriTooLong);
    }

    #[tokio::test]
    async fn many_headers_and_large_ones_are_refused() {
        let api = Api::new();
        let mut many = Request::builder().uri("/healthz").header("host", "localhost");
        for n in 0..HEADERS_MAX {
            many = many.header(format!("x-{n}"), "1");
        }
        let large =
            Request::builder().uri("/healthz").header("host", "localhost").header("x", "y".repeat(HEADER_BYTES_MAX));
        for request in [many, large] {
            api.request(request.body(Body::empty()).unwrap()).await.problem(ProblemKind::HeadersTooLarge);
        }
    }
}
