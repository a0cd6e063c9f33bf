//! The thread that ends a guest's turn: it raises the engine's epoch while attempts run and sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::EngineWeak;

/// How long a guest may run before it lets others have a turn.
const TICK: Duration = Duration::from_millis(10);
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
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn tick(&self, engine: &EngineWeak) {
        let mut idle_ticks = 0;
        while !self.ended.load(Ordering::SeqCst) {
            idle_ticks = if self.running.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks < IDLE_TICKS {
                std::thread::park_timeout(TICK);
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

/// An attempt that runs, as the ticker sees it.
#[derive(Debug)]
pub(super) struct Awake(Arc<Shared>);

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
