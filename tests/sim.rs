//! Years of virtual time for the state machines that decide: dispatch order, gates and retries, driven together with a
//! modelled store, downstreams that come and go, crashes, and people who cancel and retry.
//!
//! One seed, one history. A failing run prints its seed; `SIM_SEED=n cargo test --test sim` replays it alone, and
//! `SIM_RUNS=n` makes more runs than the usual.

#[path = "sim/world.rs"]
mod world;

use world::World;

/// How many seeds a usual run tries.
const RUNS: u64 = 2_000;

#[test]
fn every_job_comes_to_its_end_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.conclude_all();
        });
        assert!(run.is_ok(), "seed {seed} failed; replay it with SIM_SEED={seed} cargo test --test sim");
    }
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::new(seed);
        world.run();
        world.history()
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
