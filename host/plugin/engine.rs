//! The engine: which WebAssembly is taken, how it is compiled, and where instances live.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::config::Limits;

use super::survey::{self, CALLABLE_MAX};
use super::warm;

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
/// Stacks that a store of the asynchronous engine can need beside those of the calls that wait in it: one on which the next
/// one begins, and one that was left.
const SPARE_STACKS: u32 = 2;
/// The most stacks, as each takes two mappings of memory, of which a process has 65,530 unless its system says otherwise.
/// Where there are more places than that has stacks for, a place has fewer.
const STACKS_MAX: u32 = 8_192;
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
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits, concurrency)));
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

fn pool(limits: &Limits, concurrency: Concurrency) -> PoolingAllocationConfig {
    let slots = slots(limits);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits.instances))
        .total_memories(slots.saturating_mul(limits.memories))
        .total_tables(slots.saturating_mul(limits.tables))
        .total_stacks(stacks(slots, concurrency))
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

/// How many stacks there are for so many places: as many as all guests together can take, whatever they do. wasmtime makes
/// one for each call that waits, and no part of a component has two: neither calls without a callback nor threads are on.
fn stacks(slots: u32, concurrency: Concurrency) -> u32 {
    match concurrency {
        Concurrency::One => slots,
        Concurrency::Several => slots.max(all_stacks(slots).min(STACKS_MAX)),
    }
}

fn all_stacks(slots: u32) -> u32 {
    slots.saturating_mul(CALLABLE_MAX + SPARE_STACKS)
}

/// Whether a guest that finds no stack while it runs has them all itself: no other can take what it needs.
pub(super) fn is_to_blame(limits: &Limits, concurrency: Concurrency) -> bool {
    concurrency == Concurrency::Several && stacks(slots(limits), concurrency) >= all_stacks(slots(limits))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_stacks_for_all_unless_there_are_very_many_places() {
        for (concurrency, of_one, of_several, is_enough) in [
            (256, 336, 3_360, true),
            (739, 819, 8_190, true),
            (740, 820, 8_192, false),
            (10_000, 10_080, 10_080, false),
        ] {
            let limits = Limits { concurrency, ..Limits::default() };
            assert_eq!(stacks(slots(&limits), Concurrency::One), of_one);
            assert_eq!(stacks(slots(&limits), Concurrency::Several), of_several);
            assert_eq!(is_to_blame(&limits, Concurrency::Several), is_enough);
            assert!(!is_to_blame(&limits, Concurrency::One));
        }
    }
}
