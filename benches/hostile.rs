//! The times of the hostile set, each beside its limit: `cargo bench --bench hostile`.
//!
//! For each kind: by how much an attempt overran what it may take, and how long the neighbour's jobs waited for their
//! call beside it, against how long they waited alone: by turns, as a machine is not the same for long. The first lines
//! are no attack: as many jobs that do no harm, which is what the load by itself makes of the neighbour's wait, and the same
//! while threads outside of the host, as low in priority as its own for guests that compute, keep each processor busy,
//! which is what the system's scheduling makes of it. What enqueues the others' jobs, judges their ends and plays their
//! downstream computes only where nobody else does: on a machine of its own it would not be in the neighbour's way either.
//! `HOSTILE_REPEATS`, `HOSTILE_CLIENTS` and `HOSTILE_KIND` choose.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/hostile/set.rs"]
mod set;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use set::kinds::{Attack, Expect, Kind};
use set::world::{Report, World};

/// How often each kind is tried at once.
const REPEATS: usize = 100;
/// The same where a component is checked, compiled and tried each time, in processes of their own.
const LOADS: usize = 20;
/// Each is tried until the neighbour had so many jobs beside it, and so many alone.
const JOBS: usize = 1_000;
/// So many clients enqueue the neighbour's jobs at once.
const CLIENTS: usize = 1;
/// How far apart the jobs of each of them are.
const APART: Duration = Duration::from_millis(3);
/// As many jobs as of every other kind.
const HARMLESS: Kind = Kind {
    name: "(no attack)",
    does: "answers",
    attack: Attack::Verb(r#"{"do": "echo"}"#),
    expect: Expect::Outcome("completed"),
    limit: "",
    repeats_max: usize::MAX,
};
/// The same, for the line on which each processor is busy.
const BESIDE_BUSY: Kind = Kind { name: "(busy, no attack)", ..HARMLESS };
/// An attempt ends so soon after its time is up.
const OVERRUN_MS: i64 = 100;
/// The neighbour waits at most so many times as long as alone.
const RATIO: f64 = 2.0;
/// How long the neighbour is alone each time.
const ALONE: Duration = Duration::from_secs(1);

fn main() {
    let repeats = common::number("HOSTILE_REPEATS").unwrap_or(REPEATS);
    let only = std::env::var("HOSTILE_KIND").ok();
    let kinds = set::kinds::all().into_iter().flat_map(|(_, kinds)| kinds);
    let kinds: Vec<Kind> = kinds.filter(|kind| only.as_deref().is_none_or(|only| only == kind.name)).collect();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().on_thread_start(stand_back).build().expect("a runtime");
    runtime.block_on(report(&kinds, repeats));
}

async fn report(kinds: &[Kind], repeats: usize) {
    // Here, as the host has the priority of whoever starts it.
    let mut world = World::start(kinds).await;
    world.neighbour.apart = APART;
    world.neighbour.clients = common::number("HOSTILE_CLIENTS").unwrap_or(CLIENTS);
    let world = Arc::new(world);
    // Not counted: pages are touched, connections made.
    alone(&world).await;
    println!(
        "{:<20} {:>8} {:>9} {:>7} {:>10} {:>10} {:>6} {:>6}",
        "kind", "repeats", "overrun", "limit", "p99 beside", "p99 alone", "ratio", "limit"
    );
    line(&world, &HARMLESS, repeats, false).await;
    line(&world, &BESIDE_BUSY, repeats, true).await;
    for kind in kinds {
        line(&world, kind, repeats, false).await;
    }
}

async fn line(world: &Arc<World>, kind: &Kind, repeats: usize, is_busy: bool) {
    let is_loaded = matches!(kind.attack, Attack::Load(_) | Attack::File(_));
    let repeats = if is_loaded { repeats.min(LOADS) } else { repeats };
    // More of what is tried a few times only would stop its plugin.
    let is_rare = kind.repeats_max < repeats;
    if !is_rare {
        run(world, kind, 1).await;
    }
    let (mut waits_ms, mut alone_ms, mut overrun_ms, mut tries) = (Vec::new(), Vec::new(), None, 0);
    while waits_ms.len().min(alone_ms.len()) < JOBS && !(is_rare && tries > 0) {
        if alone_ms.len() <= waits_ms.len() {
            alone_ms.extend(alone(world).await);
        }
        let busy = is_busy.then(Busy::begin);
        let report = run(world, kind, repeats).await;
        drop(busy);
        waits_ms.extend(report.waits_ms);
        overrun_ms = overrun_ms.max(report.worst_overrun_ms);
        tries += report.repeats;
    }
    let (beside, alone) = (percentile(&waits_ms, 0.99), percentile(&alone_ms, 0.99));
    let overrun = overrun_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    println!(
        "{:<20} {tries:>8} {overrun:>9} {:>7} {:>10} {:>10} {:>6.2} {RATIO:>6}",
        kind.name,
        format!("{OVERRUN_MS} ms"),
        format!("{beside:.2} ms"),
        format!("{alone:.2} ms"),
        beside / alone,
    );
}

/// On one of the runtime's threads, which stand back.
async fn run(world: &Arc<World>, kind: &Kind, repeats: usize) -> Report {
    let (world, kind) = (world.clone(), kind.clone());
    tokio::spawn(async move { world.run(&kind, repeats).await }).await.expect("it ends as it must")
}

async fn alone(world: &World) -> Vec<f64> {
    let load = world.neighbour.begin(&world.host.client, &world.host.base);
    tokio::time::sleep(ALONE).await;
    load.end().await
}

/// Threads that compute, one a processor, until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                windlass::plugin::give_way().expect("a lower priority");
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::black_box(0);
                }
            });
        }
        Self(is_over)
    }
}

fn stand_back() {
    windlass::plugin::stand_back().expect("every thread may stand back");
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
