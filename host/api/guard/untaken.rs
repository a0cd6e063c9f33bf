//! Answers on their way: each keeps the place of its request until the client has taken all of it, so that clients who ask
//! and do not read fill no memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;

use super::super::error::Problem;
use super::super::kept::keeping;
use super::super::room::{Place, Room};

/// Answers that are larger count their bytes too.
const SMALL_BYTES: u64 = 64 << 10;

/// What an answer holds until it is taken.
pub(super) enum Seat {
    /// Nothing.
    None,
    /// A place of the few that are kept for its route; its bytes count nowhere.
    Apart(Place),
    /// A place beside all others; large answers count their bytes too.
    Shared(Place),
}

/// A shorter body of an answer, for where the answers of others leave no room for the whole.
#[derive(Clone, Debug)]
struct Short(Bytes);

/// Room that was taken for an answer before anything was done.
#[derive(Clone, Debug)]
struct Taken {
    _place: Arc<Place>,
}

/// Room for the answer to something that cannot be told in short, of so many bytes: none is needed where they are few.
pub(in super::super) fn room_before(room: &Room, bytes: u64) -> Result<Option<Place>, Problem> {
    (bytes > SMALL_BYTES).then(|| room.answer(bytes)).transpose()
}

/// The answer with the room that was taken for it.
pub(in super::super) fn with_room(mut answer: Response, taken: Option<Place>) -> Response {
    if let Some(place) = taken {
        answer.extensions_mut().insert(Taken { _place: place.into() });
    }
    answer
}

/// JSON that is always told, as what it tells of was done: where there is no room for the whole, `short` is told, which is
/// as brief as it can be.
pub(in super::super) fn always_told<T: Serialize>(whole: T, short: impl FnOnce(T) -> T) -> Response {
    let mut answer = Json(&whole).into_response();
    if HttpBody::size_hint(answer.body()).lower() > SMALL_BYTES {
        let short = serde_json::to_vec(&short(whole)).expect("what was JSON as a whole is JSON in short");
        answer.extensions_mut().insert(Short(short.into()));
    }
    answer
}

/// The answer, which holds the place. A large answer to a request that only reads is refused where the answers of others
/// leave no room for it; what changed something is always told, in short where it can be, or with room that it took before.
pub(super) fn holding(room: &Room, is_read: bool, mut answer: Response, seat: Seat) -> Response {
    let place = match seat {
        Seat::None => return answer,
        // Nothing is soon taken.
        _ if answer.body().is_end_stream() => return answer,
        Seat::Apart(place) => return untaken(answer, Places { _request: place, _bytes: None }),
        Seat::Shared(place) => place,
    };
    let bytes = HttpBody::size_hint(answer.body()).lower();
    let (taken, short) = (answer.extensions_mut().remove::<Taken>(), answer.extensions_mut().remove::<Short>());
    let is_counted = taken.is_none() && bytes > SMALL_BYTES && (is_read || short.is_some());
    let large = match is_counted.then(|| room.answer(bytes)).transpose() {
        Ok(large) => taken.or(large.map(|place| Taken { _place: place.into() })),
        Err(problem) => {
            let Some(Short(bytes)) = short else { return problem.into_response() };
            answer.headers_mut().remove(CONTENT_LENGTH);
            *answer.body_mut() = Body::from(bytes);
            None
        }
    };
    untaken(answer, Places { _request: place, _bytes: large })
}

fn untaken(answer: Response, places: Places) -> Response {
    let places = Arc::new(places);
    answer.map(|body| Body::new(Untaken { body, places }))
}

#[derive(Debug)]
struct Places {
    _request: Place,
    _bytes: Option<Taken>,
}

/// A body that holds places, and so does each part of it until it has left for the socket.
struct Untaken {
    body: Body,
    places: Arc<Places>,
}

impl HttpBody for Untaken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let hold = |bytes| keeping(bytes, self.places.clone());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(hold))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;
    use crate::job::units::ByteSize;

    #[test]
    fn large_answers_share_their_bytes() {
        let room = Room::new(&Server { bodies: ByteSize(1 << 20), ..Server::default() });
        let large = |is_read| {
            let answer = Response::new(Body::from(vec![b'x'; 700 << 10]));
            holding(&room, is_read, answer, Seat::Shared(room.request(false).unwrap()))
        };
        let first = large(true);
        assert_eq!((first.status().as_u16(), HttpBody::size_hint(first.body()).exact()), (200, Some(700 << 10)));
        assert_eq!(large(true).status(), 503);
        assert_eq!(large(false).status(), 200, "what was done is told");
        drop(first);
        assert_eq!(large(true).status(), 200);
    }
}
