//! The lives of the host: when each began, was ready, and was killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use windlass::clock::Stopwatch;

/// How often the test looks whether the machine lets it run.
const BEAT: Duration = Duration::from_millis(10);

/// One life.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// When it began.
    pub began: i64,
    /// When it was seen to be ready. None where it was killed before.
    pub ready: Option<i64>,
    /// Just before it was killed. None while it lives.
    pub killed: Option<i64>,
    /// When it was certainly dead.
    pub dead: Option<i64>,
    /// The longest that this test itself was kept from running during it, in milliseconds.
    pub stall: i64,
}

/// All lives so far.
#[derive(Clone, Debug, Default)]
pub struct Boots(pub Vec<Boot>);

impl Boots {
    /// Another one began.
    pub fn begin(&mut self, began: i64) {
        self.0.push(Boot { began, ready: None, killed: None, dead: None, stall: 0 });
    }

    /// The present one, or the last.
    pub fn last(&mut self) -> &mut Boot {
        self.0.last_mut().expect("one began")
    }

    /// How long a ready host was there between these moments, and the longest stall of the machine in those lives.
    pub fn up_between(&self, from: i64, to: i64) -> (i64, i64) {
        let mut sum = (0, 0);
        for boot in &self.0 {
            let (Some(ready), killed) = (boot.ready, boot.killed.unwrap_or(i64::MAX)) else { continue };
            let overlap = killed.min(to) - ready.max(from);
            if overlap > 0 {
                sum = (sum.0 + overlap, sum.1.max(boot.stall));
            }
        }
        sum
    }

    /// The first kill that ended at or after this moment, and began at or before that one.
    pub fn killed_between(&self, from: i64, to: i64) -> Option<i64> {
        let mut kills = self.0.iter().filter_map(|boot| Some((boot.killed?, boot.dead?)));
        kills.find(|(killed, dead)| *dead >= from && *killed <= to).map(|(killed, _)| killed)
    }

    /// Whether the kill that came next came within so many milliseconds, and so many times the longest stall before it.
    pub fn killed_soon_after(&self, at: i64, within: i64, stalls: i64) -> bool {
        let next = self.0.iter().find(|boot| boot.dead.is_some_and(|dead| dead >= at));
        next.is_some_and(|boot| boot.killed.is_some_and(|killed| killed <= at + within + stalls * boot.stall))
    }

    pub fn kills(&self) -> usize {
        self.0.iter().filter(|boot| boot.killed.is_some()).count()
    }
}

/// Notices when the machine does not let this process run: what is measured then says little of the host.
pub struct Heart {
    worst_ms: Arc<AtomicI64>,
    _stop: mpsc::Sender<()>,
}

impl Heart {
    pub fn start() -> Self {
        let worst_ms = Arc::<AtomicI64>::default();
        let (stop, stopped) = mpsc::channel::<()>();
        let worst = worst_ms.clone();
        std::thread::spawn(move || {
            loop {
                let watch = Stopwatch::start();
                if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let late = watch.elapsed().saturating_sub(BEAT).as_millis();
                worst.fetch_max(i64::try_from(late).unwrap_or(i64::MAX), Ordering::AcqRel);
            }
        });
        Self { worst_ms, _stop: stop }
    }

    /// The worst since this was asked last.
    pub fn worst_ms(&self) -> i64 {
        self.worst_ms.swap(0, Ordering::AcqRel)
    }
}
