//! Where a guest goes on that computes for long: threads of their own, of low priority, so that those which serve
//! everybody are free at once whatever a guest does. There plugins take turns.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::lock::lock;

use super::cpu::{CpuMeter, Metered};
use super::priority;
use super::turns::{InTurn, Turns};

/// CPU time after which a guest counts as one that computes. Most calls take a tenth of that in all.
pub(super) const HEAVY_AFTER: Duration = Duration::from_millis(4);
/// Where a plugin's attempts take so much on the average, they begin there.
const HEAVY_HABIT: Duration = Duration::from_millis(1);
/// Where most of them take so much, they do if there are many.
const NOTABLE_HABIT: Duration = Duration::from_micros(100);
/// The average is over so many attempts, about.
const HABIT_ATTEMPTS: u32 = 8;
/// Attempts of a plugin that take more than this part of one processor are many: a hundred of a quarter of a millisecond
/// at once would be in the way of whoever comes after them.
const SHARE: u32 = 4;
/// So much at once is not yet many, ...
const BURST: Duration = Duration::from_millis(2);
/// ... and more than this is forgotten, so that a plugin that was busy is soon one as all others.
const BURST_MAX: Duration = Duration::from_millis(20);

thread_local! {
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is one of the threads for guests that compute.
pub(super) fn is_here() -> bool {
    IS_HERE.get()
}

/// The threads. They are made when the host starts: when a guest needs them the system may have none left.
#[derive(Debug)]
pub(super) struct HeavyThreads {
    /// None only at the end.
    runtime: Option<Runtime>,
    turns: Arc<Turns>,
}

impl HeavyThreads {
    /// As many as there are processors.
    pub(super) fn start() -> anyhow::Result<Arc<Self>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = made(|| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads).enable_all().thread_name("heavy-guests").on_thread_start(|| {
                IS_HERE.set(true);
                // One that runs only where no other wants to would get nothing on a busy machine. Where it fails, guests are
                // only less polite.
                let _ = priority::give_way();
            });
            builder.build()
        })?;
        Ok(Arc::new(Self { runtime: Some(runtime), turns: Turns::new(threads) }))
    }
}

/// Tokio panics where the system has no thread for it.
fn made(make: impl FnOnce() -> io::Result<Runtime>) -> anyhow::Result<Runtime> {
    let why = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(Ok(runtime)) => return Ok(runtime),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.downcast_ref::<String>().map_or("it panicked", String::as_str).to_owned(),
    };
    anyhow::bail!(
        "cannot start the threads for guests that compute: {why}; let this user have more threads and open files"
    )
}

impl Drop for HeavyThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What is left there was given up already.
            runtime.shutdown_background();
        }
    }
}

/// How one plugin computes: its name, and what its attempts took of the processor lately.
#[derive(Debug)]
pub(super) struct Habit {
    plugin: Arc<str>,
    known: Stopwatch,
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    average: Duration,
    /// Half of them take less, about. A few that waited for the processor meanwhile do not change it, unlike the average:
    /// on a busy machine all would seem to compute.
    typical: Duration,
    /// What they took beyond their share of the time, by then.
    beyond: Duration,
    at: Duration,
}

impl Habit {
    /// Of a plugin that nothing is known of.
    pub(super) fn new(plugin: &str) -> Arc<Self> {
        Arc::new(Self { plugin: plugin.into(), known: Stopwatch::start(), lately: Mutex::default() })
    }

    /// One more attempt took so much.
    pub(super) fn note(&self, spent: Duration) {
        self.lately().note(spent, self.known.elapsed());
    }

    fn is_heavy(&self) -> bool {
        self.lately().is_heavy(self.known.elapsed())
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        lock(&self.lately)
    }
}

impl Lately {
    fn note(&mut self, spent: Duration, now: Duration) {
        self.average = self.average - self.average / HABIT_ATTEMPTS + spent / HABIT_ATTEMPTS;
        self.typical = match self.typical {
            Duration::ZERO => spent,
            typical if spent > typical => typical + typical / HABIT_ATTEMPTS,
            typical => typical - typical / HABIT_ATTEMPTS,
        };
        self.beyond = (self.beyond_at(now) + spent).min(BURST_MAX);
        self.at = now;
    }

    fn beyond_at(&self, now: Duration) -> Duration {
        self.beyond.saturating_sub(now.saturating_sub(self.at) / SHARE)
    }

    fn is_heavy(&self, now: Duration) -> bool {
        self.average >= HEAVY_HABIT || self.typical >= NOTABLE_HABIT && self.beyond_at(now) > BURST
    }
}

/// A guest's future, polled here until it computes for long, and there from then on.
pub(super) enum Guest<F: Future> {
    /// On the threads that serve.
    Here { future: Option<Metered<F>>, meter: Arc<CpuMeter>, threads: Arc<HeavyThreads>, habit: Arc<Habit> },
    /// On its own.
    There(JoinHandle<F::Output>),
}

impl<F> Guest<F>
where
    F: Future + Unpin + Send + 'static,
    F::Output: Send + 'static,
{
    /// Begins here, unless its plugin is known to compute.
    pub(super) fn new(meter: Arc<CpuMeter>, threads: Arc<HeavyThreads>, habit: Arc<Habit>, future: F) -> Self {
        let future = Metered::new(meter.clone(), future);
        if habit.is_heavy() {
            Self::there(&threads, &habit, future)
        } else {
            Self::Here { future: Some(future), meter, threads, habit }
        }
    }

    fn there(threads: &HeavyThreads, habit: &Habit, future: Metered<F>) -> Self {
        let runtime = threads.runtime.as_ref().expect("nobody has them at their end");
        Self::There(runtime.spawn(InTurn::new(threads.turns.clone(), habit.plugin.clone(), future.exactly())))
    }
}

