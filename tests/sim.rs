//! A day in the life of a host, again and again: its real loops, gates and order of dispatch, in simulated time, over a
//! modelled disk and modelled plugins and downstreams, with everything going wrong that can. See `docs/simulation.md`.
//!
//! One seed, one history. A failing run prints its seed; `SIM_SEED=n cargo test --test sim -- --nocapture` replays it
//! alone and tells what happened; `SIM_RUNS=n` makes more runs than the usual.

#[path = "sim/attempt.rs"]
mod attempt;
#[path = "book/book.rs"]
#[expect(dead_code, reason = "the model test of the store uses more of it")]
mod book;
#[path = "sim/downstream.rs"]
mod downstream;
#[path = "sim/draw.rs"]
mod draw;
#[path = "sim/host.rs"]
mod host;
#[path = "common/number.rs"]
mod number;
#[path = "sim/people.rs"]
mod people;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/plugins.rs"]
mod plugins;
#[path = "sim/refusals.rs"]
mod refusals;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/tally.rs"]
mod tally;
#[path = "sim/trace.rs"]
mod trace;
#[path = "sim/witness.rs"]
mod witness;
#[path = "sim/world.rs"]
mod world;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use number::number;

use windlass::clock::Chance;
use windlass::config::Config;

use plan::{DOWNSTREAMS, Event, HOUR, PLUGINS, Plan, SECOND, Weather};
use tally::Tally;
use world::World;

/// How many seeds a usual run tries.
const RUNS: u64 = 300;

thread_local! {
    /// What panicked in this thread. The tasks of the host are caught by the runtime, and would take it along.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What came of a seed.
struct History {
    tally: Tally,
    digest: (u64, u64),
    hours: i64,
    violation: Option<String>,
    text: Vec<String>,
}

fn run(world: &Arc<World>) -> History {
    loop {
        let is_last = host::live(world);
        let panic = PANIC.take();
        let mut state = world.state();
        if let Some(panic) = panic {
            state.accuse(panic);
        }
        if is_last || state.violation().is_some() {
            break;
        }
    }
    let mut state = world.state();
    state.conclude();
    History {
        tally: state.tally.clone(),
        digest: state.trace.digest(),
        hours: state.now() / HOUR,
        violation: state.violation().map(str::to_owned),
        text: state.trace.text().to_vec(),
    }
}

#[test]
fn every_promise_holds_whatever_happens() {
    catch_panics();
    if let Some(seed) = number("SIM_SEED") {
        let history = run(&World::of(seed, true));
        history.text.iter().for_each(|line| println!("{line}"));
        println!("{}", history.tally);
        assert_eq!(history.violation, None);
        return;
    }
    let runs = number("SIM_RUNS").unwrap_or(RUNS);
    let (next, all) = (AtomicU64::new(0), Mutex::new((Tally::default(), 0)));
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= runs {
                    return;
                }
                let history = run(&World::of(seed, false));
                if let Some(violation) = history.violation {
                    next.store(runs, Ordering::Relaxed);
                    panic!(
                        "seed {seed}: {violation}\nreplay it with SIM_SEED={seed} cargo test --test sim -- --nocapture"
                    );
                }
                let mut all = all.lock().expect("nobody panicked");
                all.0.merge(&history.tally);
                all.1 += history.hours;
            }
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let (tally, hours) = all.into_inner().expect("nobody panicked");
    println!("{runs} seeds, {hours} simulated hours: {tally}");
    assert!(runs < RUNS || tally.missing().is_empty(), "never came by: {:?}", tally.missing());
}

#[test]
fn one_seed_is_one_history() {
    catch_panics();
    for seed in 0..4 {
        let (one, other) = (run(&World::of(seed, true)), run(&World::of(seed, true)));
        assert_eq!(one.text, other.text, "seed {seed}");
        assert_eq!(one.digest, other.digest);
        assert_ne!(one.digest, run(&World::of(seed + 1, false)).digest);
    }
}

/// Whatever the lots: what happened, where something was wrong.
fn every_seed_bears(events: &[(i64, Event)]) {
    every_seed_bears_where(events, |_| {});
}

/// The same, under these settings.
fn every_seed_bears_where(events: &[(i64, Event)], set: impl Fn(&mut Config)) {
    catch_panics();
    for seed in 0..30 {
        let mut plan = Plan::only(events.to_vec());
        set(&mut plan.config);
        let world = World::new(Chance::seeded(seed), plan, true);
        let history = run(&world);
        assert_eq!(history.violation, None, "seed {seed}:\n{}", history.text.join("\n"));
    }
}

#[test]
fn a_plugin_that_goes_while_the_disk_is_full_is_known_to_be_gone() {
    let mut events = vec![(0, Event::Enqueue { jobs: 30, as_batch: true }), (10 * SECOND, Event::Full(3 * HOUR))];
    for plugin in 0..PLUGINS.len() {
        // What is held cannot go on while the disk is full: whatever comes behind it must.
        events.push((11 * SECOND, Event::Grant { plugin, granted: true }));
        events.push((12 * SECOND, Event::Remove(plugin)));
    }
    every_seed_bears(&events);
}

