//! The times of the hostile set, each beside its limit: `cargo bench --bench hostile`.
//!
//! For each kind: by how much an attempt overran what it may take, and how long the neighbour's jobs waited for their
//! call beside it, against how long they waited alone in the same run. `HOSTILE_REPEATS` and `HOSTILE_KIND` choose.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/hostile/set.rs"]
mod set;

use std::time::Duration;

use set::kinds::Kind;
use set::world::World;

/// How often each kind is tried.
const REPEATS: usize = 200;
/// An attempt ends so soon after its time is up.
const OVERRUN_MS: i64 = 100;
/// The neighbour waits at most so many times as long as alone.
const RATIO: f64 = 2.0;
/// How long the neighbour is alone.
const ALONE: Duration = Duration::from_secs(10);

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let repeats = number("HOSTILE_REPEATS").unwrap_or(REPEATS);
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
        let report = world.run(kind, repeats).await;
        let beside = percentile(&report.waits_ms, 0.99);
        let overrun = report.worst_overrun_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        println!(
            "{:<20} {:>8} {overrun:>12} {:>9} {:>12} {:>7.2} {:>7}",
            report.name,
            report.repeats,
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
