//! Bodies: bounded in size and in time, and of the media type that is read.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::super::State;
use super::super::asked;
use super::super::error::{Problem, ProblemKind, quoted};
use super::super::room::{Place, Room};
use super::super::tokens::Caller;
use crate::job::spec::is_json;
use crate::job::units::ByteSize;

/// The first room of a body, and the least by which it grows.
const FIRST_BYTES: u64 = 64 << 10;
/// So much of a body that is too large is read and thrown away, so that a client which sends all before it reads learns
/// why it was refused, instead of a broken connection.
const DISCARDED_BYTES_MAX: usize = 128 << 20;

/// A body in memory, and the room that it takes: given back when this is dropped.
#[derive(Debug)]
pub(in super::super) struct HeldBody {
    bytes: Bytes,
    sender: Caller,
    _place: Place,
}

impl HeldBody {
    /// Who sent it, by the tokens as they were when all of it had come.
    pub(in super::super) const fn sender(&self) -> &Caller {
        &self.sender
    }

    /// The bytes, to be shared. They take their room as long as any of them is in use.
    pub(in super::super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::Deref for HeldBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What many programs say of a body where nobody tells them what it is. (Pages of other sites, which can send it too, are
/// kept out by their `Origin`.)
const UNTOLD: &str = "application/x-www-form-urlencoded";

/// Reads a JSON body of at most `most` bytes.
pub(in super::super) async fn json_body(
    state: &State,
    request: Request,
    most: ByteSize,
    told: &str,
) -> Result<HeldBody, Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    if let Some(other) = content_type.filter(|said| !is_json(said) && !said.eq_ignore_ascii_case(UNTOLD)) {
        let detail = format!("the body must have the Content-Type application/json; this one is {}", quoted(other));
        return Err(Problem::new(ProblemKind::MediaTypeUnsupported, detail));
    }
    read_body(state, request, most, told).await
}

/// Reads a body of at most `most` bytes; `told` says of which limit that comes. A body that there is no room for is refused
/// before any of it is read, or, where others came first meanwhile, on the way: it takes its room as it arrives. So is one
/// whose sender would not be let in any more when all of it has come.
pub(in super::super) async fn read_body(
    state: &State,
    request: Request,
    most: ByteSize,
    told: &str,
) -> Result<HeldBody, Problem> {
    let room = &state.door.room;
    let (most, told) = if room.body_most() < most { (room.body_most(), "server.bodies") } else { (most, told) };
    let timeout = state.config.server.body_timeout.0;
    let (parts, mut body) = request.into_parts();
    let said_bytes = content_length(&parts.headers);
    if said_bytes.is_some_and(|said| said > most.0) {
        // Who asks before it sends need not send at all.
        if !parts.headers.contains_key(EXPECT) {
            discard(body, timeout).await;
        }
        return Err(too_large(said_bytes, most, told));
    }
    let mut gathering = Gathering { room, place: room.body(said_bytes.unwrap_or(0))?, said_bytes, most_bytes: most.0 };
    match tokio::time::timeout(timeout, gathering.gather(&mut body)).await {
        Ok(Ok(bytes)) => Ok(HeldBody { bytes, sender: asked::again(state)?, _place: gathering.place }),
        Ok(Err(Broken::TooLarge)) => {
            drop(gathering);
            discard(body, timeout).await;
            Err(too_large(None, most, told))
        }
        Ok(Err(Broken::NoRoom(problem))) => Err(problem),
        Ok(Err(Broken::Off(error))) => {
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

/// Why a body is not whole.
enum Broken {
    TooLarge,
    NoRoom(Problem),
    Off(axum::Error),
}

/// A body that arrives.
struct Gathering<'a> {
    room: &'a Room,
    place: Place,
    said_bytes: Option<u64>,
    most_bytes: u64,
}

impl Gathering<'_> {
    /// The whole body in one piece.
    async fn gather(&mut self, body: &mut Body) -> Result<Bytes, Broken> {
        let (mut bytes, mut room_bytes) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Broken::Off)?.into_data() else { continue };
            let whole = bytes.len() as u64 + data.len() as u64;
            if whole > self.most_bytes {
                return Err(Broken::TooLarge);
            }
            if whole > room_bytes {
                room_bytes = self.grow(whole).map_err(Broken::NoRoom)?;
            }
            // Most bodies are one frame.
            if bytes.is_empty() && self.said_bytes == Some(whole) {
                return Ok(data);
            }
            bytes.reserve(usize::try_from(room_bytes).unwrap_or(usize::MAX).saturating_sub(bytes.len()));
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// Takes room for what has come and as much again, but never for more than can come: who says much and sends nothing
    /// keeps nobody else out.
    fn grow(&mut self, whole_bytes: u64) -> Result<u64, Problem> {
        let last = self.said_bytes.unwrap_or(self.most_bytes).max(whole_bytes);
        let wanted = whole_bytes.saturating_mul(2).max(FIRST_BYTES).min(last);
        self.room.grow(&mut self.place, wanted)?;
        Ok(wanted)
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
async fn discard(mut body: Body, timeout: Duration) {
    let read = async {
        let mut read_bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read_bytes += frame.data_ref().map_or(0, Bytes::len);
            if read_bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(timeout, read).await;
}

#[cfg(test)]
mod tests {
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

    async fn read(body: Body, headers: &[(&str, &str)]) -> Result<HeldBody, Problem> {
        read_body(&Api::new().state, request_with(body, headers), MOST, "the test's limit").await
    }

    #[tokio::test]
    async fn a_body_may_be_as_large_as_the_limit() {
        assert_eq!(&*read(Body::from("four"), &[]).await.unwrap(), b"four");
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
    async fn a_body_without_room_is_refused_unread() {
        let mut config = Config::default();
        config.server.bodies = ByteSize(1 << 20);
        let api = Api::with_config(config);
        let most = ByteSize(768 << 10);
        let large = || Body::from(vec![b' '; 700_000]);
        let held = read_body(&api.state, request_with(large(), &[]), most, "").await.unwrap().into_bytes().slice(1..2);
        let never = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read_body(&api.state, request_with(never(), &[("content-length", "400000")]), most, "").await;
        assert_eq!(problem.unwrap_err().kind, ProblemKind::Overloaded);
        let problem = read_body(&api.state, request_with(large(), &[]), most, "").await;
        assert_eq!(problem.unwrap_err().kind, ProblemKind::Overloaded, "also where it does not say its size");
        drop(held);
        assert!(read_body(&api.state, request_with(large(), &[]), most, "").await.is_ok());
        assert!(read_body(&api.state, request_with(Body::from("x"), &[]), most, "").await.is_ok());
        let problem =
            read_body(&api.state, request_with(Body::empty(), &[("content-length", "2000000")]), ByteSize(1 << 30), "")
                .await;
        assert!(problem.unwrap_err().detail.contains("server.bodies"), "no room is ever large enough");
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
}
