//! What a store holds for the time of one attempt, and the limits that are set on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::job::LogLevel;

use super::attempt::Attempt;
use super::cpu;
use super::engine::Concurrency;
use super::heavy;
use super::host_calls::{Calls, HostCallsExceeded};
use super::limits::{MemoryExceeded, MemoryLimiter};
use super::machine::Machine;
use super::output::Output;
use super::wasi_http::{Held, Hooks, fields_bytes_max};

/// What a guest can hand over in one call beside the largest body or result: headers, messages, attributes.
const HANDED_OVER_BYTES: u64 = 1 << 20;

/// How long a guest may go on before others of its thread have a turn: on a thread that serves, until it counts as one that
/// computes. A shorter one has many guests half done at once.
const TURN: Duration = heavy::HEAVY_AFTER;

/// The CPU time of the attempt is used up.
#[derive(Debug, thiserror::Error)]
#[error("the attempt used up its CPU time of {limit:?}; raise limits.cpu if that is too little")]
pub(super) struct CpuExceeded {
    limit: Duration,
}

/// The data of a store.
pub(super) struct State {
    /// The attempt that it serves.
    pub(super) attempt: Arc<Attempt>,
    limiter: MemoryLimiter,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    /// What it holds by `wasi:http`.
    held: Held,
    /// Its memory is used up by what it holds by `wasi:http`.
    exceeded: Option<MemoryExceeded>,
    /// What calls find who may hold nothing more: they trap.
    nothing: ResourceTable,
    outputs: [Output; 2],
    /// What it has cost the host.
    pub(super) calls: Calls,
    /// How many threads of control the guest has.
    pub(super) concurrency: Concurrency,
    /// Whether it is its own doing where there is no stack for it while it runs.
    pub(super) is_to_blame: bool,
}

/// A store for one attempt, with every limit set. The instance takes so much of the host beside its memories and tables.
pub(super) fn store(machine: &Machine, held_bytes: u64, attempt: Arc<Attempt>) -> Store<State> {
    let (limits, met) = (attempt.limits, machine.ticker.met());
    let mut store = Store::new(&machine.engine, State::new(machine, held_bytes, attempt));
    store.limiter(|state| &mut state.limiter);
    let handed_over_bytes = limits.result.max(limits.request).0.saturating_add(HANDED_OVER_BYTES);
    store.set_hostcall_fuel(usize::try_from(handed_over_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(usize::try_from(limits.handles).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    // Ticks come late on a busy machine, so that they only ask: what counts is the time that the thread took.
    store.epoch_deadline_callback(move |store| {
        let limit = limits.cpu.0;
        if store.data().attempt.cpu.spent_within_poll() >= limit {
            return Err(CpuExceeded { limit }.into());
        }
        store.data().check_calls()?;
        if heavy::is_here() {
            met.one_that_computes();
            // The thread gives way: the system looks at who waits for the processor at its own ticks only, which are rare.
            std::thread::yield_now();
        }
        if cpu::turn() < TURN {
            return Ok(UpdateDeadline::Continue(1));
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}

impl State {
    fn new(machine: &Machine, held_bytes: u64, attempt: Arc<Attempt>) -> Self {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(fields_bytes_max(&attempt.limits));
        let outputs = [LogLevel::Stdout, LogLevel::Stderr].map(|level| Output::new(attempt.clone(), level));
        Self {
            limiter: MemoryLimiter::new(&attempt.limits, held_bytes, attempt.memory_peak_bytes.clone()),
            wasi: wasi(&outputs),
            http,
            hooks: Hooks::new(attempt.clone()),
            table: small_table(attempt.limits.handles),
            held: Held::new(&attempt.limits),
            exceeded: None,
            nothing: small_table(0),
            attempt,
            outputs,
            calls: Calls::default(),
            concurrency: machine.concurrency,
            is_to_blame: machine.is_to_blame,
        }
    }

    /// Counts a call of one of our own functions, which can refuse.
    pub(super) fn called(&mut self) -> Result<(), HostCallsExceeded> {
        self.calls.count();
        self.check_calls()
    }

    /// Whether the guest is within what it may cost the host.
    pub(super) fn check_calls(&self) -> Result<(), HostCallsExceeded> {
        self.calls.check(&self.attempt)
    }

    /// Serves another attempt from now on. What the guest holds stays as it is.
    pub(super) fn serve(&mut self, attempt: Arc<Attempt>) {
        self.limiter.serve(attempt.memory_peak_bytes.clone());
        self.calls = Calls::default();
        self.hooks = Hooks::new(attempt.clone());
        self.outputs.iter().for_each(|output| output.serve(attempt.clone()));
        self.attempt = attempt;
    }

    /// Keeps the lines that the guest has begun and not ended.
    pub(super) fn end_lines(&self) {
        self.outputs.iter().for_each(Output::end);
    }

    /// How many handles the guest holds.
    pub(super) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// Whether its memory allows for an instance.
    pub(super) fn check_memory(&self) -> Result<(), MemoryExceeded> {
        self.limiter.check()
    }

    /// It gives those trailers to a body, where nobody sees them any more.
    pub(super) fn hands_over_trailers(&mut self, trailers: &Resource<FieldMap>) -> wasmtime::Result<()> {
        self.held.trailers(self.table.get(trailers)?);
        Ok(())
    }

    /// Why its calls of `wasi:http` trap, where they do for its memory.
    pub(super) fn exceeded(&self) -> Option<&MemoryExceeded> {
        self.exceeded.as_ref()
    }

    /// What all memories and tables hold, and what counts beside them.
    pub(super) fn held_bytes(&self) -> u64 {
        self.limiter.held_bytes()
    }
}

/// A table for the guest's handles, small: it needs a handful a call.
fn small_table(handles_max: u32) -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(usize::try_from(handles_max).unwrap_or(usize::MAX));
    table
}

/// Nothing is granted here: no environment, no arguments, no folder, no name lookup, and not even a socket that leads
/// nowhere, as each takes a descriptor of the host. The clocks are the machine's.
fn wasi([stdout, stderr]: &[Output; 2]) -> WasiCtx {
    WasiCtxBuilder::new().stdout(stdout.clone()).stderr(stderr.clone()).allow_tcp(false).allow_udp(false).build()
}

impl WasiView for State {
    /// Each call of WASI comes through here once.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.calls.count();
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    /// Each call of `wasi:http` comes through here once. It cannot be refused here, but needs the table to do anything.
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.calls.count();
        let (untaken, left) = (self.attempt.untaken_bytes.load(Ordering::Relaxed), self.limiter.left_beside());
        if let Some(bytes) = self.held.before_call(&mut self.table, untaken, left) {
            self.exceeded = self.limiter.beside(bytes).err();
        }
        let table = if self.exceeded.is_some() { &mut self.nothing } else { &mut self.table };
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.http }
    }
}
