//! What a downstream is allowed, by what its attempts say of it.

use super::*;
use crate::job::outcome::{Calls, Completion, Evidence, Exchange, Fault, HostFault, Outcome, Setback};

const BOUNDS: Bounds = Bounds { ceiling: 256, rate: None };

fn at(ms: i64) -> UnixMs {
    UnixMs(ms)
}

fn end(health: &mut Health, started: i64, now: i64, sign: Sign) -> Option<Change> {
    let ended = Ended { started_at: at(started), sign, latency: Some(Duration::from_millis(5)) };
    health.end(&HealthPolicy::default(), BOUNDS, &ended, at(now), 0.0)
}

fn reason(health: &Health, now: i64) -> Option<WaitReason> {
    health.why_waiting(&HealthPolicy::default(), BOUNDS, at(now)).map(|waiting| waiting.reason)
}

fn down() -> Health {
    let mut health = Health::new(&HealthPolicy::default());
    for n in 0..5 {
        health.start(BOUNDS, at(n));
        let change = end(&mut health, n, n, Sign::Ill("503".into()));
        assert_eq!(change, (n == 4).then_some(Change::Opened));
    }
    health
}

#[test]
fn a_downstream_that_is_down_is_left_alone_and_begins_small_when_it_is_back() {
    let mut health = down();
    assert_eq!(reason(&health, 500), Some(WaitReason::BreakerOpen));
    assert_eq!(reason(&health, 1_004), None);
    health.start(BOUNDS, at(1_004));
    assert!(health.is_probe(at(1_004)) && !health.is_probe(at(3)));
    assert_eq!(reason(&health, 1_005), Some(WaitReason::BreakerOpen));
    assert_eq!(end(&mut health, 1_004, 1_010, Sign::Well), None);
    health.start(BOUNDS, at(1_010));
    assert_eq!(end(&mut health, 1_010, 1_020, Sign::Well), Some(Change::Closed));
    assert_eq!(health.limit(&HealthPolicy::default(), BOUNDS), HealthPolicy::default().limiter.initial);
    assert_eq!(reason(&health, 1_020), None);
}

#[test]
fn a_wish_for_a_pause_holds_everybody() {
    let mut health = Health::new(&HealthPolicy::default());
    health.start(BOUNDS, at(0));
    let change = end(&mut health, 0, 10, Sign::Busy(Some(Duration::from_secs(7)), "429".into()));
    assert_eq!(change, Some(Change::HeldUntil(at(7_010))));
    assert_eq!((reason(&health, 7_009), reason(&health, 7_010)), (Some(WaitReason::RetryAfter), None));
    health.start(BOUNDS, at(20));
    end(&mut health, 20, 20, Sign::Busy(Some(Duration::from_secs(1)), "429".into()));
    assert_eq!(health.held(at(20)).unwrap().until, Some(at(7_010)), "a shorter one does not shorten it");
}

#[test]
fn the_limit_bounds_what_runs_at_once() {
    let mut health = Health::new(&HealthPolicy::default());
    let initial = health.limit(&HealthPolicy::default(), BOUNDS);
    for _ in 0..initial {
        assert_eq!(reason(&health, 0), None);
        health.start(BOUNDS, at(0));
    }
    assert_eq!(reason(&health, 0), Some(WaitReason::Concurrency));
    health.give_back(at(0), at(1));
    assert_eq!(reason(&health, 1), None);
    assert_eq!(
        health.limit(&HealthPolicy::default(), Bounds { ceiling: 2, ..BOUNDS }),
        2,
        "never above the plugin's own"
    );
}

#[test]
fn what_was_set_bounds_probes_too() {
    let mut health = down();
    let policy = HealthPolicy::default();
    for (ceiling, probes) in [(1, 1), (2, 2), (256, 3)] {
        let bounds = Bounds { ceiling, ..BOUNDS };
        let mut health = health.clone();
        for n in 0..probes {
            let now = at(10_000 * (n + 1));
            assert_eq!(health.why_waiting(&policy, bounds, now), None, "{n} of {ceiling}");
            health.start(bounds, now);
        }
        assert!(health.why_waiting(&policy, bounds, at(100_000)).is_some(), "{ceiling}");
    }
    let one = Overrides { concurrency: Some(1), rate: None };
    health.act(&policy, Act { at: at(5), what: ActKind::Limit(one) });
    health.start(BOUNDS, at(10_000));
    assert_eq!(reason(&health, 20_000), Some(WaitReason::Concurrency));
}

