//! Modelled downstreams: how long a call takes there, and what comes of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use windlass::clock::Chance;
use windlass::job::OutcomeKind;

/// Microseconds of virtual time.
pub type Us = i64;
/// A second of it.
pub const SECOND: Us = 1_000_000;

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it is over.
    pub at: Us,
    /// As what.
    pub kind: OutcomeKind,
    /// How long the downstream wants to be left alone.
    pub delay_ms: Option<u32>,
}

/// When a downstream is up.
#[derive(Clone, Copy, Debug)]
pub enum Uptime {
    /// Always.
    Always,
    /// Not before then.
    From(Us),
    /// So long up, as long down, and so on, beginning with up.
    Flapping(Us),
}

impl Uptime {
    /// Whether it is up then.
    pub fn is_up(self, now: Us) -> bool {
        match self {
            Self::Always => true,
            Self::From(from) => now >= from,
            Self::Flapping(span) => now / span % 2 == 0,
        }
    }
}

/// How a downstream works.
#[derive(Clone, Debug)]
pub enum Work {
    /// So many at once, each for so long; the others queue.
    Servers { free_at: BinaryHeap<Reverse<Us>>, service: Us },
    /// Up to `knee` at once in `base` each; beyond, everybody is slower than in proportion.
    Degrading { knee: f64, base: Us },
    /// So many a window; the others are told to come back at its end.
    Quota { per_window: u32, window: Us, counted: (Us, u32) },
}

/// A downstream.
#[derive(Clone, Debug)]
pub struct Downstream {
    pub uptime: Uptime,
    pub work: Work,
    /// How many calls are there.
    pub inside: u32,
}

impl Downstream {
    /// One that serves `per_second`, each call for `service`.
    pub fn of_capacity(per_second: i64, service: Us, uptime: Uptime) -> Self {
        let servers = (per_second * service / SECOND).max(1);
        let free_at = (0..servers).map(|_| Reverse(0)).collect();
        Self { uptime, work: Work::Servers { free_at, service }, inside: 0 }
    }

    /// A call arrives.
    pub fn call(&mut self, now: Us, chance: &Chance) -> Answer {
        self.inside += 1;
        let answer = |after: Us, kind| Answer { at: now + after.max(1), kind, delay_ms: None };
        if !self.uptime.is_up(now) {
            return answer(3_000, OutcomeKind::TryAgain);
        }
        let spread = |time: Us| (time as f64 * (0.9 + 0.2 * chance.unit())) as Us;
        match &mut self.work {
            Work::Servers { free_at, service } => {
                let Reverse(free) = free_at.pop().expect("it has a server");
                let done = free.max(now) + spread(*service);
                free_at.push(Reverse(done));
                // Who waits longer than a client does gets nothing.
                let kind = if done - now > 30 * SECOND { OutcomeKind::UnknownOutcome } else { OutcomeKind::Completed };
                answer((done - now).min(30 * SECOND), kind)
            }
            Work::Degrading { knee, base } => {
                let crowd = (f64::from(self.inside) / *knee).max(1.0);
                answer(spread((*base as f64 * crowd.powf(1.5)) as Us), OutcomeKind::Completed)
            }
            Work::Quota { per_window, window, counted } => {
                let present = now / *window;
                if counted.0 != present {
                    *counted = (present, 0);
                }
                if counted.1 < *per_window {
                    counted.1 += 1;
                    return answer(spread(5_000), OutcomeKind::Completed);
                }
                let left_ms = ((present + 1) * *window - now) / 1_000 + 1;
                Answer { delay_ms: u32::try_from(left_ms).ok(), ..answer(2_000, OutcomeKind::RateLimited) }
            }
        }
    }
}