#[test]
fn a_job_that_is_given_back_while_the_disk_is_full_is_not_forgotten() {
    let mut events = vec![
        (0, Event::Enqueue { jobs: 60, as_batch: true }),
        (5 * SECOND, Event::Crash { effects: 0 }),
        (40 * SECOND, Event::Full(HOUR)),
    ];
    // A job of an earlier life is handed out once its start is on disk, which takes time: its plugin goes meanwhile.
    for round in 10..40 {
        events.push((4 * round * SECOND, Event::Stall(3 * SECOND)));
        for plugin in 0..PLUGINS.len() {
            events.push((4 * round * SECOND + 1, Event::Swap { plugin, traps: false }));
            events.push(((4 * round + 2) * SECOND, Event::Remove(plugin)));
        }
    }
    every_seed_bears(&events);
}

#[test]
fn a_host_that_is_told_to_stop_while_it_hands_out_jobs_hands_them_back() {
    let mut events = vec![(0, Event::Enqueue { jobs: 60, as_batch: true }), (5 * SECOND, Event::Crash { effects: 0 })];
    for plugin in 0..PLUGINS.len() {
        // They wait for their plugins over the end of that life. Then each begins once its beginning is on disk.
        events.push((1, Event::Remove(plugin)));
        events.push((80 * SECOND + 1, Event::Swap { plugin, traps: false }));
    }
    events.push((80 * SECOND, Event::Stall(3 * SECOND)));
    events.push((81 * SECOND, Event::Stop));
    every_seed_bears(&events);
}

#[test]
fn what_attempts_learn_while_the_host_stops_is_known_to_the_next() {
    let mut events = Vec::new();
    for downstream in 0..PLUGINS.len() * DOWNSTREAMS.len() {
        events.push((0, Event::Weather { downstream, weather: Weather::Limits(900_000) }));
        events.push((1_200 * SECOND, Event::Weather { downstream, weather: Weather::Up }));
    }
    events.push((SECOND, Event::Enqueue { jobs: 60, as_batch: true }));
    for ms in 1..20 {
        events.push((SECOND + ms, Event::Enqueue { jobs: 3, as_batch: false }));
    }
    events.push((SECOND + 20, Event::Stop));
    every_seed_bears(&events);
}

#[test]
fn what_a_downstream_asked_for_while_the_disk_was_full_is_known_to_the_next_life() {
    // The disk has room again long before the host is told to stop, or within the seconds that it then waits for.
    for (full, stop) in [(30 * SECOND, 120 * SECOND), (30 * SECOND, 27 * SECOND)] {
        let mut events = vec![
            (SECOND, Event::Enqueue { jobs: 60, as_batch: true }),
            (SECOND + 10, Event::Full(full)),
            (SECOND + 10 + stop, Event::Stop),
        ];
        for downstream in 0..PLUGINS.len() * DOWNSTREAMS.len() {
            events.push((0, Event::Weather { downstream, weather: Weather::Limits(900_000) }));
            events.push((1_200 * SECOND, Event::Weather { downstream, weather: Weather::Up }));
        }
        every_seed_bears(&events);
    }
}

#[test]
fn who_is_interrupted_again_and_again_while_the_plugin_is_gone_keeps_the_attempts_that_the_plugin_allows() {
    let mut events = vec![(SECOND, Event::Enqueue { jobs: 20, as_batch: true })];
    for downstream in 0..PLUGINS.len() * DOWNSTREAMS.len() {
        events.push((0, Event::Weather { downstream, weather: Weather::Hangs }));
    }
    for life in 0..6 {
        let at = 60 * life * SECOND;
        events.push((at + 10 * SECOND, Event::Crash { effects: 0 }));
        for plugin in 0..PLUGINS.len() {
            events.push((at + 10 * SECOND + 1, Event::Remove(plugin)));
            events.push((at + 40 * SECOND, Event::Swap { plugin, traps: false }));
        }
    }
    // Some plugins allow more.
    every_seed_bears_where(&events, |config| config.retry.max_attempts = 2);
}

#[test]
fn the_attempts_of_cancelled_jobs_that_a_dead_host_left_behind_are_recorded() {
    let mut events = vec![(SECOND, Event::Enqueue { jobs: 30, as_batch: true })];
    for downstream in 0..PLUGINS.len() * DOWNSTREAMS.len() {
        events.push((0, Event::Weather { downstream, weather: Weather::Hangs }));
    }
    // Some end late, and some jobs are retried at once. Then the host dies again.
    events.extend((0..20).map(|ms| (10 * SECOND + ms, Event::Cancel)));
    for seconds in [11, 12] {
        events.push((seconds * SECOND, Event::Crash { effects: 0 }));
    }
    every_seed_bears(&events);
}

/// Remembers what panics where it panics.
fn catch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.set(Some(panic.to_string()));
            before(panic);
        }));
    });
}
