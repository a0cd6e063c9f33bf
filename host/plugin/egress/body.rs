//! The body of a request: the guest's bytes, counted as they leave.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use crate::job::units::ByteSize;

use super::super::attempt::Attempt;

/// It is not as long as its head states, or longer than it may be.
const WRONG_LENGTH: wasmtime_wasi_http::Error = wasmtime_wasi_http::Error::HttpRequestBodySize(None);

/// What was sent of a request's body.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Sent {
    bytes: AtomicU64,
    is_broken: AtomicBool,
}

impl Sent {
    /// So many bytes.
    pub(in crate::plugin) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the host broke it off, for its length.
    pub(in crate::plugin) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

/// The body of a request.
pub(in crate::plugin) struct SendBody {
    source: Source,
    sent: Arc<Sent>,
    /// Where it breaks off.
    most: ByteSize,
    /// What is still to come of the length that its head states; none where that states none.
    stated_bytes: Option<u64>,
    /// What the attempt is charged for as it leaves; none where it was charged at once.
    attempt: Option<Arc<Attempt>>,
}

enum Source {
    Whole(Option<Bytes>),
    Guest(Option<WasiBody>),
}

impl SendBody {
    /// A body that is wholly here.
    pub(in crate::plugin) fn whole(bytes: Vec<u8>, sent: Arc<Sent>) -> Self {
        let source = Source::Whole((!bytes.is_empty()).then(|| bytes.into()));
        Self { source, sent, most: ByteSize(u64::MAX), stated_bytes: None, attempt: None }
    }

    /// A body that the guest writes bit by bit, up to as much as its attempt may send.
    /// What its head states of its length it is held to.
    pub(in crate::plugin) fn guest(
        body: WasiBody,
        sent: Arc<Sent>,
        attempt: Arc<Attempt>,
        stated_bytes: Option<u64>,
    ) -> Self {
        Self {
            source: Source::Guest(Some(body)),
            sent,
            most: attempt.limits.request,
            stated_bytes,
            attempt: Some(attempt),
        }
    }
}

impl SendBody {
    /// Waits until it is known whether anything stands in it. Where nothing does, it has ended for good.
    pub(in crate::plugin) async fn is_empty(&mut self) -> bool {
        let Source::Guest(Some(body)) = &mut self.source else { return true };
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) if frame.data_ref().is_none_or(Bytes::is_empty) => {}
                _ => return false,
            }
        }
        self.source = Source::Whole(None);
        self.stated_bytes = None;
        true
    }

    /// Nothing more comes, although more may have been stated.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>> {
        self.source = Source::Whole(None);
        match self.stated_bytes.take() {
            None | Some(0) => Poll::Ready(None),
            Some(_) => self.break_off(),
        }
    }

    fn break_off(&self) -> Poll<Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>> {
        self.sent.is_broken.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(WRONG_LENGTH)))
    }
}

impl Body for SendBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match &mut self.source {
            Source::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Guest(None) => None,
            Source::Guest(Some(body)) => match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            },
        };
        match &frame {
            Some(Ok(frame)) => {
                // Trailers end it. They are headers that nothing has checked: nobody is sent them.
                let Some(data) = frame.data_ref() else { return self.end() };
                let bytes = data.len() as u64;
                if let Some(attempt) = &self.attempt {
                    attempt.passed(bytes);
                }
                if let Some(stated) = self.stated_bytes {
                    // Over HTTP/2 nobody else looks at it, and a gateway behind would take the rest for a request.
                    let Some(left) = stated.checked_sub(bytes) else { return self.break_off() };
                    self.stated_bytes = Some(left);
                }
                if self.sent.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.most.0 {
                    // What is left of it is read and thrown away as ever.
                    return self.break_off();
                }
            }
            Some(Err(_)) => self.source = Source::Whole(None),
            None => return self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        if self.stated_bytes.is_some_and(|left| left > 0) {
            return false;
        }
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Guest(body) => body.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Guest(body) => body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint),
        }
    }
}

