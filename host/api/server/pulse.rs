//! What keeps an HTTP/2 connection alive: requests that are answered, and answers that are taken. Within one connection a
//! client can leave a single answer untaken, or begin requests only to reset them, while it answers every ping.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::kept::keeping;
use crate::lock::lock;

/// Answers are handed over in pieces of so many bytes: so much of one can be on its way at once.
const PIECE_BYTES: usize = 16 << 10;
/// So many requests a client may reset, and after that no more than were answered.
const RESETS_MAX: u64 = 100;

/// How a connection is doing.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    vitals: Mutex<Vitals>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Vitals {
    /// The requests that are being answered.
    running: u32,
    /// When each answer that is not wholly taken was begun.
    answers: BTreeMap<u64, Instant>,
    begun: u64,
    answered: u64,
    reset: u64,
    /// Since when there is neither; nothing before the first request.
    idle_since: Option<Instant>,
}

/// Why a connection has to end, or when to look again.
#[derive(Debug, PartialEq)]
enum Verdict {
    End(&'static str),
    LookAt(Instant),
    Wait,
}

impl Pulse {
    /// A request begins.
    pub(super) fn begin(&self) -> Beat {
        let mut vitals = self.vitals();
        vitals.running += 1;
        vitals.begun += 1;
        vitals.idle_since = None;
        Beat { pulse: self.clone(), number: vitals.begun, is_answered: false }
    }

    /// Waits until the connection has to end, and says why.
    pub(super) async fn stopped(&self, answer_timeout: Duration, idle_timeout: Duration) -> &'static str {
        loop {
            let changed = self.0.changed.notified();
            let verdict = self.vitals().verdict(Instant::now(), answer_timeout, idle_timeout);
            match verdict {
                Verdict::End(why) => return why,
                Verdict::LookAt(moment) => {
                    let _ = tokio::time::timeout_at(moment, changed).await;
                }
                Verdict::Wait => changed.await,
            }
        }
    }

    fn vitals(&self) -> MutexGuard<'_, Vitals> {
        lock(&self.0.vitals)
    }
}

impl Vitals {
    fn verdict(&self, now: Instant, answer_timeout: Duration, idle_timeout: Duration) -> Verdict {
        if self.reset > RESETS_MAX && self.reset > self.answered {
            return Verdict::End("the client resets more requests than it lets be answered");
        }
        let oldest = self.answers.values().min().map(|begun| *begun + answer_timeout);
        if oldest.is_some_and(|end| end <= now) {
            return Verdict::End("the client did not take an answer in time");
        }
        let idle = self.idle_since.map(|since| since + idle_timeout);
        match (oldest, idle) {
            (Some(end), _) => Verdict::LookAt(end),
            (None, Some(end)) if end <= now => Verdict::End("the client asked nothing for long"),
            (None, Some(end)) => Verdict::LookAt(end),
            (None, None) => Verdict::Wait,
        }
    }

    fn settle(&mut self) {
        self.idle_since = (self.running == 0 && self.answers.is_empty()).then(Instant::now);
    }
}

/// A request that is being answered.
pub(super) struct Beat {
    pulse: Pulse,
    number: u64,
    is_answered: bool,
}

impl Beat {
    /// It is answered with that.
    pub(super) fn answered(mut self, body: Body) -> Body {
        self.is_answered = true;
        let mut vitals = self.pulse.vitals();
        vitals.answered += 1;
        vitals.answers.insert(self.number, Instant::now());
        drop(vitals);
        let ticket = Arc::new(Ticket { pulse: self.pulse.clone(), number: self.number });
        Body::new(Pieces { body, rest: Bytes::new(), ticket })
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let mut vitals = self.pulse.vitals();
        vitals.running -= 1;
        vitals.reset += u64::from(!self.is_answered);
        vitals.settle();
        drop(vitals);
        self.pulse.0.changed.notify_one();
    }
}

/// An answer on its way. It is dropped with the last piece, when that has left for the socket.
struct Ticket {
    pulse: Pulse,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut vitals = self.pulse.vitals();
        vitals.answers.remove(&self.number);
        vitals.settle();
        drop(vitals);
        self.pulse.0.changed.notify_one();
    }
}

/// A body in pieces, each of which holds the ticket.
struct Pieces {
    body: Body,
    rest: Bytes,
    ticket: Arc<Ticket>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let bytes = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(keeping(bytes, self.ticket.clone())))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What is to become of the connection, so long from now.
    fn verdict_in(pulse: &Pulse, wait: Duration) -> Verdict {
        pulse.vitals().verdict(Instant::now() + wait, MINUTE, 2 * MINUTE)
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_the_connection() {
        let pulse = Pulse::default();
        assert_eq!(verdict_in(&pulse, 9 * MINUTE), Verdict::Wait, "before the first request others watch");
        let mut body = pulse.begin().answered(Body::from(vec![0; PIECE_BYTES + 1]));
        assert_eq!(body.size_hint().exact(), Some(PIECE_BYTES as u64 + 1));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), last.len(), body.is_end_stream()), (PIECE_BYTES, 1, true));
        drop((first, body));
        assert!(matches!(verdict_in(&pulse, Duration::ZERO), Verdict::LookAt(_)), "there is time left");
        let late = verdict_in(&pulse, MINUTE);
        assert!(
            matches!(late, Verdict::End(why) if why.contains("did not take")),
            "the last piece is still on its way"
        );
        drop(last);
        assert!(matches!(verdict_in(&pulse, MINUTE), Verdict::LookAt(_)), "it was taken");
        assert!(matches!(verdict_in(&pulse, 2 * MINUTE), Verdict::End(why) if why.contains("asked nothing")));
    }

    #[tokio::test]
    async fn a_long_wait_is_not_idle() {
        let pulse = Pulse::default();
        let beat = pulse.begin();
        assert_eq!(verdict_in(&pulse, 10 * MINUTE), Verdict::Wait);
        drop(beat.answered(Body::empty()));
        assert!(matches!(verdict_in(&pulse, 2 * MINUTE), Verdict::End(_)));
        let again = pulse.begin();
        assert_eq!(verdict_in(&pulse, 10 * MINUTE), Verdict::Wait);
        drop(again.answered(Body::empty()));
        assert!(pulse.stopped(MINUTE, Duration::ZERO).await.contains("asked nothing"));
    }

    #[tokio::test]
    async fn resets_are_counted_against_answers() {
        let pulse = Pulse::default();
        for _ in 0..150 {
            drop(pulse.begin().answered(Body::empty()));
            drop(pulse.begin());
        }
        assert!(matches!(verdict_in(&pulse, Duration::ZERO), Verdict::LookAt(_)), "as many were answered");
        drop(pulse.begin());
        assert!(pulse.stopped(MINUTE, MINUTE).await.contains("resets"));
    }
}