impl<F> Future for Guest<F>
where
    F: Future + Unpin + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Self::Here { future, meter, threads, habit } = &mut *self {
            let here = future.as_mut().expect("it leaves once");
            let polled = Pin::new(here).poll(context);
            if polled.is_ready() || meter.spent() < HEAVY_AFTER {
                return polled;
            }
            // Not only at its end: of a hundred that begin at once the others are to begin there.
            habit.note(meter.spent());
            let leaving = future.take().expect("it leaves once");
            let there = Self::there(threads, habit, leaving);
            *self = there;
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tokio_util::sync::CancellationToken;

    use super::super::testing::{Bench, call, component};
    use super::*;
    use crate::job::OutcomeKind;

    const SPENT: Duration = Duration::from_micros(250);

    /// A plugin of which an attempt ends so often.
    fn busy(lately: &mut Lately, spent: Duration, every: Duration, times: u32) -> Duration {
        let began = lately.at;
        (1..=times).for_each(|n| lately.note(spent, began + every * n));
        lately.at
    }

    #[test]
    fn a_plugin_whose_guests_leave_is_soon_known_to_compute_and_can_mend() {
        let mut lately = Lately::default();
        assert!(!lately.is_heavy(Duration::ZERO));
        (0..3).for_each(|_| lately.note(HEAVY_AFTER, Duration::ZERO));
        assert!(lately.is_heavy(Duration::ZERO));
        let now = busy(&mut lately, Duration::from_micros(100), Duration::from_secs(1), 20);
        assert!(!lately.is_heavy(now));
    }

    #[test]
    fn notable_attempts_leave_where_there_are_many_of_them_and_come_back_soon() {
        let mut lately = Lately::default();
        let now = busy(&mut lately, SPENT, SPENT * SHARE, 1_000);
        assert!(!lately.is_heavy(now), "no more than its share: {lately:?}");
        let now = busy(&mut lately, SPENT, SPENT, 1_000);
        assert!(lately.is_heavy(now), "a whole processor: {lately:?}");
        assert!(!lately.is_heavy(now + BURST_MAX * SHARE), "it did nothing for a while: {lately:?}");
    }

    #[test]
    fn brief_attempts_stay_however_many_there_are_and_where_the_processor_was_taken_from_some() {
        let mut lately = Lately::default();
        let brief = NOTABLE_HABIT / 2;
        for _ in 0..1_000 {
            busy(&mut lately, brief, brief / 4, 4);
            let now = busy(&mut lately, Duration::from_millis(1), brief / 4, 1);
            assert!(!lately.is_heavy(now), "{lately:?}");
        }
    }

    #[test]
    fn a_guest_that_computes_notes_it_as_it_leaves() {
        let (threads, habit) = (HeavyThreads::start().unwrap(), Habit::new("spinner"));
        for _ in 0..3 {
            let meter = Arc::<CpuMeter>::default();
            let spin = {
                let meter = meter.clone();
                Box::pin(async move {
                    while meter.spent_within_poll() < HEAVY_AFTER * 2 {
                        std::hint::black_box(0);
                    }
                    // It never ends: what it takes is known all the same.
                    std::future::pending::<()>().await;
                })
            };
            let mut guest = Guest::new(meter, threads.clone(), habit.clone(), spin);
            assert!(Pin::new(&mut guest).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert!(habit.is_heavy());
    }

    #[test]
    fn threads_that_cannot_be_had_are_told() {
        let told = |make: fn() -> io::Result<Runtime>| made(make).unwrap_err().to_string();
        let no_thread = told(|| panic!("OS can't spawn worker thread: {}", rustix::io::Errno::AGAIN));
        assert!(no_thread.contains("can't spawn worker thread: Resource temporarily"), "{no_thread}");
        let no_file = told(|| Err(rustix::io::Errno::MFILE.into()));
        assert!(no_file.contains("Too many open files"), "{no_file}");
    }

    /// Set for the process in which no thread can be had.
    const NO_THREADS: &str = "WINDLASS_TEST_NO_THREADS";

    #[tokio::test]
    async fn a_guest_computes_where_the_system_gives_no_more_threads() {
        if std::env::var_os(NO_THREADS).is_none() {
            // The bound holds for a whole process.
            let name = "plugin::heavy::tests::a_guest_computes_where_the_system_gives_no_more_threads";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let ended = alone.args(["--exact", name, "--nocapture"]).env(NO_THREADS, "1").output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            return;
        }
        let bench = Bench::new();
        let plugin = bench.plugin(component("", "(loop $again (br $again))", ""), &[]).await;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        // Room for the heap, and for no thread's stack.
        let current = Some(pages * rustix::param::page_size() as u64 + (1 << 20));
        let bound = Rlimit { current, maximum: getrlimit(Resource::As).maximum };
        setrlimit(Resource::As, bound).unwrap();
        // The stacks of threads that have ended are used again.
        let mut threads = (0..1_000).map(|_| std::thread::Builder::new().spawn(std::thread::park));
        assert!(threads.any(|thread| thread.is_err()), "no more can be had");
        let (outcome, _) = plugin.run(call(b"1"), &CancellationToken::new()).await;
        assert_eq!(outcome.kind(), OutcomeKind::CpuBudget);
    }
}
