//! The CPU time that an attempt takes, over all threads that it runs on.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Stopwatch;

/// Reading a thread's own clock is a system call, and most polls take microseconds. So a poll shorter than this counts
/// with its wall time, and a longer one from a reading that is at most this old.
const PRECISION: Duration = Duration::from_millis(1);

thread_local! {
    static LAST_READING: Cell<Option<(Stopwatch, u64)>> = const { Cell::new(None) };
    /// When the poll that is going on began.
    static BEGAN: Cell<Option<Stopwatch>> = const { Cell::new(None) };
}

/// A sum of thread time, to a millisecond for each poll. Only the thread that polls the attempt writes to it.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    spent_ns: AtomicU64,
    since_ns: AtomicU64,
}

impl CpuMeter {
    /// What is spent, counted at the end of each poll.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    /// What is spent by now. Only meaningful on the thread that polls the attempt, while it does.
    pub(super) fn spent_within_poll(&self) -> Duration {
        let running_ns = thread_cpu_ns().saturating_sub(self.since_ns.load(Ordering::Relaxed));
        // What was read before the poll began may count what the thread did for others.
        self.spent() + Duration::from_nanos(running_ns).min(turn())
    }
}

/// How long the poll that is going on has lasted. Costs no system call.
pub(super) fn turn() -> Duration {
    BEGAN.get().map_or(Duration::MAX, |watch| watch.elapsed())
}

/// A future whose polls are counted.
pub(super) struct Metered<F> {
    meter: Arc<CpuMeter>,
    future: F,
    is_exact: bool,
}

impl<F: Future + Unpin> Metered<F> {
    /// Counts the polls of that future.
    pub(super) fn new(meter: Arc<CpuMeter>, future: F) -> Self {
        Self { meter, future, is_exact: false }
    }

    /// From now on the thread's clock is read at both ends of each poll, however short: for threads that others often take
    /// the processor from, where the wall time of a poll tells nothing.
    pub(super) fn exactly(self) -> Self {
        Self { is_exact: true, ..self }
    }
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let since_ns = if self.is_exact { thread_cpu_ns() } else { recent_thread_cpu_ns() };
        self.meter.since_ns.store(since_ns, Ordering::Relaxed);
        let watch = Stopwatch::start();
        BEGAN.set(Some(watch));
        let polled = Pin::new(&mut self.future).poll(context);
        let wall_ns = u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let is_short = !self.is_exact && u128::from(wall_ns) < PRECISION.as_nanos();
        let spent_ns = if is_short { wall_ns } else { wall_ns.min(thread_cpu_ns().saturating_sub(since_ns)) };
        self.meter.spent_ns.fetch_add(spent_ns, Ordering::Relaxed);
        polled
    }
}

/// The thread's CPU time at most [`PRECISION`] ago.
fn recent_thread_cpu_ns() -> u64 {
    match LAST_READING.get() {
        Some((watch, cpu_ns)) if watch.elapsed() < PRECISION => cpu_ns,
        _ => {
            let cpu_ns = thread_cpu_ns();
            LAST_READING.set(Some((Stopwatch::start(), cpu_ns)));
            cpu_ns
        }
    }
}

/// The CPU time of this thread.
pub(super) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn what_the_thread_did_for_others_is_not_counted() {
        let meter = Arc::<CpuMeter>::default();
        let poll = |within: &mut Duration| {
            let (inner, meter) = (meter.clone(), meter.clone());
            let mut metered = Metered::new(meter, Box::pin(async move { inner.spent_within_poll() }));
            let Poll::Ready(spent) = Pin::new(&mut metered).poll(&mut Context::from_waker(Waker::noop())) else {
                unreachable!("it waits for nothing");
            };
            *within = spent;
        };
        let (mut first, mut second) = (Duration::ZERO, Duration::ZERO);
        poll(&mut first);
        let others_ns = thread_cpu_ns();
        while thread_cpu_ns() - others_ns < 500_000 {
            std::hint::black_box(0);
        }
        let outer = Stopwatch::start();
        poll(&mut second);
        assert!(second <= meter.spent() + outer.elapsed(), "{second:?}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a poll that has the processor taken from it")]
    fn where_it_is_exact_the_time_without_the_processor_is_not_counted() {
        let meter = Arc::<CpuMeter>::default();
        let idle = Duration::from_micros(500);
        let mut metered = Metered::new(meter.clone(), Box::pin(async move { std::thread::sleep(idle) })).exactly();
        assert!(Pin::new(&mut metered).poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(meter.spent() < idle / 2, "{:?}", meter.spent());
    }
}
