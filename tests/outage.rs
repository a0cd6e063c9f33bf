//! What a sick downstream costs, in virtual time: the host's own machines against modelled downstreams, beside plain
//! exponential backoff. `cargo test --test outage -- --nocapture` prints the tables.

#[path = "outage/downstream.rs"]
mod downstream;
#[path = "outage/world.rs"]
mod world;

use downstream::{Downstream, SECOND, Uptime, Us, Work};
use windlass::job::Jitter;
use world::{Method, World};

const METHODS: [Method; 4] =
    [Method::Windlass, Method::Backoff(Jitter::Equal), Method::Backoff(Jitter::Full), Method::Backoff(Jitter::None)];

/// The seeds of a usual run; `SIM_RUNS=n` makes it more. What only stands beside runs once.
fn seeds(method: Method) -> std::ops::Range<u64> {
    let runs = std::env::var("SIM_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    0..if method == Method::Windlass { runs } else { 1 }
}

#[test]
fn down_for_an_hour() {
    const HOUR: Us = 3_600 * SECOND;
    println!("\ndown for 1 h, 10,000 jobs, then 500/s");
    println!("{:<28} {:>8} {:>8} {:>10} {:>12} {:>8}", "", "wasted", "burned", "discarded", "p99 after", "peak/s");
    for method in METHODS {
        for seed in seeds(method) {
            let downstream = Downstream::of_capacity(500, 20_000, Uptime::From(HOUR));
            let mut world = World::new(seed, method, downstream);
            (0..10_000).for_each(|job| world.arrive(job * 100));
            world.run(3 * HOUR);
            let report = &world.report;
            let p99 = (report.completed_by(0.99) - HOUR) as f64 / SECOND as f64;
            let peak = report.peak_per_second(HOUR);
            if seed == 0 {
                println!(
                    "{:<28} {:>8} {:>8} {:>10} {:>10.1} s {:>8}",
                    format!("{method:?}"),
                    report.wasted,
                    report.burned,
                    report.discarded,
                    p99,
                    peak
                );
            }
            assert_eq!(report.completions.len() as u64 + report.discarded, 10_000, "seed {seed}");
            if method == Method::Windlass {
                let tripped = report.tripped_at.expect("it tripped");
                let during = report.calls.iter().filter(|at| (tripped..HOUR).contains(at)).count();
                assert!(during as i64 <= HOUR / SECOND, "seed {seed}: {during} probes");
                assert!(report.wasted <= 1_000 && report.burned == 0 && report.discarded == 0, "seed {seed}");
                assert!(p99 <= 60.0, "seed {seed}: {p99} s");
                assert!(peak <= 600, "seed {seed}: {peak} calls in a second");
            }
        }
    }
}

#[test]
fn twice_as_much_as_it_bears() {
    const KNEE: f64 = 20.0;
    const CAPACITY: f64 = 400.0;
    println!("\n2 x capacity for 60 s, slower beyond 20 at once");
    println!("{:<28} {:>10} {:>10} {:>10}", "", "goodput", "after", "at once");
    for method in METHODS {
        for seed in seeds(method) {
            let work = Work::Degrading { knee: KNEE, base: 50_000 };
            let mut world = World::new(seed, method, Downstream { uptime: Uptime::Always, work, inside: 0 });
            (0..48_000).for_each(|job| world.arrive(job * SECOND / 800));
            world.run(400 * SECOND);
            let report = &world.report;
            let during = report.goodput(5 * SECOND, 60 * SECOND) / CAPACITY;
            let after = report.goodput(60 * SECOND, 90 * SECOND) / CAPACITY;
            let at_once = report.mean_at_once(20 * SECOND, 60 * SECOND);
            if seed == 0 {
                println!(
                    "{:<28} {:>9.0}% {:>9.0}% {:>10.1}",
                    format!("{method:?}"),
                    during * 100.0,
                    after * 100.0,
                    at_once
                );
            }
            if method == Method::Windlass {
                assert!(during >= 0.9 && after >= 0.95, "seed {seed}: {during} and {after} of capacity");
                assert!((0.8 * KNEE..=1.2 * KNEE).contains(&at_once), "seed {seed}: {at_once} at once");
            }
        }
    }
}

#[test]
fn ten_seconds_up_and_ten_down() {
    println!("\n10 s up, 10 s down, 500/s while up");
    println!("{:<28} {:>10} {:>8} {:>10}", "", "goodput", "wasted", "discarded");
    for method in METHODS {
        for seed in seeds(method) {
            let downstream = Downstream::of_capacity(500, 20_000, Uptime::Flapping(10 * SECOND));
            let mut world = World::new(seed, method, downstream);
            (0..60_000).for_each(|job| world.arrive(job * SECOND / 2_000));
            world.run(200 * SECOND);
            let report = &world.report;
            let share = report.goodput(0, 200 * SECOND) / 250.0;
            if seed == 0 {
                println!(
                    "{:<28} {:>9.0}% {:>8} {:>10}",
                    format!("{method:?}"),
                    share * 100.0,
                    report.wasted,
                    report.discarded
                );
            }
            if method == Method::Windlass {
                assert!(share >= 0.7 && report.discarded == 0, "seed {seed}: {share} of the up time, {report:?}");
            }
        }
    }
}

#[test]
fn a_job_that_always_fails_and_is_more_urgent_keeps_nobody_waiting() {
    for seed in seeds(Method::Windlass) {
        let downstream = Downstream::of_capacity(500, 20_000, Uptime::From(20 * SECOND));
        let mut world = World::new(seed, Method::Windlass, downstream);
        (0..200).for_each(|job| world.arrive(job * 1_000));
        (0..3).for_each(|job| world.arrive_hopeless(5 * SECOND + job, 1));
        world.run(120 * SECOND);
        let report = &world.report;
        assert_eq!(report.completions.len(), 200, "seed {seed}");
        let done = report.completed_by(1.0) as f64 / SECOND as f64;
        assert!(done <= 60.0, "seed {seed}: {done} s");
    }
}

#[test]
fn jobs_that_always_fail_do_not_slow_the_others_down() {
    println!("\n300 jobs/s that each take 200 ms, some of them always fail");
    println!("{:<28} {:>10}", "always fail", "goodput");
    // With more of them so many calls fail that five in a row are bound to come: that is the breaker's matter.
    for of_a_hundred in [0, 1, 2, 3] {
        for seed in seeds(Method::Windlass) {
            let downstream = Downstream::of_capacity(1_000, 200_000, Uptime::Always);
            let mut world = World::new(seed, Method::Windlass, downstream);
            for job in 0..18_000 {
                let at = job * SECOND / 300;
                if job % 100 < of_a_hundred { world.arrive_hopeless(at, 0) } else { world.arrive(at) }
            }
            world.run(60 * SECOND);
            let report = &world.report;
            let wanted = 300.0 * (100 - of_a_hundred) as f64 / 100.0;
            let share = report.goodput(20 * SECOND, 60 * SECOND) / wanted;
            if seed == 0 {
                println!("{:<28} {:>9.0}%", format!("{of_a_hundred}%"), share * 100.0);
            }
            assert!(share >= 0.8, "{of_a_hundred} of a hundred fail, seed {seed}: {share} of what was wanted");
        }
    }
}

#[test]
fn so_many_a_minute_and_no_more() {
    println!("\n600 a minute, 3,000 jobs at once");
    println!("{:<28} {:>8} {:>10} {:>12}", "", "wasted", "discarded", "all done");
    for method in METHODS {
        for seed in seeds(method) {
            let work = Work::Quota { per_window: 600, window: 60 * SECOND, counted: (-1, 0) };
            let mut world = World::new(seed, method, Downstream { uptime: Uptime::Always, work, inside: 0 });
            (0..3_000).for_each(|_| world.arrive(0));
            world.run(3_600 * SECOND);
            let report = &world.report;
            let done = report.completed_by(1.0) as f64 / SECOND as f64;
            if seed == 0 {
                println!(
                    "{:<28} {:>8} {:>10} {:>10.0} s",
                    format!("{method:?}"),
                    report.wasted,
                    report.discarded,
                    done
                );
            }
            if method == Method::Windlass {
                assert!(report.discarded == 0 && report.completions.len() == 3_000, "seed {seed}");
                assert!(report.wasted <= 300 && done <= 330.0, "seed {seed}: {} wasted, {done} s", report.wasted);
            }
        }
    }
}
