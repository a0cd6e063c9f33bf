//! The first start of a component, with nothing granted: proves that it starts, and asks it what it is.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentExportIndex, Instance};

use crate::config::{AttemptLimits, LimitOverride};
use crate::job::units::{ByteSize, TimeSpan};

use super::attempt::{Attempt, GuestStore};
use super::bindings::{METADATA, PluginPre};
use super::cpu::{Metered, thread_cpu_ns};
use super::egress::Grants;
use super::machine::Machine;
use super::metadata::{self, Said};
use super::outcome::{self, Phase};
use super::revision::{Runtime, is_plugin};
use super::slot::blocking;
use super::state::{self, State};
use super::ticker::Awake;
use super::{LoadError, lack, report};
use wanting::Wanting;

mod wanting;

/// The CPU time of the start, and of the description.
const CPU: TimeSpan = TimeSpan::from_secs(1);
/// The wall time of each. Longer, so that a busy machine refuses no plugin; it bounds one that sleeps.
const WALL: Duration = Duration::from_secs(5);
/// For how long of it a guest may want a processor and have none before the machine is to blame that it did not end.
const WANT_MOST: Duration = Duration::from_millis(2_500);
/// How many times that wall time it is given where the machine is to blame.
const TURNS_MAX: u32 = 4;
/// What it may print.
const OUTPUT: ByteSize = ByteSize(16 << 10);

/// Reads what a plugin says off the threads that serve. What takes too long ends by itself, as its size is bounded.
async fn read(text: String, most: ByteSize) -> Result<Said, LoadError> {
    let reading = blocking(move || {
        let before_ns = thread_cpu_ns();
        // It fails for this plugin alone.
        let read = catch_unwind(|| metadata::read(&text, most));
        (read, Duration::from_nanos(thread_cpu_ns().saturating_sub(before_ns)))
    });
    Ok(match tokio::time::timeout(WALL * TURNS_MAX, reading).await {
        Ok((_, took)) if took > WALL => Said::useless(&format!("reading it took longer than {WALL:?}")),
        Ok((Ok(read), _)) => read.unwrap_or_else(|why| Said::useless(&why)),
        Ok((Err(_panic), _)) => Said::useless("reading it failed; the log says where"),
        Err(_) => return Err(starved("read what it says of itself")),
    })
}

/// Others take the processors.
fn starved(what_for: &str) -> LoadError {
    report::host_failed(&format!("the machine had no processor to {what_for} within {:?}", WALL * TURNS_MAX))
}

/// A component that has started.
pub(super) struct Trial {
    most: ByteSize,
    attempt: Arc<Attempt>,
    store: GuestStore,
    instance: Instance,
    _awake: Awake,
}

/// Has a guest do that. None where it takes too long, though there was time for it. Where there was none it is given more.
async fn in_time<T>(attempt: &Attempt, what_for: &str, work: impl Future<Output = T>) -> Result<Option<T>, LoadError> {
    let before = attempt.cpu.spent();
    let mut work = Wanting::new(Metered::new(attempt.cpu.clone(), Box::pin(work)));
    for turn in 1..=TURNS_MAX {
        if let Ok(done) = tokio::time::timeout(WALL, &mut work).await {
            return Ok(Some(done));
        }
        let wanted = work.wanted().saturating_sub(attempt.cpu.spent().saturating_sub(before));
        if wanted < WANT_MOST * turn {
            return Ok(None);
        }
    }
    Err(starved(what_for))
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
    let started = in_time(&attempt, "start it", pre.instance_pre().instantiate_async(&mut store)).await?;
    let instance = match started {
        Some(Ok(instance)) => instance,
        Some(Err(error)) if lack::of_wasmtime(&error) => {
            return Err(report::host_failed(&format!("there is no room to start it: {error:#}")));
        }
        Some(Err(error)) => {
            let outcome = outcome::of_error(&error, Phase::Start, store.data());
            return Err(report::no_start(outcome.message().unwrap_or_default()));
        }
        None => return Err(report::no_start(&format!("it took longer than {WALL:?}"))),
    };
    is_plugin(&mut store, &instance)?;
    Ok(Trial { most: runtime.limits.describe, attempt, store, instance, _awake: awake })
}

impl Trial {
    /// What it says of itself, where it says anything. What makes no sense is told beside the revision, no more; what the
    /// host lacks to ask it is not the component's word.
    pub(super) async fn described(mut self) -> Result<Said, LoadError> {
        let Some(function) = self.describe() else { return Ok(Said::default()) };
        let describe = match self.instance.get_typed_func::<(), (String,)>(&mut self.store, &function) {
            Ok(describe) => describe,
            Err(error) => return Ok(Said::useless(&format!("it is of another type: {}", error.root_cause()))),
        };
        match in_time(&self.attempt, "ask it what it is", describe.call_async(&mut self.store, ())).await? {
            Some(Ok((text,))) => read(text, self.most).await,
            Some(Err(error)) => {
                let guest = self.store.data();
                // Where it has too many calls of its own wait, it is what the places are taken by.
                if lack::of_wasmtime(&error) && !(guest.is_to_blame && lack::of_places(&error)) {
                    return Err(report::host_failed(&format!("there is no room to ask it what it is: {error:#}")));
                }
                let outcome = outcome::of_error(&error, Phase::Run, guest);
                Ok(Said::useless(outcome.message().unwrap_or_default()))
            }
            None => Ok(Said::useless(&format!("it took longer than {WALL:?}"))),
        }
    }

    /// The function that tells it.
    fn describe(&mut self) -> Option<ComponentExportIndex> {
        let interface = self.instance.get_export_index(&mut self.store, None, METADATA)?;
        self.instance.get_export_index(&mut self.store, Some(&interface), "describe")
    }
}
