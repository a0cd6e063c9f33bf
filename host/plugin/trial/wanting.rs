//! Whether a guest that did not end in time was given that time. While it waits because it asked to, that is its own
//! matter; while it would go on and no processor takes it, the machine's.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::lock::lock;

/// A future of which is known for how long it would have gone on.
pub(super) struct Wanting<F> {
    future: F,
    wanted: Duration,
    woken: Option<Arc<Woken>>,
}

/// When a future was woken since it was last polled.
struct Woken {
    waker: Waker,
    since: Mutex<Option<Stopwatch>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.since).get_or_insert_with(Stopwatch::start);
        self.waker.wake_by_ref();
    }
}

impl<F: Future + Unpin> Wanting<F> {
    /// Nothing is known of it yet.
    pub(super) fn new(future: F) -> Self {
        Self { future, wanted: Duration::ZERO, woken: None }
    }

    /// For how long it was polled, or woken and not polled yet: with a processor and without.
    pub(super) fn wanted(&self) -> Duration {
        self.wanted
    }
}

impl<F: Future + Unpin> Future for Wanting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(since) = self.woken.take().and_then(|woken| *lock(&woken.since)) {
            self.wanted += since.elapsed();
        }
        let woken = Arc::new(Woken { waker: context.waker().clone(), since: Mutex::default() });
        let watch = Stopwatch::start();
        let polled = Pin::new(&mut self.future).poll(&mut Context::from_waker(&Waker::from(woken.clone())));
        // Woken as it was polled: the two must not count the same time twice.
        let mut since = lock(&woken.since);
        *since = since.map(|_| Stopwatch::start());
        drop(since);
        self.wanted += watch.elapsed();
        self.woken = Some(woken);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn later(while_ms: u64) {
        let watch = Stopwatch::start();
        while watch.elapsed() < Duration::from_millis(while_ms) {
            std::thread::yield_now();
        }
    }

    fn poll<F: Future + Unpin>(wanting: &mut Wanting<F>) {
        let _ = Pin::new(wanting).poll(&mut Context::from_waker(Waker::noop()));
    }

    #[test]
    fn what_it_waits_for_unasked_counts_and_what_it_asked_to_wait_does_not() {
        let mut goes_on = Wanting::new(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let mut sleeps = Wanting::new(poll_fn(|_| Poll::<()>::Pending));
        let all = Stopwatch::start();
        for _ in 0..5 {
            poll(&mut goes_on);
            poll(&mut sleeps);
            later(20);
        }
        poll(&mut goes_on);
        poll(&mut sleeps);
        let (goes_on, sleeps, all) = (goes_on.wanted(), sleeps.wanted(), all.elapsed());
        assert!(goes_on >= Duration::from_millis(100) && goes_on <= all, "{goes_on:?} of {all:?}");
        assert!(sleeps + goes_on <= all, "{sleeps:?} beside {goes_on:?} of {all:?}");
    }

    #[test]
    fn being_polled_counts_once() {
        let mut busy = Wanting::new(poll_fn(|context| {
            context.waker().wake_by_ref();
            later(20);
            Poll::<()>::Pending
        }));
        let all = Stopwatch::start();
        poll(&mut busy);
        poll(&mut busy);
        assert!(busy.wanted() >= Duration::from_millis(40) && busy.wanted() <= all.elapsed());
    }
}
