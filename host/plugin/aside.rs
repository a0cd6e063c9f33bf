//! What a guest waits for, polled beside it: on the stack of the thread, and not on the guest's own.
//!
//! A guest that waits keeps its stack, with every page of it that was ever touched, and the way to a downstream is deep.
//! So that way is gone on the thread's stack, which all guests share; the guest's own holds only that it waits.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use crate::lock::lock;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The place for what one guest waits for. It has one thread of control, so that this is one thing at a time.
#[derive(Default)]
pub(super) struct Aside(Mutex<Place>);

#[derive(Default)]
enum Place {
    /// Nobody polls what would be put here.
    #[default]
    Closed,
    Free,
    Taken(Work),
}

impl Aside {
    /// Has that work done beside the guest, which does not even make it: it can be large. Where nobody does it there, it is
    /// done where its answer is waited for.
    pub(super) fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Answer<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let output = Arc::new(Mutex::new(None));
        let given = output.clone();
        let work: Work = Box::pin(async move {
            let output = work().await;
            *lock(&given) = Some(output);
        });
        Answer { output, work: self.take(work).err() }
    }

    /// Takes the work, or gives it back.
    fn take(&self, work: Work) -> Result<(), Work> {
        let mut place = lock(&self.0);
        if let Place::Free = *place {
            *place = Place::Taken(work);
            return Ok(());
        }
        Err(work)
    }

    fn set(&self, place: Place) -> Place {
        std::mem::replace(&mut *lock(&self.0), place)
    }
}

/// The end of the work.
pub(super) struct Answer<T> {
    output: Arc<Mutex<Option<T>>>,
    /// The work itself, where nobody else does it.
    work: Option<Work>,
}

impl<T> Future for Answer<T> {
    type Output = T;

    /// Whoever polls the guest goes on with it as soon as the work is done: nobody has to be woken.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(work) = &mut self.work {
            ready!(work.as_mut().poll(context));
        }
        lock(&self.output).take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aside")
    }
}

/// A guest, and beside it what it waits for.
pub(super) struct Beside<F> {
    guest: F,
    aside: Arc<Aside>,
}

impl<F: Future + Unpin> Beside<F> {
    /// That guest, who puts its work there.
    pub(super) fn new(aside: Arc<Aside>, guest: F) -> Self {
        aside.set(Place::Free);
        Self { guest, aside }
    }
}

impl<F: Future + Unpin> Future for Beside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            // While it waits for this, it waits for nothing else.
            if let Place::Taken(mut work) = self.aside.set(Place::Free)
                && work.as_mut().poll(context).is_pending()
            {
                self.aside.set(Place::Taken(work));
                return Poll::Pending;
            }
            if let Poll::Ready(output) = Pin::new(&mut self.guest).poll(context) {
                return Poll::Ready(output);
            }
            if !matches!(*lock(&self.aside.0), Place::Taken(_)) {
                return Poll::Pending;
            }
        }
    }
}

/// What is left of the work holds the attempt, which holds the place.
impl<F> Drop for Beside<F> {
    fn drop(&mut self) {
        drop(self.aside.set(Place::Closed));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    /// Knows when it is being polled: what its work sees of that tells on whose stack it is done.
    struct Watched<F>(Arc<AtomicBool>, F);

    impl<F: Future + Unpin> Future for Watched<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
            self.0.store(true, Ordering::Relaxed);
            let polled = Pin::new(&mut self.1).poll(context);
            self.0.store(false, Ordering::Relaxed);
            polled
        }
    }

    /// A guest that asks for two pieces of work; the answer says whether any of it was done within the guest.
    fn guest(aside: &Arc<Aside>, is_within: &Arc<AtomicBool>) -> impl Future<Output = [bool; 2]> + Unpin + use<> {
        let (aside, is_within, watch) = (aside.clone(), is_within.clone(), is_within.clone());
        let work = move || {
            let is_within = is_within.clone();
            async move {
                tokio::task::yield_now().await;
                is_within.load(Ordering::Relaxed)
            }
        };
        Watched(watch, Box::pin(async move { [aside.run(work.clone()).await, aside.run(work).await] }))
    }

    #[tokio::test]
    async fn work_is_done_beside_the_guest() {
        let (aside, is_within) = (Arc::<Aside>::default(), Arc::default());
        assert_eq!(Beside::new(aside.clone(), guest(&aside, &is_within)).await, [false; 2]);
    }

    #[tokio::test]
    async fn where_nobody_does_it_it_is_done_in_place() {
        let (aside, is_within) = (Arc::<Aside>::default(), Arc::default());
        assert_eq!(guest(&aside, &is_within).await, [true; 2]);
    }

    #[tokio::test]
    async fn a_guest_that_is_given_up_leaves_no_work_behind() {
        let (aside, held) = (Arc::<Aside>::default(), Arc::new(()));
        let (within, of_work) = (aside.clone(), held.clone());
        let waiting = Box::pin(async move {
            within.run(|| async move { (std::future::pending::<()>().await, of_work).0 }).await;
        });
        let mut beside = Beside::new(aside.clone(), waiting);
        assert!((&mut beside).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(beside);
        assert_eq!(Arc::strong_count(&held), 1);
        // The next one that runs in its place has its work done.
        let is_within = Arc::default();
        assert_eq!(Beside::new(aside.clone(), guest(&aside, &is_within)).await, [false; 2]);
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_the_guests() {
        let aside = Arc::<Aside>::default();
        let within = aside.clone();
        let guest = Box::pin(async move { within.run(|| async { panic!("on purpose") }).await });
        let ended: Result<(), _> = AssertUnwindSafe(Beside::new(aside, guest)).catch_unwind().await;
        assert!(ended.is_err());
    }
}