#[test]
fn what_hung_in_an_outage_does_not_cut_the_limit_behind_it() {
    let policy = HealthPolicy::default();
    let mut health = down();
    for (started, ended) in [(1_004, 1_010), (1_010, 1_020)] {
        health.start(BOUNDS, at(started));
        end(&mut health, started, ended, Sign::Well);
    }
    assert!(health.opening().is_none());
    let limit = health.limit(&policy, BOUNDS);
    for n in 0..40 {
        health.start(BOUNDS, at(n));
        assert_eq!(end(&mut health, n, 2_000 + n, Sign::Ill("timeout".into())), None);
    }
    assert_eq!((health.limit(&policy, BOUNDS), health.running()), (limit, 0));
}

#[test]
fn a_plugin_that_fails_by_itself_now_and_then_costs_its_downstream_nothing() {
    let policy = HealthPolicy::default();
    let mut health = Health::new(&policy);
    let mut now = 0;
    for call in 0..6_000 {
        now += 1;
        while health.running() < health.limit(&policy, BOUNDS) {
            health.start(BOUNDS, at(now));
        }
        // What it traps on takes it long: that is not the downstream's latency either.
        let (sign, ms) = if call % 6 == 0 { (Sign::Unfit("trap".into()), 5_000) } else { (Sign::Well, 20) };
        let ended = Ended { started_at: at(now), sign, latency: Some(Duration::from_millis(ms)) };
        health.end(&policy, BOUNDS, &ended, at(now), 0.0);
    }
    assert_eq!(health.limit(&policy, BOUNDS), 256);
}

#[test]
fn what_was_learnt_lately_is_not_forgotten() {
    const HOUR_MS: i64 = 3_600_000;
    let health = || Health::new(&HealthPolicy::default());
    assert!(health().is_plain(at(0)));
    let rate = Bounds { rate: Some(Rate { per_second: 0.1 }), ..BOUNDS };
    let mut spent = health();
    spent.start(rate, at(0));
    spent.give_back(at(0), at(1));
    assert_eq!(
        (spent.is_plain(at(9_999)), spent.is_plain(at(10_000))),
        (false, true),
        "its rate is used up until then"
    );

    let mut failing = health();
    for now in 0..4 {
        failing.start(BOUNDS, at(now));
        end(&mut failing, now, now, Sign::Ill("503".into()));
    }
    assert!(!failing.is_plain(at(HOUR_MS)), "one more failure and it is down");
    assert!(failing.is_plain(at(HOUR_MS + 4)));
    failing.start(BOUNDS, at(HOUR_MS));
    end(&mut failing, HOUR_MS, HOUR_MS, Sign::Well);
    assert!(failing.is_plain(at(HOUR_MS + 60_000)));
}

#[test]
fn what_is_past_is_forgotten() {
    const DAY: Duration = Duration::from_hours(24);
    const DAY_MS: i64 = 86_400_000;
    let policy = HealthPolicy::default();
    let mut health = down();
    health.act(&policy, Act { at: at(10), what: ActKind::Limit(Overrides::default()) });
    let busy = Sign::Busy(Some(Duration::from_secs(60)), "429".into());
    health.start(BOUNDS, at(1_004));
    end(&mut health, 1_004, 1_010, busy);
    assert!(health.kept(at(61_009)).hold.is_some() && !health.has_past(DAY, at(61_009)));
    assert!(health.kept(at(61_010)).hold.is_none() && health.has_past(DAY, at(61_010)), "it has ended");
    assert!(health.forget_past(&policy, DAY, at(61_010), true) && !health.has_past(DAY, at(61_010)));

    let probe = health.opening().unwrap().next_probe.0;
    assert!(!health.forget_past(&policy, DAY, at(probe + DAY_MS), false), "it may be down yet");
    let later = at(probe + DAY_MS + 1);
    assert!(health.has_past(DAY, later) && !health.forget_past(&policy, DAY, later, true), "jobs wait for it");
    assert!(health.forget_past(&policy, DAY, later, false) && health.opening().is_none());
    assert_eq!(health.kept(later).acts.len(), 1, "what people did is remembered");
}

