//! The body of a request: the guest's bytes, counted as they leave.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use crate::job::units::ByteSize;

use super::super::attempt::Attempt;

/// The body of a request.
pub(in crate::plugin) struct SendBody {
    source: Source,
    sent_bytes: Arc<AtomicU64>,
    /// Where it breaks off.
    most: ByteSize,
    /// What the attempt is charged for as it leaves; none where it was charged at once.
    attempt: Option<Arc<Attempt>>,
}

enum Source {
    Whole(Option<Bytes>),
    Guest(Option<WasiBody>),
}

impl SendBody {
    /// A body that is wholly here.
    pub(in crate::plugin) fn whole(bytes: Vec<u8>, sent_bytes: Arc<AtomicU64>) -> Self {
        let source = Source::Whole((!bytes.is_empty()).then(|| bytes.into()));
        Self { source, sent_bytes, most: ByteSize(u64::MAX), attempt: None }
    }

    /// A body that the guest writes bit by bit, up to as much as its attempt may send.
    pub(in crate::plugin) fn guest(body: WasiBody, sent_bytes: Arc<AtomicU64>, attempt: Arc<Attempt>) -> Self {
        Self { source: Source::Guest(Some(body)), sent_bytes, most: attempt.limits.request, attempt: Some(attempt) }
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
        true
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
                let Some(data) = frame.data_ref() else {
                    // Trailers end it. They are headers that nothing has checked: nobody is sent them.
                    self.source = Source::Whole(None);
                    return Poll::Ready(None);
                };
                let bytes = data.len() as u64;
                if let Some(attempt) = &self.attempt {
                    attempt.passed(bytes);
                }
                if self.sent_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.most.0 {
                    // What is left of it is read and thrown away as ever.
                    return Poll::Ready(Some(Err(wasmtime_wasi_http::Error::HttpRequestBodySize(None))));
                }
            }
            Some(Err(_)) | None => self.source = Source::Whole(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
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

/// A guest that still writes would see its stream break before it sees why. So the rest is read and thrown away; that
/// ends with the guest's store at the latest.
impl Drop for SendBody {
    fn drop(&mut self) {
        if let Source::Guest(Some(body)) = &mut self.source
            && !body.is_end_stream()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut rest = std::mem::take(body);
            runtime.spawn(async move { while let Some(Ok(_)) = rest.frame().await {} });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::StreamBody;

    use super::*;
    use crate::config::{LimitOverride, Limits};

    #[tokio::test]
    async fn trailers_end_it_and_what_leaves_is_charged() {
        let limits = Limits::default().attempt(&LimitOverride::default());
        let clock = Arc::new(crate::clock::SystemClock::start());
        let attempt = Attempt::start(limits, std::time::Duration::from_secs(9), Arc::default(), None, clock);
        let trailers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("x"))]);
        let frames = [Frame::data(Bytes::from_static(b"four")), Frame::trailers(trailers)];
        let body: WasiBody = StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync();
        let whole = SendBody::guest(body, Arc::default(), attempt.clone()).collect().await.unwrap();
        assert_eq!((whole.trailers(), attempt.call_bytes()), (None, 4));
        assert_eq!(whole.to_bytes(), "four");
    }
}
