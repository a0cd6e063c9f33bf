//! The engine: which WebAssembly is taken, how it is compiled, and where instances live.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::config::Limits;

use super::{survey, warm};

/// What describes one instance. Components of Python and C# are above wasmtime's default of 1 MiB.
const INSTANCE_BYTES_MAX: usize = 10 << 20;
/// Instances beyond the attempts: trials of new revisions, and attempts that are just being dropped.
const SPARE_INSTANCES: u32 = 16;
/// What stays in memory of a used slot: clearing that much is faster than giving it back to the system.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;
/// How many unused slots keep what they hold: bounds the memory of an idle host.
const WARM_SLOTS_MAX: u32 = 64;
/// The address space that the pool may take: a quarter of what a process has.
const ADDRESS_SPACE_MAX: u64 = 1 << 45;
/// What a memory takes of it by default: so much that no bounds need checking.
const RESERVATION_BYTES: u64 = 4 << 30;
/// A page of WebAssembly memory.
const PAGE_BYTES: u64 = 64 << 10;

/// How many threads of control a guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concurrency {
    /// One, as in WASI 0.2.
    One,
    /// Several that wait for each other, as in WASI 0.3.
    Several,
}

/// The engine for those limits: with a pool of instances, or where the address space has no room for it without.
pub(super) fn start(limits: &Limits, concurrency: Concurrency) -> anyhow::Result<Engine> {
    let mut pooled = config(limits, concurrency);
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    match Engine::new(&pooled) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "there is no room for a pool of instances: each is made by itself, which is slower"
            );
            Engine::new(&config(limits, concurrency))
                .map_err(|error| anyhow::anyhow!("cannot start WebAssembly: {error:#}"))
        }
    }
}

/// An engine of the same settings that only compiles: where instances live makes no difference to their code, and a
/// pool of them would need the address space that compiling is not given.
pub(super) fn for_compiling(limits: &Limits, concurrency: Concurrency) -> anyhow::Result<Engine> {
    Engine::new(&config(limits, concurrency)).map_err(|error| anyhow::anyhow!("cannot start the compiler: {error:#}"))
}

/// The engine's version and settings, and by which rules components are surveyed, as a name: code of another one does not
/// fit.
pub(super) fn identity(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    survey::EDITION.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn config(limits: &Limits, concurrency: Concurrency) -> Config {
    let mut config = Config::new();
    config.concurrency_support(concurrency == Concurrency::Several);
    config.wasm_component_model_async(concurrency == Concurrency::Several);
    config.epoch_interruption(true);
    // What a component says of where its code comes from is read without a bound on depth or time, on the stack of whom
    // it would be read for.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.cranelift_opt_level(OptLevel::Speed);
    // A compilation stays on its own thread, of low priority, and leaves the other cores to the jobs.
    config.parallel_compilation(false);
    // No toolchain for components emits it.
    config.wasm_memory64(false);
    let slots = u64::from(slots(limits)) * u64::from(limits.memories);
    if slots * RESERVATION_BYTES > ADDRESS_SPACE_MAX {
        config.memory_reservation(memory_bytes(limits));
    }
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let slots = slots(limits);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits.instances))
        .total_memories(slots.saturating_mul(limits.memories))
        .total_tables(slots.saturating_mul(limits.tables))
        .total_stacks(slots)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instances_per_component(limits.instances)
        .max_memories_per_component(limits.memories)
        .max_tables_per_component(limits.tables)
        .max_tables_per_module(limits.tables)
        .table_elements(usize::try_from(limits.table_elements).unwrap_or(usize::MAX))
        .max_memory_size(usize::try_from(memory_bytes(limits)).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(WARM_SLOTS_MAX)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// How many instances there can be at once.
#[must_use]
pub fn slots(limits: &Limits) -> u32 {
    limits.concurrency + warm::INSTANCES_MAX + SPARE_INSTANCES
}

/// The largest single memory: all that an attempt may hold, in whole pages.
fn memory_bytes(limits: &Limits) -> u64 {
    limits.memory.0.div_ceil(PAGE_BYTES) * PAGE_BYTES
}
