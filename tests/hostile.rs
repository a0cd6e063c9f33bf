//! The hostile set: each kind runs many times beside a plugin that behaves, and harms neither it nor the host.
//!
//! `HOSTILE_REPEATS=1000 cargo test --test hostile -- --nocapture` runs the whole and prints a table. The times are not
//! asserted here; `cargo bench --bench hostile` prints them beside their limits.

mod common;

#[path = "hostile/set.rs"]
mod set;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use set::kinds::{Attack, Kind};
use set::process::Held;
use set::world::{CONCURRENCY, MEMORY_KIB, Report, World};

/// How often each kind is tried in a usual run: over all kinds more than a thousand times.
const REPEATS: usize = 12;
/// How often before anything is compared: pools fill, threads start, pages are touched.
const WARM_UP: usize = 7;
/// What memory may grow by from the warm-up to the end, in KiB: the pool keeps up to 64 used slots with a MiB each, and
/// which of them the warm-up has filled is chance.
const GROWTH_KIB: u64 = 64 << 10;
/// The same for threads: the runtime's, for files and names, come and go.
const GROWTH_THREADS: u64 = 12;
/// The same for descriptors: kept connections, and those that read the store.
const GROWTH_DESCRIPTORS: u64 = 24;
/// What the host needs beside the guests' memory for an attempt at work, with what the allocator keeps for its threads, in KiB.
const ATTEMPT_KIB: u64 = 8 << 10;

fn repeats() -> usize {
    common::number("HOSTILE_REPEATS").unwrap_or(REPEATS)
}

/// Those kinds, or the one that `HOSTILE_KIND` names.
fn chosen(keep: impl Fn(&Kind) -> bool) -> Vec<Kind> {
    let only = std::env::var("HOSTILE_KIND").ok();
    let kinds = set::kinds::all().into_iter().flat_map(|(_, kinds)| kinds);
    kinds.filter(|kind| keep(kind) && only.as_deref().is_none_or(|only| only == kind.name)).collect()
}

/// How often of so many times: what is loaded is checked, compiled and tried in processes of their own each time.
fn share_of(kind: &Kind, times: usize) -> usize {
    if runs(kind) { times } else { times.div_ceil(4) }
}

fn runs(kind: &Kind) -> bool {
    !matches!(kind.attack, Attack::Load(_) | Attack::File(_))
}

#[tokio::test]
async fn what_runs_harms_nobody() {
    let kinds = chosen(runs);
    let world = World::start(&kinds).await;
    let idle = world.held();
    let (reports, warm, end) = try_all(&world, &kinds).await;
    print(&reports, idle, warm, end);
    let most = idle.resident_kib + CONCURRENCY * (MEMORY_KIB + ATTEMPT_KIB);
    assert!(end.peak_kib <= most, "the host held {} KiB, more than {most}", end.peak_kib);
    check_growth(warm, end);
    assert_eq!(world.trap.trespassed(), 0, "somebody called where nobody may");
    world.check_log();
}

#[tokio::test]
async fn what_is_loaded_harms_nobody() {
    let kinds = chosen(|kind| !runs(kind));
    let world = World::start(&kinds).await;
    let idle = world.held();
    let (reports, warm, end) = try_all(&world, &kinds).await;
    print(&reports, idle, warm, end);
    check_growth(warm, end);
    world.check_log();
}

async fn try_all(world: &World, kinds: &[Kind]) -> (Vec<Report>, Held, Held) {
    let mut failed = Vec::new();
    for kind in kinds {
        // One that fails has told why; the others are tried all the same.
        if AssertUnwindSafe(world.run(kind, share_of(kind, WARM_UP))).catch_unwind().await.is_err() {
            failed.push(kind.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?} were not as they should be");
    world.rest().await;
    let warm = world.held();
    let mut reports = Vec::new();
    for kind in kinds {
        reports.push(world.run(kind, share_of(kind, repeats())).await);
    }
    world.rest().await;
    (reports, warm, world.held())
}

fn check_growth(warm: Held, end: Held) {
    let grown = |of: fn(Held) -> u64| of(end).saturating_sub(of(warm));
    assert!(grown(|held| held.resident_kib) <= GROWTH_KIB, "memory grew: {warm:?} to {end:?}");
    assert!(grown(|held| held.threads) <= GROWTH_THREADS, "threads grew: {warm:?} to {end:?}");
    assert!(grown(|held| held.descriptors) <= GROWTH_DESCRIPTORS, "descriptors grew: {warm:?} to {end:?}");
}

fn print(reports: &[Report], idle: Held, warm: Held, end: Held) {
    println!(
        "{:<20} {:<38} {:>7} {:>9} {:>17} {:>9} {:>9} {:>10}",
        "kind", "outcome", "repeats", "overrun", "RSS MiB", "fds", "threads", "neighbour"
    );
    for report in reports {
        let overrun = report.worst_overrun_ms.map_or(String::new(), |ms| format!("{ms} ms"));
        let (before, after) = (report.before, report.after);
        println!(
            "{:<20} {:<38} {:>7} {overrun:>9} {:>8.1} {:>8.1} {:>4} {:>4} {:>4} {:>4} {:>10}",
            report.name,
            report.outcome,
            report.repeats,
            before.resident_kib as f64 / 1_024.0,
            after.resident_kib as f64 / 1_024.0,
            before.descriptors,
            after.descriptors,
            before.threads,
            after.threads,
            format!("{} done", report.waits_ms.len())
        );
    }
    println!("idle {idle:?}\nwarm {warm:?}\nend  {end:?}");
}

#[test]
fn the_set_is_closed_and_large_and_each_kind_has_a_name_of_its_own() {
    let kinds = chosen(|_| true);
    let mut names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), kinds.len());
    assert!(kinds.len() >= 40, "{}", kinds.len());
    let times: usize = kinds.iter().map(|kind| share_of(kind, REPEATS).min(kind.repeats_max)).sum();
    assert!(times >= 1_000, "{times} times over all kinds");
}

#[test]
fn the_page_is_made_from_the_table() {
    let path = common::guests::root().join("docs/hostile.md");
    if std::env::var_os("WINDLASS_WRITE_DOCS").is_some() {
        std::fs::write(&path, set::kinds::page()).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page, set::kinds::page(), "docs/hostile.md is out of date: set WINDLASS_WRITE_DOCS=1 and run this test");
}
