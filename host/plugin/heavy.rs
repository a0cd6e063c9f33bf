//! Where a guest goes on that computes for long: threads of their own, of low priority, so that those which serve
//! everybody are free at once whatever a guest does.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::cpu::{CpuMeter, Metered};

/// CPU time after which a guest counts as one that computes. Most calls take a tenth of that in all.
const HEAVY_AFTER: Duration = Duration::from_millis(4);
/// How much such a guest gives way.
const NICENESS: i32 = 10;

/// The threads. They are made when the first guest needs them.
#[derive(Debug, Default)]
pub(super) struct HeavyThreads(OnceLock<Option<Runtime>>);

impl HeavyThreads {
    /// None where the system gives no threads: guests then stay where they are.
    fn get(&self) -> Option<&Runtime> {
        let make = || {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).enable_all().thread_name("heavy-guests").on_thread_start(|| {
                // On Linux this holds for the calling thread alone. Where it fails, guests are only less polite.
                let _ = rustix::process::setpriority_process(None, NICENESS);
            });
            builder.build().inspect_err(|error| tracing::warn!(%error, "no threads for guests that compute")).ok()
        };
        self.0.get_or_init(make).as_ref()
    }
}

impl Drop for HeavyThreads {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.0.take() {
            // What is left there was given up already.
            runtime.shutdown_background();
        }
    }
}

/// A guest's future, polled here until it computes for long, and there from then on.
pub(super) enum Guest<F: Future> {
    /// On the threads that serve.
    Here { future: Option<Metered<F>>, meter: Arc<CpuMeter>, threads: Arc<HeavyThreads> },
    /// On its own.
    There(JoinHandle<F::Output>),
}

impl<F> Guest<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Begins here.
    pub(super) fn new(meter: Arc<CpuMeter>, threads: Arc<HeavyThreads>, future: F) -> Self {
        Self::Here { future: Some(Metered::new(meter.clone(), future)), meter, threads }
    }
}

impl<F> Future for Guest<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Self::Here { future, meter, threads } = &mut *self {
            let here = future.as_mut().expect("it leaves once");
            let polled = Pin::new(here).poll(context);
            if polled.is_ready() || meter.spent() < HEAVY_AFTER {
                return polled;
            }
            let Some(runtime) = threads.get() else { return polled };
            let leaving = future.take().expect("it leaves once");
            *self = Self::There(runtime.spawn(leaving));
        }
        let Self::There(handle) = &mut *self else { unreachable!("it went there above") };
        match Pin::new(handle).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            Poll::Ready(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the process stops those threads.
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<F: Future> Drop for Guest<F> {
    fn drop(&mut self) {
        if let Self::There(handle) = self {
            handle.abort();
        }
    }
}
