//! The limit against modelled downstreams.

use proptest::prelude::*;

use super::*;
use crate::clock::Chance;

/// A downstream that works on `knee` calls at once, each for `service_us`, spread by `spread` to both sides. Others wait,
/// or are turned away.
struct Model {
    knee: f64,
    service_us: f64,
    spread: f64,
    turns_away: bool,
}

/// Calls without end, always as many at once as the limit allows.
struct Drive {
    policy: LimiterPolicy,
    limiter: Limiter,
    chance: Chance,
    now_us: f64,
    /// When each of those that are out began, and will end, and whether it was turned away.
    out: Vec<(f64, f64, bool)>,
}

impl Drive {
    fn new(policy: LimiterPolicy, seed: u64) -> Self {
        let (limiter, chance) = (Limiter::new(&policy), Chance::seeded(seed));
        Self { policy, limiter, chance, now_us: 0.0, out: Vec::new() }
    }

    fn limit(&self) -> u32 {
        self.limiter.limit(&self.policy)
    }

    /// So many calls, of which that share fails; returns the limits over time, one a window's worth.
    fn run(&mut self, model: &Model, calls: usize, failing: f64) -> Vec<u32> {
        let mut limits = Vec::new();
        for call in 0..calls {
            while (self.out.len() as u32) < self.limit() {
                let crowd = ((self.out.len() + 1) as f64 / model.knee).max(1.0);
                let noise = 1.0 + model.spread * (2.0 * self.chance.unit() - 1.0);
                let is_turned_away = model.turns_away && self.chance.unit() > 1.0 / crowd;
                let slower = if model.turns_away { 1.0 } else { crowd };
                self.out.push((self.now_us, self.now_us + model.service_us * slower * noise, is_turned_away));
            }
            let soonest = (0..self.out.len()).min_by(|a, b| self.out[*a].1.total_cmp(&self.out[*b].1)).unwrap();
            let at_once = self.out.len() as u32;
            let (started_us, ended_us, is_turned_away) = self.out.swap_remove(soonest);
            self.now_us = ended_us;
            let ms = |us: f64| UnixMs((us / 1e3) as i64);
            let latency = Some(Duration::from_micros((ended_us - started_us) as u64));
            let failed = is_turned_away || failing > 0.0 && self.chance.unit() < failing;
            self.limiter.ended(&self.policy, ms(started_us), ms(self.now_us), latency, failed, at_once);
            if call % 50 == 0 {
                limits.push(self.limit());
            }
        }
        limits
    }
}

fn drive(model: &Model, policy: &LimiterPolicy, calls: usize, seed: u64) -> Vec<u32> {
    Drive::new(*policy, seed).run(model, calls, 0.0)
}

fn settled(limits: &[u32]) -> f64 {
    let late = &limits[limits.len() / 2..];
    late.iter().copied().map(f64::from).sum::<f64>() / late.len() as f64
}

#[test]
fn it_settles_near_the_knee() {
    for (knee, service_us, spread) in [
        (20.0, 50_000.0, 0.0),
        (20.0, 50_000.0, 0.3),
        (20.0, 200_000.0, 0.5),
        (60.0, 30_000.0, 0.2),
        (12.0, 80_000.0, 0.1),
    ] {
        let limits =
            drive(&Model { knee, service_us, spread, turns_away: false }, &LimiterPolicy::default(), 40_000, 1);
        let found = settled(&limits);
        println!("knee {knee}, spread {spread}: {found}");
        // The more the answers vary, the less there is to be seen.
        let most = if spread > 0.2 { 1.3 } else { 1.2 };
        assert!((0.8 * knee..=most * knee).contains(&found), "knee {knee}, spread {spread}: {found}");
    }
}

#[test]
fn what_bears_everything_gets_everything_soon() {
    let model = Model { knee: 1e9, service_us: 5_000.0, spread: 0.5, turns_away: false };
    let limits = drive(&model, &LimiterPolicy::default(), 2_000, 1);
    assert_eq!(limits.last(), Some(&256), "{limits:?}");
}

#[test]
fn answers_that_vary_do_not_strangle_it() {
    let model = Model { knee: 1e9, service_us: 50_000.0, spread: 0.95, turns_away: false };
    let found = settled(&drive(&model, &LimiterPolicy::default(), 100_000, 1));
    assert!(found > 200.0, "{found}");
}

/// One that bears any load, and answers after so long.
fn tireless(service_us: f64) -> Model {
    Model { knee: 1e9, service_us, spread: 0.3, turns_away: false }
}

#[test]
fn what_becomes_slower_for_good_and_bears_everything_is_given_more_again() {
    let mut drive = Drive::new(LimiterPolicy::default(), 1);
    drive.run(&tireless(50_000.0), 20_000, 0.0);
    assert!(drive.limit() > 200, "{}", drive.limit());
    drive.run(&tireless(1_000_000.0), 20_000, 0.0);
    assert!(drive.limit() > 100, "{}", drive.limit());
}