/// A guest that still writes would see its stream break before it sees why. So the rest is read and thrown away, on the
/// attempt's account and up to what it might have sent; that ends with the guest's store at the latest.
impl Drop for SendBody {
    fn drop(&mut self) {
        if let Source::Guest(Some(body)) = &mut self.source
            && !body.is_end_stream()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (mut rest, attempt) = (std::mem::take(body), self.attempt.clone());
            let mut left_bytes = self.most.0.saturating_sub(self.sent.bytes());
            runtime.spawn(async move {
                while let Some(Ok(frame)) = rest.frame().await {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    attempt.iter().for_each(|attempt| attempt.passed(bytes));
                    let Some(left) = left_bytes.checked_sub(bytes) else { break };
                    left_bytes = left;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http::{HeaderMap, HeaderValue};
    use http_body_util::StreamBody;

    use super::*;
    use crate::config::{LimitOverride, Limits};

    fn attempt() -> Arc<Attempt> {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let clock = Arc::new(crate::clock::SystemClock::start());
        Attempt::start(limits, std::time::Duration::from_secs(9), Arc::default(), None, clock)
    }

    fn body_of(frames: Vec<Frame<Bytes>>) -> WasiBody {
        StreamBody::new(stream::iter(frames.into_iter().map(Ok))).boxed_unsync()
    }

    #[tokio::test]
    async fn trailers_end_it_and_what_leaves_is_charged() {
        let attempt = attempt();
        let trailers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("x"))]);
        let body = body_of(vec![Frame::data(Bytes::from_static(b"four")), Frame::trailers(trailers)]);
        let whole = SendBody::guest(body, Arc::default(), attempt.clone(), None).collect().await.unwrap();
        assert_eq!((whole.trailers(), attempt.call_bytes()), (None, 4));
        assert_eq!(whole.to_bytes(), "four");
    }

    #[tokio::test]
    async fn what_nobody_is_sent_is_charged_too_and_is_not_read_for_ever() {
        let attempt = attempt();
        let (most, piece) = (attempt.limits.request.0, Bytes::from(vec![0; 1 << 20]));
        let taken = Arc::new(AtomicU64::new(0));
        let pieces = stream::iter(0..4 * (most >> 20)).map({
            let taken = taken.clone();
            move |_| {
                taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok(Frame::data(piece.clone()))
            }
        });
        drop(SendBody::guest(StreamBody::new(pieces).boxed_unsync(), Arc::default(), attempt.clone(), None));
        // The task that throws it away holds the attempt until it has ended.
        while Arc::strong_count(&attempt) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!((taken.load(Ordering::Relaxed), attempt.call_bytes()), (most + (1 << 20), most + (1 << 20)));
    }

    #[tokio::test]
    async fn a_body_is_held_to_the_length_that_its_head_states() {
        let four = || Frame::data(Bytes::from_static(b"four"));
        let end = || Frame::trailers(HeaderMap::new());
        for (stated, frames, passes, is_whole) in [
            (8, vec![four(), four()], 8, true),
            (8, vec![four(), four(), end()], 8, true),
            (0, vec![], 0, true),
            (0, vec![four()], 0, false),
            (4, vec![four(), four()], 4, false),
            // What would pass it does not leave at all.
            (6, vec![four(), four()], 4, false),
            (9, vec![four(), four()], 8, false),
            (9, vec![four(), four(), end()], 8, false),
            (1, vec![], 0, false),
        ] {
            let sent = Arc::new(Sent::default());
            let mut body = SendBody::guest(body_of(frames), sent.clone(), attempt(), Some(stated));
            let (mut passed, mut is_ended_well) = (0, true);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => passed += frame.data_ref().unwrap().len(),
                    Err(_) => {
                        is_ended_well = false;
                        break;
                    }
                }
            }
            assert_eq!((passed, is_ended_well), (passes, is_whole), "{stated}");
            assert_eq!((sent.bytes(), sent.is_broken()), (passes as u64, !is_whole), "{stated}");
        }
        let empty = SendBody::guest(body_of(Vec::new()), Arc::default(), attempt(), Some(1));
        assert!(!empty.is_end_stream(), "the head does not end a request whose body is missing");
    }
}
