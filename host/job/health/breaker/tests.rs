//! The breaker by itself.

use proptest::prelude::*;

use super::*;

const POLICY: fn() -> BreakerPolicy = BreakerPolicy::default;

fn at(ms: i64) -> UnixMs {
    UnixMs(ms)
}

fn fail(breaker: &mut Breaker, started: i64, now: i64) -> bool {
    breaker.fail(&POLICY(), at(started), at(now), "503", 0.0)
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(&POLICY());
    for n in 0..4 {
        assert!(!fail(&mut breaker, n, n));
    }
    assert!(fail(&mut breaker, 4, 100));
    breaker
}

#[test]
fn failures_in_a_row_open_it() {
    let breaker = opened();
    assert_eq!(breaker.opening().unwrap().since, at(100));
    assert_eq!(breaker.may_start(&POLICY(), at(101)), Err(Some(at(1_100))));

    let mut breaker = Breaker::new(&POLICY());
    for n in 0..100 {
        assert!(!fail(&mut breaker, n, n));
        for _ in 0..2 {
            breaker.succeed(&POLICY(), at(n), at(n));
        }
    }
    assert!(breaker.opening().is_none(), "a third of failures, never five in a row");
}

#[test]
fn a_high_share_of_failures_opens_it() {
    let mut breaker = Breaker::new(&POLICY());
    let opened = (0..40).any(|n| {
        breaker.succeed(&POLICY(), at(n), at(n));
        fail(&mut breaker, n, n)
    });
    assert!(opened);
}

#[test]
fn probes_are_spaced_and_their_interval_doubles_up_to_the_cap() {
    let mut breaker = opened();
    let mut now = 100;
    for seconds in [1, 2, 4, 5, 5] {
        let due = now + seconds * 1_000;
        assert_eq!(breaker.may_start(&POLICY(), at(due - 1)), Err(Some(at(due))), "after {now}");
        assert_eq!(breaker.may_start(&POLICY(), at(due)), Ok(()));
        breaker.start(at(due));
        assert!(breaker.may_start(&POLICY(), at(due)).is_err(), "one at a time");
        assert!(!fail(&mut breaker, due, due + 3));
        now = due + 3;
    }
}

#[test]
fn no_draw_leads_beyond_the_longest_interval() {
    let policy = BreakerPolicy { probe: Duration::from_secs(1), probe_cap: Duration::from_secs(2), ..POLICY() };
    let mut breaker = Breaker::new(&policy);
    let mut now = 0;
    while !breaker.fail(&policy, at(now), at(now), "503", 1.0) {}
    for interval_ms in [1_100, 2_000, 2_000] {
        now += interval_ms;
        assert_eq!(breaker.opening().unwrap().next_probe, at(now));
        breaker.start(at(now));
        breaker.fail(&policy, at(now), at(now), "503", 1.0);
    }
}

#[test]
fn a_probe_that_is_still_out_when_others_closed_it_was_one_all_the_same() {
    let mut breaker = opened();
    for started in [1_100, 2_100, 3_100] {
        breaker.start(at(started));
    }
    assert!(!breaker.succeed(&POLICY(), at(2_100), at(4_000)) && breaker.succeed(&POLICY(), at(3_100), at(4_001)));
    assert!(breaker.is_probe(at(1_100)) && !breaker.is_probe(at(99)) && !breaker.is_probe(at(4_001)));
    assert!(!fail(&mut breaker, 1_100, 5_000));
    assert_eq!(breaker.error_rate(at(5_000)).1, 0, "it says nothing of what is now");
}

#[test]
fn a_person_gets_a_probe_also_while_as_many_as_may_hang() {
    let mut breaker = opened();
    for second in 1..4 {
        breaker.start(at(100 + second * 1_000));
    }
    assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Err(None));
    breaker.probe_now(&POLICY(), at(60_000));
    assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Ok(()));
    breaker.start(at(60_000));
    assert_eq!(breaker.may_start(&POLICY(), at(70_000)), Err(None));
}

#[test]
fn what_starts_behind_a_clock_that_was_set_back_is_a_probe() {
    let mut breaker = opened();
    breaker.probe_now(&POLICY(), at(50));
    for started in [50, 60] {
        assert_eq!(breaker.may_start(&POLICY(), at(started)), Ok(()));
        breaker.start(at(started));
        breaker.succeed(&POLICY(), at(started), at(started));
    }
    assert!(breaker.opening().is_none(), "two went well: {breaker:?}");
}

