//! Sudden ends of the host under a mixed load, again and again: jobs one by one, with keys and in batches, cancelled and
//! sent again by people, tried again after failures, deleted when they are old, their plugin swapped and others put beside
//! it; and a kill at a random moment, or where it hurts.
//!
//! The client keeps a book of what was acknowledged, the downstream a ledger of what really happened. They decide:
//! nothing acknowledged is lost, nobody is called for what nobody asked for, nothing is done twice but where a kill came
//! between, everything comes to one end, and an interrupted job runs again within a second.
//!
//! `CRASH_CYCLES=1000 cargo test --test crashes -- --nocapture` makes more of it; a failing run prints its seed, and
//! `CRASH_SEED=n` draws the same load and the same moments. What falls between them is the machine's.

mod common;

#[path = "crashes/aim.rs"]
mod aim;
#[path = "crashes/audit.rs"]
mod audit;
#[path = "crashes/book.rs"]
mod book;
#[path = "crashes/boots.rs"]
mod boots;
#[path = "crashes/ledger.rs"]
mod ledger;
#[path = "crashes/load.rs"]
mod load;
#[path = "crashes/world.rs"]
mod world;

use common::number;
use windlass::clock::Chance;
use world::World;

/// How often the host is killed in a usual run.
const CYCLES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_moment_of_a_kill_nothing_is_lost_and_nothing_is_made_up() {
    let cycles = number("CRASH_CYCLES").unwrap_or(CYCLES);
    let seed = number("CRASH_SEED").unwrap_or_else(|| Chance::from_machine().bits() >> 32);
    println!("{cycles} cycles with seed {seed}: CRASH_CYCLES={cycles} CRASH_SEED={seed} cargo test --test crashes");
    let mut world = World::new(seed).await;
    for cycle in 0..cycles {
        world.cycle(cycle).await;
        world.begin();
        assert!(
            world.findings.broken.is_empty(),
            "cycle {cycle} of seed {seed}:\n{}",
            world.findings.broken.join("\n")
        );
    }
    world.conclude().await;
    let (jobs, acts) = world.acknowledged();
    let findings = &world.findings;
    println!(
        "{} kills: {jobs} jobs and {acts} acts acknowledged; at the kills {} calls were out and {} just answered, {} \
         attempts recorded as interrupted and {} unknown afterwards; {} effects repeated; {} jobs deleted unseen; the \
         longest way back {} ms after ready",
        world.kills(),
        world.in_flight,
        world.just_answered,
        findings.interrupted,
        findings.unrecorded,
        findings.duplicates,
        world.gone,
        findings.recovery_worst_ms,
    );
    assert!(findings.broken.is_empty(), "seed {seed}:\n{}", findings.broken.join("\n"));
    // A run in which little happened says little.
    assert_eq!(world.kills(), cycles);
    assert!(jobs >= cycles && findings.interrupted > 0, "too little was under way");
    assert!(findings.duplicates <= world.in_flight + world.just_answered, "more was repeated than was under way");
}
