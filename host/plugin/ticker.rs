//! The thread that ends a guest's turn: it raises the engine's epoch while attempts run and sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// How long a guest may run before it lets others have a turn, where none was seen to compute.
const TICK: Duration = Duration::from_millis(10);
/// The same where some do. The system's own turns are longer than that, and a thread that just worked for others waits
/// for the end of one: on a machine with two processors that would be the whole delay of a job beside such guests.
const QUICK_TICK: Duration = Duration::from_micros(500);
/// How many quick ticks without such a guest it takes to fall back.
const QUICK_TICKS: u32 = 50;
/// How many ticks without an attempt it takes to fall asleep, so that a steady trickle of jobs wakes nobody.
const IDLE_TICKS: u32 = 10;

/// The ticker. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
    /// The last tick met a guest that computes.
    computed: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It is one of the system's, as a guest can hold up those of the runtime.
    pub(super) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let inner = shared.clone();
        let builder = std::thread::Builder::new().name("epoch-ticker".to_owned());
        let thread: JoinHandle<()> = builder.spawn(move || inner.tick(&engine))?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Keeps the ticker awake as long as the guard lives.
    pub(super) fn begin(&self) -> Awake {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Awake(self.shared.clone())
    }

    /// Where guests that are met by a tick say so.
    pub(super) fn met(&self) -> Met {
        Met(self.shared.clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        let (mut idle_ticks, mut pace) = (0, Pace::default());
        while !self.ended.load(Ordering::SeqCst) {
            idle_ticks = if self.running.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            let tick = pace.next(self.computed.swap(false, Ordering::Relaxed));
            if idle_ticks < IDLE_TICKS {
                std::thread::park_timeout(tick);
            } else {
                self.sleep();
                idle_ticks = 0;
            }
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    }

    /// First says that it sleeps, then looks once more: an attempt that begins in between wakes it.
    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// How long the next tick is.
#[derive(Debug, Default)]
struct Pace {
    /// So many more of them are quick.
    quick_ticks: u32,
}

impl Pace {
    /// After a tick that met a guest at work, or none.
    fn next(&mut self, has_met: bool) -> Duration {
        self.quick_ticks = if has_met { QUICK_TICKS } else { self.quick_ticks.saturating_sub(1) };
        if self.quick_ticks > 0 { QUICK_TICK } else { TICK }
    }
}

/// An attempt that runs, as the ticker sees it.
#[derive(Debug)]
pub(super) struct Awake(Arc<Shared>);

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The ticker, as a guest sees it.
#[derive(Debug)]
pub(super) struct Met(Arc<Shared>);

impl Met {
    /// A tick met a guest on the threads of those that compute.
    pub(super) fn one_that_computes(&self) {
        self.0.computed.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_quick_from_the_first_that_meets_a_guest_until_long_after_the_last() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(false), TICK);
        assert_eq!(pace.next(true), QUICK_TICK);
        (1..QUICK_TICKS).for_each(|_| assert_eq!(pace.next(false), QUICK_TICK));
        assert_eq!(pace.next(false), TICK);
        // One in between is enough.
        pace.next(true);
        (0..10).for_each(|_| _ = pace.next(false));
        pace.next(true);
        (1..QUICK_TICKS).for_each(|_| assert_eq!(pace.next(false), QUICK_TICK));
    }
}