#[test]
fn a_person_can_hold_release_probe_and_limit_it() {
    let policy = HealthPolicy::default();
    let mut health = down();
    let mut act = |now, what| health.act(&policy, Act { at: at(now), what });
    act(10, ActKind::Hold { until: None, reason: Some("maintenance".into()) });
    act(20, ActKind::Limit(Overrides { concurrency: Some(1), rate: Some(Rate { per_second: 1.0 }) }));
    let waiting = health.why_waiting(&policy, BOUNDS, at(30)).unwrap();
    assert_eq!(
        (waiting.reason, waiting.until, waiting.detail.as_deref()),
        (WaitReason::RetryAfter, None, Some("maintenance"))
    );

    let mut again =
        Health::restored(&policy, serde_json::from_str(&serde_json::to_string(&health.kept(at(30))).unwrap()).unwrap());
    assert_eq!(again.kept(at(30)), health.kept(at(30)));
    again.act(&policy, Act { at: at(40), what: ActKind::Probe });
    assert_eq!(reason(&again, 40), None, "one may start");
    again.start(BOUNDS, at(40));
    assert_eq!(reason(&again, 40), Some(WaitReason::BreakerOpen));
    again.act(&policy, Act { at: at(50), what: ActKind::Release });
    assert_eq!(reason(&again, 50), Some(WaitReason::Concurrency), "its own limit is left");
    again.give_back(at(40), at(60));
    assert_eq!(reason(&again, 60), Some(WaitReason::RateLimit));
    assert_eq!(reason(&again, 1_040), None);
    assert_eq!(again.acts().len(), 4);
    for n in 0..100 {
        again.act(&policy, Act { at: at(n), what: ActKind::Release });
    }
    assert_eq!(again.acts().len(), kept::ACTS_MAX);
}

/// One that was given all that there is.
fn at_full_height() -> Health {
    let mut health = Health::new(&HealthPolicy::default());
    for now in 0..3_000 {
        while reason(&health, now).is_none() {
            health.start(BOUNDS, at(now));
        }
        end(&mut health, now, now, Sign::Well);
    }
    assert_eq!(health.limit(&HealthPolicy::default(), BOUNDS), 256);
    health
}

#[test]
fn what_a_person_held_begins_gently_and_soon_has_what_it_had() {
    let policy = HealthPolicy::default();
    let hold = || ActKind::Hold { until: Some(at(20_000)), reason: None };
    let busy = Sign::Busy(Some(Duration::from_secs(60)), "429".into());
    for (acts, busy) in [
        (vec![hold()], None),
        (vec![hold(), ActKind::Release], None),
        (vec![hold(), hold(), ActKind::Probe], None),
        (vec![ActKind::Release], Some(busy.clone())),
        (vec![ActKind::Probe], Some(busy)),
    ] {
        let mut health = at_full_height();
        if let Some(busy) = busy {
            end(&mut health, 2_999, 3_000, busy);
        }
        for what in acts.clone() {
            health.act(&policy, Act { at: at(10_000), what });
        }
        // What ran before says nothing of what comes.
        for n in 0..health.running() {
            end(&mut health, 2_999, 10_000, if n % 4 == 0 { Sign::Ill("503".into()) } else { Sign::Well });
        }
        assert_eq!(reason(&health, 20_000), None, "{acts:?}");
        assert!(health.limit(&policy, BOUNDS) <= 20, "{acts:?}: {}", health.limit(&policy, BOUNDS));
        for now in 20_000..20_400 {
            while reason(&health, now).is_none() {
                health.start(BOUNDS, at(now));
            }
            end(&mut health, now, now, Sign::Well);
        }
        assert!(health.limit(&policy, BOUNDS) > 100, "{acts:?}: {}", health.limit(&policy, BOUNDS));
    }
}

#[test]
fn a_release_of_what_nothing_held_changes_nothing() {
    let mut health = at_full_height();
    for what in [ActKind::Release, ActKind::Probe] {
        health.act(&HealthPolicy::default(), Act { at: at(10_000), what });
    }
    assert_eq!(health.limit(&HealthPolicy::default(), BOUNDS), 256);
}

#[test]
fn what_hangs_since_an_outage_keeps_nobody_waiting_behind_it() {
    let policy = HealthPolicy::default();
    let mut health = at_full_height();
    let hung = health.running() - 5;
    for n in 0..5 {
        end(&mut health, 2_999, 4_000 + n, Sign::Ill("503".into()));
    }
    for (started, ended) in [(6_000, 6_010), (6_010, 6_020)] {
        health.start(BOUNDS, at(started));
        end(&mut health, started, ended, Sign::Well);
    }
    assert_eq!((health.opening(), health.running()), (None, hung));
    let mut begun = 0;
    while reason(&health, 6_020).is_none() {
        health.start(BOUNDS, at(6_020));
        begun += 1;
    }
    // What was set bounds all of them.
    let (limit, room) = (health.limit(&policy, BOUNDS), BOUNDS.ceiling - hung);
    assert_eq!(begun, limit.min(room), "of {hung} that hang");
    let mut health = health.clone();
    for _ in 0..hung {
        end(&mut health, 2_999, 7_000, Sign::Ill("timeout".into()));
    }
    assert_eq!(reason(&health, 7_000).is_none(), begun < limit);
}

