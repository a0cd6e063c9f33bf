//! Answers on their way: each keeps the place of its request until the client has taken all of it, so that clients who ask
//! and do not read fill no memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::super::kept::keeping;
use super::super::room::{Place, Room};

/// Answers that are larger count their bytes too.
const SMALL_BYTES: u64 = 64 << 10;

/// The answer, which holds the place. A large answer to a request that only reads is refused where the answers of others
/// leave no room for it; what changed something is always told.
pub(super) fn holding(room: &Room, is_read: bool, answer: Response, place: Option<Place>) -> Response {
    // Who takes no place is answered however many there are, and nothing is soon taken.
    let Some(place) = place.filter(|_| !answer.body().is_end_stream()) else { return answer };
    let bytes = HttpBody::size_hint(answer.body()).lower();
    let large = (is_read && bytes > SMALL_BYTES).then(|| room.answer(bytes)).transpose();
    match large {
        Ok(large) => {
            let places = Arc::new(Places { _request: place, _bytes: large });
            answer.map(|body| Body::new(Untaken { body, places }))
        }
        Err(problem) => problem.into_response(),
    }
}

#[derive(Debug)]
struct Places {
    _request: Place,
    _bytes: Option<Place>,
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
            holding(&room, is_read, answer, Some(room.request(false).unwrap()))
        };
        let first = large(true);
        assert_eq!((first.status().as_u16(), HttpBody::size_hint(first.body()).exact()), (200, Some(700 << 10)));
        assert_eq!(large(true).status(), 503);
        assert_eq!(large(false).status(), 200, "what was done is told");
        drop(first);
        assert_eq!(large(true).status(), 200);
    }
}