#[test]
fn a_probe_that_hangs_does_not_keep_the_others_back() {
    let mut breaker = opened();
    for second in 1..4 {
        let now = at(100 + second * 1_000);
        assert_eq!(breaker.may_start(&POLICY(), now), Ok(()));
        breaker.start(now);
    }
    assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Err(None), "three are out");
    breaker.abstain(at(1_100), at(60_000));
    assert_eq!(breaker.may_start(&POLICY(), at(60_000)), Ok(()));
}

#[test]
fn probes_that_go_well_close_it_and_old_attempts_say_nothing() {
    let mut breaker = opened();
    assert!(!breaker.succeed(&POLICY(), at(50), at(200)), "it began before the opening");
    assert!(!fail(&mut breaker, 60, 300));
    assert_eq!(breaker.opening().unwrap().interval, TimeSpan::from_secs(1));
    breaker.start(at(1_100));
    assert!(!breaker.succeed(&POLICY(), at(1_100), at(1_110)));
    assert_eq!(breaker.may_start(&POLICY(), at(1_110)), Ok(()), "the next follows at once");
    breaker.start(at(1_110));
    assert!(breaker.succeed(&POLICY(), at(1_110), at(1_120)));
    assert!(breaker.opening().is_none());
    for n in 0..4 {
        assert!(!fail(&mut breaker, 1_121, 1_121 + n), "it begins to count anew");
    }
}

#[test]
fn what_began_in_an_outage_and_fails_behind_it_does_not_open_it_anew() {
    let mut breaker = opened();
    for start in [1_100, 1_110] {
        breaker.start(at(start));
        breaker.succeed(&POLICY(), at(start), at(start + 5));
    }
    for n in 0..40 {
        assert!(!fail(&mut breaker, 60 + n, 2_000 + n), "it hung in the outage");
    }
    assert!(!breaker.succeed(&POLICY(), at(60), at(2_040)));
    assert_eq!(breaker.error_rate(at(2_040)), (0.0, 0), "neither is what went well after all");
    assert!((0..5).any(|n| fail(&mut breaker, 1_115 + n, 2_050 + n)), "and these began behind it");
}

#[test]
fn it_goes_on_after_a_restart_where_it_was() {
    let mut breaker = opened();
    breaker.start(at(1_100));
    let again = Breaker::reopened(&POLICY(), breaker.opening().unwrap().clone());
    let opening = again.opening().unwrap();
    assert_eq!((opening.since, opening.out, opening.next_probe), (at(100), 0, at(2_100)));
}

proptest! {
    #[test]
    fn never_more_probes_than_allowed_and_never_too_close(
        steps in prop::collection::vec((0_i64..3_000, 0_u8..4, 0.0_f64..1.0), 1..300),
    ) {
        let policy = POLICY();
        let (mut breaker, mut now, mut out) = (opened(), 100, Vec::<i64>::new());
        let mut last_start = None::<(i64, bool)>;
        for (pause, what, draw) in steps {
            now += pause;
            let was_open = breaker.opening().is_some();
            if what == 0 {
                if breaker.may_start(&policy, at(now)).is_ok() {
                    if let (true, Some((last, no_success))) = (was_open, last_start) {
                        prop_assert!(!no_success || now - last >= 1_000, "probes at {last} and {now}");
                    }
                    breaker.start(at(now));
                    out.push(now);
                    last_start = Some((now, was_open));
                    prop_assert!(!was_open || breaker.opening().unwrap().out <= policy.probes);
                }
            } else if let Some(started) = out.pop() {
                match what {
                    1 => _ = breaker.fail(&policy, at(started), at(now), "down", draw),
                    2 => {
                        breaker.succeed(&policy, at(started), at(now));
                        last_start = None;
                    }
                    _ => {
                        breaker.abstain(at(started), at(now));
                        last_start = None;
                    }
                }
            }
            if let Some(opening) = breaker.opening() {
                prop_assert!((policy.probe..=policy.probe_cap).contains(&opening.interval.0));
                prop_assert!(opening.next_probe <= at(now).after(policy.probe_cap.mul_f64(1.1)));
            }
        }
    }
}