#[test]
fn what_had_errors_and_came_back_slower_is_given_more_again() {
    let mut drive = Drive::new(LimiterPolicy::default(), 1);
    drive.run(&tireless(50_000.0), 20_000, 0.0);
    drive.run(&tireless(50_000.0), 5_000, 0.9);
    assert_eq!(drive.limit(), 1);
    drive.run(&tireless(1_000_000.0), 20_000, 0.0);
    assert!(drive.limit() > 100, "{}", drive.limit());
}

#[test]
fn failures_that_come_whatever_the_limit_do_not_hold_the_others_up() {
    for failing in [0.05, 0.11, 0.15, 0.2, 0.3, 0.4] {
        for seed in 0..10 {
            let mut drive = Drive::new(LimiterPolicy::default(), seed);
            let found = settled(&drive.run(&tireless(200_000.0), 40_000, failing));
            assert!(found > 80.0, "{failing}, seed {seed}: {found}");
            // When they are over they are usual no more.
            drive.run(&tireless(200_000.0), 2_000, 0.0);
            assert!(drive.limiter.usual < 0.02, "{failing}, seed {seed}: {}", drive.limiter.usual);
        }
    }
}

#[test]
fn what_has_less_room_at_once_is_not_taken_for_one_that_always_fails() {
    for (room, seed) in [(40.0, 1), (50.0, 2), (55.0, 3), (55.0, 4), (70.0, 5)] {
        let mut drive = Drive::new(LimiterPolicy::default(), seed);
        let model = |knee| Model { knee, service_us: 50_000.0, spread: 0.3, turns_away: true };
        drive.run(&model(100.0), 20_000, 0.0);
        for _ in 0..40 {
            drive.run(&model(room), 50, 0.0);
            assert!(drive.limiter.usual < 0.01, "{room}, seed {seed}: {}", drive.limiter.usual);
        }
        let found = settled(&drive.run(&model(room), 10_000, 0.0));
        assert!((0.7 * room..=1.3 * room).contains(&found), "{room}, seed {seed}: {found}");
    }
}

#[test]
fn what_turns_away_is_given_what_it_has_room_for_whatever_else_fails() {
    for failing in [0.0, 0.05, 0.15, 0.3] {
        for (knee, seed) in [(20.0, 1), (20.0, 2), (60.0, 3), (150.0, 4)] {
            let model = Model { knee, service_us: 50_000.0, spread: 0.3, turns_away: true };
            let found = settled(&Drive::new(LimiterPolicy::default(), seed).run(&model, 60_000, failing));
            println!("knee {knee}, {failing} fail: {found}");
            assert!((0.7 * knee..=1.3 * knee).contains(&found), "knee {knee}, {failing} fail: {found}");
        }
    }
}

#[test]
fn what_works_on_fewer_than_the_floor_is_not_overrun_as_time_goes_by() {
    let model = Model { knee: 4.0, service_us: 200_000.0, spread: 0.2, turns_away: false };
    let limits = drive(&model, &LimiterPolicy::default(), 40_000, 1);
    let found = settled(&limits);
    assert!(found <= 12.0, "{found}");
}

#[test]
fn failures_lower_it_and_a_restart_begins_small() {
    let policy = LimiterPolicy::default();
    let mut limiter = Limiter::new(&policy);
    let mut now = 0;
    let mut calls = |limiter: &mut Limiter, count: u32, failed: bool| {
        for _ in 0..count {
            now += 1;
            let at_once = limiter.limit(&policy);
            limiter.ended(&policy, UnixMs(now), UnixMs(now), Some(Duration::from_millis(20)), failed, at_once);
        }
    };
    calls(&mut limiter, 500, false);
    let high = limiter.limit(&policy);
    assert!(high > 100, "{high}");
    calls(&mut limiter, 2_000, true);
    assert_eq!(limiter.limit(&policy), 1);
    calls(&mut limiter, 2_000, false);
    assert!(limiter.limit(&policy) > 20, "it recovers");
    limiter.restart(&policy, UnixMs(now));
    assert_eq!(limiter.limit(&policy), policy.initial);
}

#[test]
fn calls_that_nobody_makes_raise_nothing() {
    let policy = LimiterPolicy::default();
    let mut limiter = Limiter::new(&policy);
    for now in 0..1_000 {
        limiter.ended(&policy, UnixMs(now), UnixMs(now), Some(Duration::from_millis(20)), false, 2);
    }
    assert_eq!(limiter.limit(&policy), policy.initial);
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds(
        calls in prop::collection::vec((0_i64..50, 0_u64..5_000_000, any::<bool>(), 1_u32..400), 1..2_000),
        initial in 1_u32..50, ceiling in 1_u32..300,
    ) {
        let policy = LimiterPolicy { initial, floor: 8, ceiling };
        let (mut limiter, mut now) = (Limiter::new(&policy), 0);
        for (pause, latency_us, failed, at_once) in calls {
            now += pause;
            let latency = Some(Duration::from_micros(latency_us));
            limiter.ended(&policy, UnixMs(now), UnixMs(now), latency, failed, at_once);
            prop_assert!((1..=ceiling).contains(&limiter.limit(&policy)));
        }
    }
}
