//! The runtime that serves everybody. What keeps connections going belongs to it, whoever asked for a connection: a call
//! may come from threads that end before it does, and that stand back behind all others.

use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Sleep, Timer};
use hyper_util::rt::TokioTimer;
use tokio::runtime::Handle;

/// Runs tasks and timers on that runtime.
#[derive(Clone, Debug)]
pub(super) struct Serving(pub(super) Handle);

impl<F> Executor<F> for Serving
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Tokio's timers belong to the runtime in which they are made, and panic once it has ended.
impl Timer for Serving {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let _there = self.0.enter();
        TokioTimer::new().sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let _there = self.0.enter();
        TokioTimer::new().sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        TokioTimer::new().reset(sleep, deadline);
    }
}
