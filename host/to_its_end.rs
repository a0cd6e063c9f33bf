//! What goes on to its end, also where nobody waits for it any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Does that to its end: also where whoever waits for it goes away meanwhile. Only then does it take a task of its own.
pub(crate) fn to_its_end<F>(act: F) -> impl Future<Output = F::Output> + Send
where
    F: Future<Output: Send> + Send + 'static,
{
    ToItsEnd { act: Some(Box::pin(act)) }
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
        if let (Some(act), Ok(runtime)) = (self.act.take(), Handle::try_current()) {
            drop(runtime.spawn(act));
        }
    }
}
