//! The times of the hostile set, each beside its limit: `cargo bench --bench hostile`.
//!
//! For each kind: by how much an attempt overran what it may take, and how long the neighbour's jobs waited for their
//! call beside it, against how long they waited alone in the same run. `HOSTILE_REPEATS` and `HOSTILE_KIND` choose.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/hostile/set.rs"]
mod set;

use std::time::Duration;

use set::kinds::{Attack, Kind};
use set::world::World;

/// How often each kind is tried at once.
const REPEATS: usize = 100;
/// The same where a component is checked, compiled and tried each time, in processes of their own.
const LOADS: usize = 20;
/// Each is tried until the neighbour had so many jobs beside it.
const JOBS: usize = 200;
/// An attempt ends so soon after its time is up.
const OVERRUN_MS: i64 = 100;
/// The neighbour waits at most so many times as long as alone.
const RATIO: f64 = 2.0;
/// How long the neighbour is alone.
const ALONE: Duration = Duration::from_secs(10);

fn main() {
    let repeats = common::number("HOSTILE_REPEATS").unwrap_or(REPEATS);
    let only = std::env::var("HOSTILE_KIND").ok();
    let kinds = set::kinds::all().into_iter().flat_map(|(_, kinds)| kinds);
    let kinds: Vec<Kind> = kinds.filter(|kind| only.as_deref().is_none_or(|only| only == kind.name)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(report(&kinds, repeats));
}

async fn report(kinds: &[Kind], repeats: usize) {
    let world = World::start(kinds).await;
    // Not counted: pages are touched, connections made.
    alone(&world).await;
    let baseline = percentile(&alone(&world).await, 0.99);
    println!("the neighbour alone waits {baseline:.2} ms at the 99th percentile\n");
    println!(
        "{:<20} {:>8} {:>12} {:>9} {:>12} {:>7} {:>7}",
        "kind", "repeats", "overrun", "limit", "p99 beside", "ratio", "limit"
    );
    for kind in kinds {
        world.run(kind, 1).await;
        let (mut waits_ms, mut overrun_ms, mut tries) = (Vec::new(), None, 0);
        while waits_ms.len() < JOBS {
            let is_loaded = matches!(kind.attack, Attack::Load(_) | Attack::File(_));
            let report = world.run(kind, if is_loaded { repeats.min(LOADS) } else { repeats }).await;
            waits_ms.extend(report.waits_ms);
            overrun_ms = overrun_ms.max(report.worst_overrun_ms);
            tries += report.repeats;
        }
        let beside = percentile(&waits_ms, 0.99);
        let overrun = overrun_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        println!(
            "{:<20} {tries:>8} {overrun:>12} {:>9} {:>12} {:>7.2} {:>7}",
            kind.name,
            format!("{OVERRUN_MS} ms"),
            format!("{beside:.2} ms"),
            beside / baseline,
            RATIO
        );
    }
}

async fn alone(world: &World) -> Vec<f64> {
    let load = world.neighbour.begin(&world.host.client, &world.host.base);
    tokio::time::sleep(ALONE).await;
    load.end().await
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
