//! Who asked, for log lines: while a request is answered its id and its token's id are at hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::HeaderValue;
use tokio::runtime::Handle;

use super::tokens::Caller;

tokio::task_local! {
    static ASKED: (HeaderValue, Caller);
}

/// Answers on behalf of that request.
pub(super) fn by<F: Future>(id: HeaderValue, caller: Caller, answer: F) -> impl Future<Output = F::Output> {
    ASKED.scope((id, caller), answer)
}

/// Does that to its end, on behalf of the same request: also where whoever asked goes away meanwhile. Only then does it
/// take a task of its own.
pub(super) async fn to_its_end<T: Send + 'static>(act: impl Future<Output = T> + Send + 'static) -> T {
    ToItsEnd { act: Some(Box::pin(act)) }.await
}

/// What goes on when it is dropped.
struct ToItsEnd<F: Future<Output: Send> + Send + 'static> {
    act: Option<Pin<Box<F>>>,
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // What panics is not put back, and does not go on.
        let mut act = self.act.take().expect("nobody asks again after the end");
        let polled = act.as_mut().poll(context);
        if polled.is_pending() {
            self.act = Some(act);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        // Without a runtime the program ends, and this with it.
        let (Some(act), Ok(runtime)) = (self.act.take(), Handle::try_current()) else { return };
        match ASKED.try_with(Clone::clone) {
            Ok(asked) => drop(runtime.spawn(ASKED.scope(asked, act))),
            Err(_) => drop(runtime.spawn(act)),
        }
    }
}

/// The id of the request that is being answered.
pub(super) fn request_id() -> String {
    ASKED.try_with(|(id, _)| id.to_str().unwrap_or("-").to_owned()).unwrap_or_else(|_| "-".to_owned())
}

/// The id of the token that it brought.
pub(super) fn token_id() -> String {
    ASKED.try_with(|(_, caller)| caller.id().to_owned()).unwrap_or_else(|_| "-".to_owned())
}
