//! The first start of a component, with nothing granted: proves that it starts, and asks it what it is.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Instance;

use crate::config::{AttemptLimits, LimitOverride};
use crate::job::units::{ByteSize, TimeSpan};

use super::attempt::{Attempt, GuestStore};
use super::bindings::{METADATA, PluginPre};
use super::cpu::Metered;
use super::egress::Grants;
use super::machine::Machine;
use super::metadata::{self, Description, PayloadSchema};
use super::outcome::{self, Phase};
use super::revision::{Runtime, is_plugin};
use super::slot::blocking;
use super::state::{self, State};
use super::ticker::Awake;
use super::{LoadError, lack, report};

/// The CPU time of the start, and of the description.
const CPU: TimeSpan = TimeSpan::from_secs(1);
/// The wall time of each. Longer, so that a busy machine refuses no plugin; it bounds one that sleeps.
const WALL: Duration = Duration::from_secs(5);
/// What it may print.
const OUTPUT: ByteSize = ByteSize(16 << 10);

/// Reads what a plugin says off the threads that serve. What takes too long ends by itself, as its size is bounded.
async fn read(text: String, most: ByteSize) -> Result<(Description, Option<PayloadSchema>), String> {
    // It fails for this plugin alone.
    let reading = blocking(move || catch_unwind(|| metadata::read(&text, most)));
    match tokio::time::timeout(WALL, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(_panic)) => Err("reading it failed; the log says where".to_owned()),
        Err(_) => Err(format!("reading it took longer than {WALL:?}")),
    }
}

/// A component that has started.
pub(super) struct Trial {
    describe: ByteSize,
    attempt: Arc<Attempt>,
    store: GuestStore,
    instance: Instance,
    _awake: Awake,
}

/// Starts it once.
pub(super) async fn start(
    runtime: &Arc<Runtime>,
    machine: &Machine,
    pre: &PluginPre<State>,
    held_bytes: u64,
) -> Result<Trial, LoadError> {
    let limits = AttemptLimits { cpu: CPU, output: OUTPUT, ..runtime.limits.attempt(&LimitOverride::default()) };
    let attempt = Attempt::start(limits, WALL, Arc::<Grants>::default(), None, runtime.clock.clone());
    let awake = machine.ticker.begin();
    let mut store = state::store(machine, held_bytes, attempt.clone());
    let started = Metered::new(attempt.cpu.clone(), Box::pin(pre.instance_pre().instantiate_async(&mut store)));
    let instance = match tokio::time::timeout(WALL, started).await {
        Ok(Ok(instance)) => instance,
        Ok(Err(error)) if lack::of_wasmtime(&error) => {
            return Err(report::host_failed(&format!("there is no room to start it: {error:#}")));
        }
        Ok(Err(error)) => {
            let outcome = outcome::of_error(&error, Phase::Start, store.data());
            return Err(report::no_start(outcome.message().unwrap_or_default()));
        }
        Err(_) => return Err(report::no_start(&format!("it took longer than {WALL:?}"))),
    };
    is_plugin(&mut store, &instance)?;
    Ok(Trial { describe: runtime.limits.describe, attempt, store, instance, _awake: awake })
}

impl Trial {
    /// What it says of itself, where it says anything. What makes no sense is a line in the log, no more.
    pub(super) async fn described(mut self) -> Option<(Description, Option<PayloadSchema>)> {
        let interface = self.instance.get_export_index(&mut self.store, None, METADATA)?;
        let function = self.instance.get_export_index(&mut self.store, Some(&interface), "describe")?;
        let described = match self.instance.get_typed_func::<(), (String,)>(&mut self.store, &function) {
            Ok(describe) => {
                let answer = Metered::new(self.attempt.cpu.clone(), Box::pin(describe.call_async(&mut self.store, ())));
                match tokio::time::timeout(WALL, answer).await {
                    Ok(Ok((text,))) => read(text, self.describe).await,
                    Ok(Err(error)) => {
                        let outcome = outcome::of_error(&error, Phase::Run, self.store.data());
                        Err(outcome.message().unwrap_or_default().to_owned())
                    }
                    Err(_) => Err(format!("it took longer than {WALL:?}")),
                }
            }
            Err(error) => Err(format!("it is of another type: {}", error.root_cause())),
        };
        described.inspect_err(|why| tracing::warn!(why, "a plugin's metadata.describe is of no use")).ok()
    }
}
