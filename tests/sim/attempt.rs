//! One attempt: the call of a downstream, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use windlass::clock::UnixMs;
use windlass::job::{Calls, Completion, Evidence, Exchange, Fault, HostFault, Outcome, OutcomeKind, Setback};

use crate::draw::Draw as _;
use crate::plan::Weather;
use crate::plugins::OnShelf;
use crate::trace::Effect;
use crate::world::World;

/// The wall time of an attempt.
const DEADLINE: Duration = Duration::from_secs(30);

/// How late an attempt ends that was called off, at most.
const LATE_MS: usize = 8_000;

/// See the module.
pub struct Attempt<'a> {
    pub world: &'a Arc<World>,
    pub life: u32,
    pub downstream: usize,
    pub place: i64,
    pub number: usize,
    pub n: u32,
    /// The outage that it is a probe of, by its beginning.
    pub probes: Option<UnixMs>,
}

impl Attempt<'_> {
    /// Runs it to its end, whatever that is.
    pub async fn run(&self, plugin: &OnShelf, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        let (job, n) = (self.number, self.n);
        self.world.effect(self.life, Effect::Begins { job, n }).await;
        let (outcome, evidence) = match self.call(plugin, cancelled).await {
            Some(answer) => answer,
            None => (self.called_off().await, Evidence::default()),
        };
        self.world.effect(self.life, Effect::Ends { job, n, kind: outcome.kind() }).await;
        self.end(&outcome, evidence.calls.made > 0);
        (outcome, evidence)
    }

    /// None: it was called off meanwhile.
    async fn call(&self, plugin: &OnShelf, cancelled: &CancellationToken) -> Option<(Outcome, Evidence)> {
        self.step(cancelled).await?;
        if !self.world.state().is_healed && self.world.chance.happens(self.world.plan.trouble / 3.0) {
            self.world.state().tally.count("attempt without an instance");
            return Some((
                try_again("no instance"),
                Evidence { crowded: true, not_begun: true, ..Evidence::default() },
            ));
        }
        if !plugin.is_granted {
            self.world.state().tally.count("denied attempt");
            let outcome = Outcome::Host(HostFault::Denied, "the origin is not granted".to_owned());
            return Some((outcome, Evidence::default()));
        }
        if plugin.traps {
            return Some((Outcome::Host(HostFault::Trap, "unreachable".to_owned()), Evidence::default()));
        }
        self.send();
        self.step(cancelled).await?;
        let (weather, is_up) = {
            let state = self.world.state();
            let downstream = &state.downstreams[self.downstream];
            (downstream.weather, downstream.is_up(state.now()))
        };
        match weather {
            _ if is_up => self.answer(cancelled).await,
            Weather::Limits(ms) => Some((limited(ms), called(Some(429), None))),
            Weather::Hangs => {
                tokio::select! {
                    biased;
                    () = cancelled.cancelled() => return None,
                    () = tokio::time::sleep(DEADLINE) => {}
                }
                let outcome = Outcome::Host(HostFault::Deadline, "no answer in time".to_owned());
                Some((outcome, called(None, Some("no answer"))))
            }
            Weather::Up | Weather::Down | Weather::Flaps => Some((try_again("503"), called(Some(503), None))),
        }
    }

    /// The downstream is well, and does it, but for what goes wrong all the same.
    async fn answer(&self, cancelled: &CancellationToken) -> Option<(Outcome, Evidence)> {
        let trouble = if self.world.state().is_healed { 0.0 } else { self.world.plan.trouble };
        if self.world.chance.happens(trouble) {
            return Some(match self.world.chance.below(3) {
                0 => (
                    Outcome::Reject(Fault { message: "no such order".to_owned(), code: None }),
                    called(Some(422), None),
                ),
                1 => (Outcome::Host(HostFault::Memory, "too much".to_owned()), Evidence::default()),
                _ => (try_again("500"), called(Some(500), None)),
            });
        }
        self.world.effect(self.life, Effect::Done { job: self.number, n: self.n }).await;
        self.do_it();
        self.step(cancelled).await?;
        if self.world.chance.happens(trouble / 3.0) {
            self.world.state().tally.count("lost answer");
            let fault = Fault { message: "no answer came".to_owned(), code: None };
            return Some((Outcome::UnknownOutcome(fault), called(None, Some("reset"))));
        }
        self.answered();
        Some((Outcome::Completed(Completion::default()), called(Some(200), None)))
    }

    /// It was told to end, and does so at once or some time later, with whatever it has by then.
    async fn called_off(&self) -> Outcome {
        let cancelled = Outcome::Host(HostFault::Cancelled, "the job was cancelled".to_owned());
        if self.world.chance.happens(0.6) {
            return cancelled;
        }
        self.world.state().tally.count("attempt that ended late");
        tokio::time::sleep(Duration::from_millis(self.world.chance.below(LATE_MS) as u64)).await;
        match self.world.chance.below(3) {
            0 => Outcome::Completed(Completion::default()),
            1 => try_again("late"),
            _ => cancelled,
        }
    }

    /// A step of the call: mostly short, and now and then long. None: it was called off meanwhile.
    async fn step(&self, cancelled: &CancellationToken) -> Option<()> {
        let most_ms = self.world.chance.one_of(&[100, 400, 400, 400, 400, 20_000]);
        let pause = Duration::from_millis(self.world.chance.below(most_ms) as u64);
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        if !pause.is_zero() {
            self.goes_on();
        }
        Some(())
    }
}

fn try_again(message: &str) -> Outcome {
    Outcome::TryAgain(Setback { message: message.to_owned(), code: None, delay_ms: None })
}

fn limited(ms: u32) -> Outcome {
    Outcome::RateLimited(Setback { message: "429".to_owned(), code: None, delay_ms: Some(ms) })
}

/// The evidence of one call.
fn called(status: Option<u16>, error: Option<&str>) -> Evidence {
    let exchange = Exchange {
        method: "POST".to_owned(),
        url: "https://downstream.example/".to_owned(),
        status,
        retry_after_ms: None,
        error: error.map(str::to_owned),
        started_at: UnixMs(0),
        head_us: None,
        total_us: 50_000,
        sent_bytes: 0,
        received_bytes: 0,
    };
    let calls = Calls::one(&exchange, error.is_none());
    Evidence { exchanges: vec![exchange], calls, ..Evidence::default() }
}

/// Whether a failure of that kind would be tried again.
pub fn is_retried(kind: OutcomeKind) -> bool {
    use OutcomeKind::{Cancelled, Completed, Denied, Interrupted, Reject, ResultTooLarge};
    !matches!(kind, Completed | Reject | Cancelled | Denied | Interrupted | ResultTooLarge)
}