#[test]
fn only_what_the_downstream_did_is_a_sign_of_its_health() {
    let evidence = |calls| Evidence { calls, ..Evidence::default() };
    let one = Calls { made: 1, took: Duration::from_micros(5), ..Calls::default() };
    let (none, answered, cut) = (Evidence::default(), evidence(one), evidence(Calls { unanswered: true, ..one }));
    let crowded = Evidence { crowded: true, ..cut.clone() };
    let busy = |retry_after_ms| evidence(Calls { retry_after_ms: Some(retry_after_ms), ..one });
    let wish = |ms| Sign::Busy(Some(Duration::from_millis(ms)), "m".into());
    let setback = |delay_ms| Setback { message: "m".into(), code: None, delay_ms };
    let fault = || Fault { message: "m".into(), code: None };
    let host = |fault| Outcome::Host(fault, "m".into());
    let ill = || Sign::Ill("m".into());
    for (outcome, evidence, sign) in [
        (Outcome::Completed(Completion::default()), &answered, Sign::Well),
        (Outcome::Completed(Completion::default()), &none, Sign::Silent),
        (Outcome::Reject(fault()), &answered, Sign::Well),
        (Outcome::TryAgain(setback(None)), &answered, ill()),
        (Outcome::TryAgain(setback(None)), &none, Sign::Silent),
        (Outcome::TryAgain(setback(None)), &busy(9), wish(9)),
        (Outcome::TryAgain(setback(None)), &busy(0), ill()),
        (Outcome::RateLimited(setback(Some(7))), &busy(9), wish(9)),
        (Outcome::RateLimited(setback(Some(u32::MAX))), &none, wish(300_000)),
        (Outcome::Completed(Completion::default()), &busy(9), Sign::Well),
        (Outcome::UnknownOutcome(fault()), &cut, ill()),
        (Outcome::RateLimited(setback(Some(7))), &answered, Sign::Busy(Some(Duration::from_millis(7)), "m".into())),
        (host(HostFault::Deadline), &cut, ill()),
        (host(HostFault::Deadline), &answered, Sign::Unfit("m".into())),
        (host(HostFault::Trap), &answered, Sign::Unfit("m".into())),
        (host(HostFault::Denied), &cut, Sign::Nothing),
        (host(HostFault::Cancelled), &cut, Sign::Nothing),
        (host(HostFault::Interrupted), &cut, Sign::Nothing),
        (Outcome::TryAgain(setback(None)), &crowded, Sign::Nothing),
        (Outcome::UnknownOutcome(fault()), &crowded, Sign::Nothing),
        (host(HostFault::Deadline), &crowded, Sign::Nothing),
        (Outcome::RateLimited(setback(Some(7))), &crowded, wish(7)),
    ] {
        assert_eq!(Sign::of(&outcome, evidence, Duration::from_secs(300)), sign, "{outcome:?}");
    }
}

fn exchange(retry_after_ms: Option<u32>, total_us: u64) -> Exchange {
    Exchange {
        method: "POST".into(),
        url: "http://a.example/".into(),
        status: Some(503),
        retry_after_ms,
        error: None,
        started_at: at(0),
        head_us: None,
        total_us,
        sent_bytes: 0,
        received_bytes: 0,
    }
}

#[test]
fn the_calls_of_an_attempt_are_summed_up() {
    let mut calls = Calls::default();
    assert_eq!(calls.latency(), None);
    for (retry_after_ms, total_us, is_answered) in [(None, 1, true), (Some(9), 2, false), (Some(7), 4, true)] {
        calls.count(&exchange(retry_after_ms, total_us), is_answered);
    }
    let took = Duration::from_micros(7);
    assert_eq!(calls, Calls { made: 3, unanswered: true, retry_after_ms: Some(9), took });
    assert_eq!(calls.latency(), Some(took));
    assert_eq!(Calls::one(&exchange(None, 0), true).latency(), Some(Duration::ZERO));
}

#[test]
fn a_probe_whose_request_the_host_refused_closes_nothing() {
    let refused = Exchange { status: None, error: Some("the method cannot be sent".into()), ..exchange(None, 0) };
    let evidence = Evidence { exchanges: vec![refused], ..Evidence::default() };
    let rejected = Outcome::Reject(Fault { message: "m".into(), code: None });
    let mut health = down();
    for now in [2_000, 4_000, 8_000, 16_000] {
        health.start(BOUNDS, at(now));
        assert!(health.is_probe(at(now)));
        assert_eq!(end(&mut health, now, now, Sign::of(&rejected, &evidence, Duration::ZERO)), None);
        assert!(health.opening().is_some());
    }
}
